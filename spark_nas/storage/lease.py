"""One driver a run: a lease that its holder renews, and that another driver may take over when it has expired.

`_lease/NNNNNNNN.json` with the highest number is the lease. A driver takes it by creating the next number, which only
one can do (`Files.write_new`), and renews it by rewriting its own file. Nobody compares the clocks of two machines: a
driver that finds a lease watches it for as long as it is valid, and a holder that lives has renewed it by then. Only
on the holder's own machine the process table and the one clock there is may answer at once.

The lease keeps two drivers from doing the same work. That a run stays whole does not hang on it: jobs commit once, and
the results table is a line of parts of which each number can be written once (docs/decisions/0010).
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spark_nas.errors import LeaseLost, RunHeld
from spark_nas.search.protocols import ResultLog
from spark_nas.search.records import Result
from spark_nas.storage.files import Files

_FOLDER = "_lease"
_FILE = re.compile(r"[0-9]{8}\.json")
_HERE: set[tuple[str, int]] = set()
"""Root and number of each lease that this process holds: its pid alone does not say which of its searches ended."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A driver's process, as exactly as the system can name it."""

    host: str
    pid: int
    boot: str = ""
    """Identity of the machine's boot and pid namespace; empty where the system does not tell."""
    started: str = ""
    """When the process started, in the system's ticks since boot: pids are used again."""

    @staticmethod
    def me() -> Holder:
        """This process."""
        return Holder(socket.gethostname(), os.getpid(), _boot(), _start_of(os.getpid()) or "")

    def alive(self) -> bool | None:
        """Whether the process lives; None when this machine cannot tell."""
        if not self.boot or (self.host, self.boot) != (socket.gethostname(), _boot()):
            return None
        return _start_of(self.pid) == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """What the store says of a run's lease."""

    number: int
    holder: Holder
    seconds: float
    """How long it is valid after each renewal."""
    renewed_at: datetime
    """UTC, by the holder's clock."""
    renewals: int
    released: bool
    """Whether the holder ended in order."""

    def expired(self, now: datetime) -> bool:
        """Whether it ran out, as far as the clock `now` can tell; a holder known to be dead has lost it at once."""
        return self.released or self.holder.alive() is False or now - self.renewed_at > timedelta(seconds=self.seconds)


def read_lease(files: Files) -> LeaseInfo | None:
    """The lease of a run, or None when no driver has ever held it. An unreadable one counts as released."""
    numbers = _numbers(files)
    return _read(files, numbers[-1]) if numbers else None


class Lease:
    """Held from `acquire` to `release`; renewed by a thread of its own in between."""

    def __init__(
        self,
        files: Files,
        *,
        seconds: float = 30.0,
        holder: Holder | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`seconds`: how long the lease lives without a renewal; it is renewed three times as often."""
        self._files, self._seconds = files, seconds
        self._holder = holder or Holder.me()
        self._sleep, self._clock, self._now = sleep, clock, now
        self._ended = threading.Event()
        self._lost: str | None = None
        self._trouble = ""
        self._info: LeaseInfo | None = None
        self._renewed = 0.0
        self._thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lease, if need be after watching the present one expire. Raises RunHeld when somebody renews it."""
        there = read_lease(self._files)
        if there is not None:
            self._watch(there)
        number = there.number + 1 if there is not None else 1
        info = LeaseInfo(number, self._holder, self._seconds, self._now(), 0, released=False)
        self._renewed = self._clock()
        created = self._files.write_new(_name(number), _dump(info))
        numbers = _numbers(self._files)
        if not created or numbers[-1] != number:  # a listing made while files come and go may miss the newest
            raise RunHeld(f"{self._files.root}: {_read(self._files, numbers[-1]).holder} has just taken this run")
        self._info = info
        _HERE.add((self._files.root, number))
        for old in numbers[:-2]:  # the last one stays: no listing is ever empty
            self._files.delete(_name(old))

    def start(self) -> None:
        """Renew from now on, in a thread."""
        self._thread = threading.Thread(target=self._keep, name="spark_nas lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise LeaseLost when the lease is no longer ours, or may be another's since it ran out.

        It asks the clock and not the store, so it knows at once after a pause and while a renewal hangs.
        """
        if self._lost is None and self._clock() - self._renewed > self._seconds:
            self._lost = f"the lease could not be renewed for {self._seconds:g} s{self._trouble}"
        if self._lost is not None:
            raise LeaseLost(f"{self._files.root}: {self._lost}; the same command continues")

    def checked(self, reason: str | None) -> str | None:
        """A reason to stop, if need be LeaseLost, which is raised."""
        self.check()
        return reason

    def renew(self) -> None:
        """Rewrite our file, and see whether somebody has taken the next number. A lease that ran out stays lost."""
        assert self._info is not None, "acquire first"
        try:
            taken = [number for number in _numbers(self._files) if number > self._info.number]
            if taken:
                self._lost = f"{_read(self._files, taken[-1]).holder} has taken this run over"
            self.check()
            began = self._clock()  # whoever watches has not seen it earlier
            info = replace(self._info, renewed_at=self._now(), renewals=self._info.renewals + 1)
            self._files.write(_name(info.number), _dump(info))
            self._info, self._renewed, self._trouble = info, began, ""
        except LeaseLost:  # for the next `check`
            pass
        except Exception as error:  # a store may be away for a while; whatever it is, the thread goes on
            self._trouble = f": {error}"

    def release(self) -> None:
        """Stop renewing; the next driver need not wait. Idempotent, and silent when the store is away."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(self._seconds)
            self._thread = None
        if self._info is None:
            return
        _HERE.discard((self._files.root, self._info.number))
        info, self._info = replace(self._info, renewed_at=self._now(), released=True), None
        with suppress(Exception):  # what is left is watched until it is over
            if _numbers(self._files)[-1] == info.number:  # else it is another's by now
                self._files.write(_name(info.number), _dump(info))

    def __enter__(self) -> Lease:
        self.acquire()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _watch(self, lease: LeaseInfo) -> None:
        """Return once `lease` is certainly over. Raises RunHeld when its holder is seen to live."""
        alive = lease.holder.alive()
        if alive and lease.holder == self._holder:
            alive = (self._files.root, lease.number) in _HERE
        if lease.released or alive is False:
            return
        if alive and abs((self._now() - lease.renewed_at).total_seconds()) <= lease.seconds:
            raise self._held(lease)
        until = self._clock() + lease.seconds
        while (left := until - self._clock()) > 0:
            self._sleep(min(left, 1.0))
            now = read_lease(self._files)
            if now is not None and now.released and now.number == lease.number:
                return
            if now != lease:
                raise self._held(now or lease)

    def _held(self, lease: LeaseInfo) -> RunHeld:
        renewed = lease.renewed_at.isoformat(timespec="seconds")
        return RunHeld(
            f"{self._files.root}: {lease.holder} holds this run (last seen {renewed}); wait for it, or stop it; "
            f"when it is gone the same command takes over within {lease.seconds:g} s"
        )

    def _keep(self) -> None:
        while not self._ended.wait(self._seconds / 3) and self._lost is None:
            self.renew()


class LeasedLog:
    """A results table that takes rows only while the lease is held.

    A driver that was asleep, perhaps while another took its run over, finds out before it writes.
    """

    def __init__(self, log: ResultLog, lease: Lease) -> None:
        self._log, self._lease = log, lease

    def append(self, results: Sequence[Result], asked: int) -> None:
        """Append. Raises LeaseLost."""
        self._lease.check()
        self._log.append(results, asked)

    def rows(self) -> Iterable[tuple[Result, int]]:
        """Every row with its `asked`, in the order of appending."""
        return self._log.rows()


def _numbers(files: Files) -> list[int]:
    return sorted(int(name[:8]) for name in files.list(_FOLDER) if _FILE.fullmatch(name))


def _name(number: int) -> str:
    return f"{_FOLDER}/{number:08d}.json"


def _dump(info: LeaseInfo) -> bytes:
    return json.dumps(asdict(info) | {"renewed_at": info.renewed_at.isoformat()}, indent=1, sort_keys=True).encode()


def _read(files: Files, number: int) -> LeaseInfo:
    try:
        raw = json.loads(files.read(_name(number)) or b"")
        return LeaseInfo(
            number,
            Holder(**{key: raw["holder"][key] for key in ("host", "pid", "boot", "started")}),
            float(raw["seconds"]),
            datetime.fromisoformat(raw["renewed_at"]).astimezone(UTC),
            int(raw["renewals"]),
            bool(raw["released"]),
        )
    except (ValueError, KeyError, TypeError):  # damaged, or deleted while we looked: nobody renews such a file
        return LeaseInfo(number, Holder("?", 0), 0.0, datetime.fromtimestamp(0, UTC), 0, released=True)


def _boot() -> str:
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return ""


def _start_of(pid: int) -> str | None:
    """The 22nd field of /proc/PID/stat; None when there is no such process, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
