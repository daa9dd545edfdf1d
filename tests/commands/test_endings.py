"""Reasons to stop: SIGTERM, time, and whoever watches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from spark_nas.commands.endings import Ending, seconds_of
from spark_nas.errors import OptionError


@pytest.mark.parametrize("text", ["", "0", "0h0m", "1d", "-5", "5 h", "h", "1.5h"])
def test_a_time_that_is_none_is_refused_with_the_remedy(text: str):
    with pytest.raises(ValueError, match=r"give a time"):
        seconds_of(text)


def test_sigterm_is_a_reason_inside_the_block_only():
    before = signal.getsignal(signal.SIGTERM)
    with Ending() as ending:
        assert ending.reason() is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert ending.reason() == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_sigterm_ends_the_process_at_once():
    code = (
        "import os, signal\nfrom spark_nas.commands.endings import Ending\nwith Ending():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    os.kill(os.getpid(), signal.SIGTERM)\n    print('still here')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")


def test_a_time_budget_is_a_reason_when_it_is_up():
    now = [0.0]
    ending = Ending(time_budget=5, clock=lambda: now[0])
    assert ending.reason() is None
    now[0] = 5.0
    assert ending.reason() == "its time of 5 s is up"


def test_a_watcher_gives_further_reasons():
    assert Ending(watch=lambda: "the building is on fire").reason() == "the building is on fire"


def test_no_time_is_refused():
    with pytest.raises(OptionError, match="time_budget"):
        Ending(time_budget=0)


class Impatient(Ending):
    """Waits no longer than its grace."""

    _LATER = 0.0


def test_without_a_grace_sigint_is_what_it_was():
    before = signal.getsignal(signal.SIGINT)
    with Ending():
        assert before is signal.getsignal(signal.SIGINT)


def interrupted_twice(ending: Ending) -> None:
    with ending:
        signal.raise_signal(signal.SIGINT)
        assert "interrupted" == ending.reason()
        signal.raise_signal(signal.SIGINT)


def interrupted_and_deaf(ending: Ending) -> None:
    with ending:
        signal.raise_signal(signal.SIGINT)
        threading.Event().wait(600)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("block", [interrupted_twice, interrupted_and_deaf])
def test_the_first_sigint_is_a_reason_and_a_second_one_or_its_time_ends_the_block(block: Callable[[Ending], None]):
    before = signal.getsignal(signal.SIGINT)
    ending = Ending(grace=60) if block is interrupted_twice else Impatient(grace=0.01)
    with pytest.raises(KeyboardInterrupt):
        block(ending)
    assert before is signal.getsignal(signal.SIGINT)


def test_outside_the_main_thread_signals_are_left_alone():
    before, inside = signal.getsignal(signal.SIGINT), []

    def block() -> None:
        with Ending(grace=1):
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert [before] == inside
