"""Reasons to stop: SIGTERM, time, and whoever watches."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from spark_nas import driver
from spark_nas.commands.endings import Ending, seconds_of
from spark_nas.engines.local import Local
from spark_nas.errors import OptionError, Unfinished
from spark_nas.search.records import Job, Outcome
from tests.driver_support import ASHA, MemoryLog, fresh


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


def test_a_wait_ends_when_there_is_a_reason_and_says_it():
    now = [0.0]
    ending = Ending(time_budget=5, clock=lambda: now[0])
    ending.sleep(0.01)
    now[0] = 5.0
    said = r"stopped \(its time of 5 s is up\) before it handed out any job; the same command continues"
    with pytest.raises(Unfinished, match=said):
        ending.sleep(0.01)


def test_no_time_is_refused():
    with pytest.raises(OptionError, match="time_budget"):
        Ending(time_budget=0)


class Impatient(Ending):
    """Waits no longer than its grace."""

    _LATER = 0.0


def test_unless_it_is_interruptible_sigint_is_what_it_was():
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
    kind, grace = (Ending, 60.0) if block is interrupted_twice else (Impatient, 0.01)
    ending = kind(grace=grace, interruptible=True)
    with pytest.raises(KeyboardInterrupt):
        block(ending)
    assert before is signal.getsignal(signal.SIGINT)


class Endless:
    """One job that never looks at the time."""

    def evaluate(self, job: Job, workspace: object) -> Outcome:
        threading.Event().wait(600)
        raise AssertionError("nobody ended it")


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["foreground", "background"])
def sigint(request: pytest.FixtureRequest) -> Iterator[object]:
    """What a process finds that a shell starts, in front or with `&`."""
    before = signal.signal(signal.SIGINT, request.param)
    yield request.param
    signal.signal(signal.SIGINT, before)


def searching(ending: Ending, log: MemoryLog, *, told: bool) -> None:
    with ending:
        if told:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        driver.run(fresh(ASHA), Local().build(Endless()), log, stop=ending.reason, grace=0.1)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("interruptible", [False, True])
@pytest.mark.parametrize("reason", ["SIGTERM", "its time of 0.1 s is up"])
def test_a_job_in_this_process_is_cut_off_after_the_grace_and_leaves_no_row(
    reason: str, interruptible: bool, sigint: object
):
    log = MemoryLog()
    ending = Impatient(grace=0.1, interruptible=interruptible, time_budget=None if reason == "SIGTERM" else 0.1)
    with pytest.raises(Unfinished, match=re.escape(f"stopped ({reason}): a job in this process was cut off")):
        searching(ending, log, told=reason == "SIGTERM")
    assert [] == log.table
    assert sigint is signal.getsignal(signal.SIGINT)


def test_a_sigint_that_was_ignored_is_still():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Ending() as ending:
            signal.raise_signal(signal.SIGINT)
            assert ending.reason() is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_signals_are_left_alone():
    before, inside = signal.getsignal(signal.SIGINT), []

    def block() -> None:
        with Ending(grace=1, interruptible=True, time_budget=1):
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert [before] == inside
