"""What is needed is never deleted, what is not needed does not stay."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from spark_nas.driver import replay
from spark_nas.engines.local import Local
from spark_nas.errors import JobError
from spark_nas.search.protocols import Evaluator, Scheduler, Workspace
from spark_nas.search.records import SUPERNET, Job, JobKey, Outcome, Result, Trial, derive_seed, incumbent
from spark_nas.search.samplers.random import RandomSearch
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.search.schedulers.hyperband import Hyperband
from spark_nas.search.schedulers.one_shot import OneShot
from spark_nas.search.schedulers.successive_halving import SuccessiveHalving
from spark_nas.spaces.core import Architecture
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.garbage import Housekeeper, sweep, sweep_all
from spark_nas.storage.jobs import CommittedJobs
from spark_nas.storage.locations import open_files
from tests.strategies import PlainRecipes, plain_space

KEY = JobKey(3, 1)
RESULT = Result(Job(Trial(3, Architecture()), 1, 9), "completed", loss=0.25)
FOLDER = "checkpoints/000003/1"


def names(root: Path, folder: str = FOLDER) -> list[str]:
    """All files of a job, hidden ones too."""
    return sorted(path.name for path in (root / folder).iterdir())


def test_a_sweep_leaves_the_commit_and_the_checkpoint_it_names(tmp_path: Path) -> None:
    files, store = LocalFiles(tmp_path), CommittedJobs(LocalFiles(tmp_path))
    store.commit(RESULT, b"weights")
    before = names(tmp_path)
    for name in ("recovery.pt", "0123456789abcdef0123456789abcdef.pt"):
        files.write(f"{FOLDER}/{name}", b"of an attempt that was killed")
    (tmp_path / FOLDER / f".commit.json.new.{'5f2c' * 8}").write_bytes(b"begun")
    assert sweep(files, KEY, keep_checkpoint=True) == 3
    assert (names(tmp_path), store.checkpoint(KEY)) == (before, b"weights")


def test_a_sweep_that_gives_up_the_checkpoint_leaves_the_result(tmp_path: Path) -> None:
    store = CommittedJobs(LocalFiles(tmp_path))
    store.commit(RESULT, b"weights")
    assert sweep(LocalFiles(tmp_path), KEY, keep_checkpoint=False) == 1
    assert (names(tmp_path), store.committed(KEY)) == (["commit.json"], RESULT)
    with pytest.raises(JobError, match="is missing"):
        store.checkpoint(KEY)


def test_what_is_not_committed_is_left_to_the_attempt_at_work(tmp_path: Path) -> None:
    CommittedJobs(LocalFiles(tmp_path)).keep(KEY, b"state")
    assert sweep(LocalFiles(tmp_path), KEY, keep_checkpoint=True) == 0
    assert names(tmp_path) == ["recovery.pt"]


def test_a_damaged_commit_keeps_everything(tmp_path: Path) -> None:
    CommittedJobs(LocalFiles(tmp_path)).commit(RESULT, b"weights")
    (tmp_path / FOLDER / "commit.json").write_bytes(b"{")
    with pytest.raises(JobError, match="cannot be read"):
        sweep(LocalFiles(tmp_path), KEY, keep_checkpoint=True)
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("where", ["local", "s3"])
def test_a_run_at_rest_is_swept_of_all_but_its_commits(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    files = open_files(request.getfixturevalue("s3").prefix() if where == "s3" else str(tmp_path))
    store = CommittedJobs(files)
    other = Result(Job(Trial(0, Architecture()), 0, 1), "completed", loss=0.5)
    for result in (RESULT, other):
        store.commit(result, b"weights")
        files.write(f"checkpoints/{result.job.trial.trial_id:06d}/{result.job.rung}/recovery.pt", b"state")
    files.write("checkpoints/000001/0/recovery.pt", b"of a job under way")
    files.write("checkpoints/000002/0/commit.json", b"damaged")
    files.write("checkpoints/000002/0/recovery.pt", b"state")
    files.write("checkpoints/not a trial/0/recovery.pt", b"somebody's")
    assert sweep_all(files) == 2
    assert [store.checkpoint(result.job.key) for result in (RESULT, other)] == [b"weights"] * 2
    kept = [f"checkpoints/{name}/0/recovery.pt" for name in ("000001", "000002", "not a trial")]
    assert all(files.read(name) for name in kept)
    assert sweep(files, KEY, keep_checkpoint=False) == 1
    assert store.committed(KEY) == RESULT


@dataclass
class Counting:
    """Counts on from the checkpoint it starts from; some trials fail."""

    fails: bool = True

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        before = int((workspace.load() or b"0").decode())
        if self.fails and job.trial.trial_id % 7 == 3:
            raise ValueError("one in seven")
        workspace.save(str(before + 1).encode())
        return Outcome(derive_seed(job.trial.trial_id, job.rung) / 2**31, {"rungs": before + 1})


@dataclass
class Sharing:
    """Trains supernets and children; scores with shared weights, which leave no checkpoint."""

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        loss = derive_seed(job.trial.trial_id, job.rung) / 2**31
        if job.resource == 0:
            return Outcome(loss)
        workspace.save(b"weights")
        supernet = job.trial.architecture == SUPERNET
        return Outcome(loss / 100, {"open_choices": 2.0}) if supernet else Outcome(loss)


@dataclass
class Search:
    """A search on the local engine, with a housekeeper behind it, that can be interrupted after any result."""

    options: Asha | Hyperband | SuccessiveHalving | OneShot
    root: Path
    rows: list[tuple[Result, int]] = field(default_factory=list)
    evaluator: Evaluator = field(default_factory=Counting)
    most: int = 0
    """The most checkpoints that were there after an interruption."""

    def scheduler(self) -> Scheduler:
        sampler = RandomSearch(replacement=True).build(plain_space(2, 2), PlainRecipes(), 5)
        return self.options.build(sampler, 3)

    def checkpoints(self) -> list[Path]:
        return list(self.root.rglob("*.pt"))

    def run(self, results: int, *, tidy: bool = True) -> bool:
        """Continue for at most so many results; whether the search is over."""
        scheduler = self.scheduler()
        flying, asked = replay(scheduler, self.rows)
        engine = Local(slots=4).build(self.evaluator, CommittedJobs(LocalFiles(self.root)))
        keeper = Housekeeper(LocalFiles(self.root), scheduler.needed, threads=2) if tidy else None
        if keeper is not None:
            keeper.after([result for result, _ in self.rows])
        engine.submit(list(flying.values()))
        for _ in range(results):
            jobs = scheduler.ask(4 - len(flying))
            asked += len(jobs)
            engine.submit(jobs)
            flying |= {job.key: job for job in jobs}
            if not flying:
                break
            for result in engine.wait():
                self.rows.append((result, asked))
                del flying[result.job.key]
                scheduler.tell(result)
                if keeper is not None:
                    keeper.after([result])
        if keeper is not None:
            keeper.close()
        self.most = max(self.most, len(self.checkpoints()))
        return not flying and not scheduler.ask(1)


OPTIONS = [
    SuccessiveHalving(27, 1, 9, 3),
    Hyperband(27, 3),
    Asha(max_resource=27, eta=3, trials=60),
    Asha(max_resource=27, eta=3, trials=60, decision="push"),
]


def table(search: Search) -> list[tuple[object, ...]]:
    return [(row.job, row.status, repr(row.loss), dict(row.metrics), asked) for row, asked in search.rows]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: type(o).__name__)
def test_a_search_interrupted_again_and_again_finds_all_it_needs_and_leaves_one_checkpoint(
    options: Asha | Hyperband | SuccessiveHalving, tmp_path: Path
) -> None:
    plain = Search(options, tmp_path / "plain")
    assert plain.run(1000, tidy=False)
    tidy = Search(options, tmp_path / "tidy")
    while not tidy.run(23):
        assert len(tidy.rows) < 1000
    assert table(tidy) == table(plain)  # none has failed for want of a checkpoint
    best = min((row for row, _ in tidy.rows if row.usable), key=lambda row: (-row.job.resource, row.loss))
    store = CommittedJobs(LocalFiles(tmp_path / "tidy"))
    assert [path.parent for path in tidy.checkpoints()] == [
        tmp_path / "tidy" / f"checkpoints/{best.job.trial.trial_id:06d}/{best.job.rung}"
    ]
    assert int(store.checkpoint(best.job.key)) == best.job.rung + 1
    completed = [row for row, _ in tidy.rows if row.status == "completed"]
    assert len(completed) == len(plain.checkpoints()) > tidy.most
    assert [store.committed(row.job.key) for row in completed] == completed


@pytest.mark.parametrize("at_once", [1000, 7])
def test_a_one_shot_search_keeps_the_child_it_names_not_the_supernet_that_was_trained_for_longer(
    at_once: int, tmp_path: Path
) -> None:
    options = OneShot(FullTraining(2, 4), candidates=8, finalists=2, retrain=FullTraining(None, 2))
    search = Search(options, tmp_path, evaluator=Sharing())
    while not search.run(at_once):
        assert len(search.rows) < 1000
    best = incumbent(row for row, _ in search.rows)
    assert best is not None
    assert (best.job.resource, best.job.trial.architecture == SUPERNET) == (2, False)
    assert [path.parent.parent.name for path in search.checkpoints()] == [f"{best.job.trial.trial_id:06d}"]
    assert CommittedJobs(LocalFiles(tmp_path)).checkpoint(best.job.key) == b"weights"


def test_an_endless_search_keeps_what_may_yet_be_promoted(tmp_path: Path) -> None:
    search = Search(Asha(max_resource=9, eta=3), tmp_path)
    assert not search.run(60)
    scheduler = search.scheduler()
    replay(scheduler, search.rows)
    store = CommittedJobs(LocalFiles(tmp_path))
    needed = scheduler.needed()
    assert len(needed) > 20
    assert all(store.checkpoint(key) for key in needed)
    assert len(needed) <= len(search.checkpoints()) <= len(needed) + 1  # and the incumbent's


class Failing(LocalFiles):
    """Lists, and deletes nothing."""

    def delete(self, name: str) -> None:
        raise OSError("no route to host")


def test_a_store_that_deletes_nothing_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    CommittedJobs(LocalFiles(tmp_path)).commit(RESULT, b"weights")
    better = Result(Job(Trial(4, Architecture()), 1, 9), "completed", loss=0.1)
    keeper = Housekeeper(Failing(tmp_path), set)
    keeper.after([RESULT, better])
    keeper.close()
    keeper.close()
    assert (keeper.deleted, keeper.failed) == (0, 1)
    assert "1 folders could not be swept" in caplog.text
    assert len(names(tmp_path)) == 2


class Stuck(LocalFiles):
    """Answers only when it is let go."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reached, self.released = threading.Event(), threading.Event()

    def list(self, folder: str) -> list[str]:
        self.reached.set()
        self.released.wait(60)
        return super().list(folder)


def test_neither_a_result_nor_the_end_waits_for_a_store_that_hangs(tmp_path: Path) -> None:
    files = Stuck(tmp_path)
    keeper = Housekeeper(files, set, threads=1)
    failed = Result(RESULT.job, "failed", error="no")
    keeper.after([failed] * 100)
    assert files.reached.wait(10)
    keeper.after([RESULT])
    keeper.close(seconds=0.01)
    assert keeper.deleted == 0
    files.released.set()
