"""Whoever can write into a run's store can spoil its results; he cannot make a driver or an executor run his code."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from spark_nas.engines.gpu import Place
from spark_nas.engines.limits import Limits
from spark_nas.engines.task import run_job
from spark_nas.errors import JobError, OutputError
from spark_nas.evaluation.checkpoint import MAGIC
from spark_nas.evaluation.training import Training
from spark_nas.search.records import Job, JobKey, Result
from spark_nas.search.wire import result_from_json, result_to_json
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from spark_nas.storage.record import check_run_id
from tests.evaluation.training_support import evaluator, job

TASK = evaluator(Training(batch_size=128), max_resource=2)
LIMITS = Limits(checkpoint_seconds=0)


@dataclass
class Hostile:
    """Unpickled, it creates a file."""

    touches: Path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.touches,)


def raw_pickle(target: Path) -> bytes:
    return pickle.dumps(Hostile(target))


def torch_archive(target: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"network": Hostile(target)}, buffer)
    return buffer.getvalue()


def sealed_archive(target: Path) -> bytes:
    payload = torch_archive(target)
    return MAGIC + hashlib.sha256(payload).digest() + payload


def sealed_pickle(target: Path) -> bytes:
    payload = raw_pickle(target)
    return MAGIC + hashlib.sha256(payload).digest() + payload


ATTACKS = [raw_pickle, torch_archive, sealed_archive, sealed_pickle]


def run(given: Job, store: CommittedJobs) -> Result:
    return run_job(given, TASK, store, LIMITS, place=Place(1))


def test_the_attacks_are_real(tmp_path: Path) -> None:
    for attack in (raw_pickle, torch_archive):
        target = tmp_path / attack.__name__
        content = attack(target)
        pickle.loads(content) if attack is raw_pickle else torch.load(io.BytesIO(content), weights_only=False)
        assert target.exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_checkpoint_with_the_right_digests_fails_the_job_and_runs_nothing(
    attack: Callable[[Path], bytes], tmp_path: Path
) -> None:
    store = CommittedJobs(LocalFiles(tmp_path / "run"))
    store.commit(Result(job(1), "completed", loss=0.5), attack(tmp_path / "touched"))
    result = run(job(2, rung=1), store)
    assert (result.status, str(result.error).split(":")[0]) == ("failed", "JobError")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_recovery_checkpoint_is_ignored_and_runs_nothing(
    attack: Callable[[Path], bytes], tmp_path: Path
) -> None:
    store = CommittedJobs(LocalFiles(tmp_path / "run"))
    store.keep(job(1).key, attack(tmp_path / "touched"))
    assert run(job(1), store).status == "completed"
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[: len(b) // 2], lambda b: b"", None], ids=range(4))
def test_a_damaged_or_vanished_checkpoint_of_the_rung_below_fails_the_job_that_needs_it(
    damage: Callable[[bytes], bytes] | None, tmp_path: Path
) -> None:
    store = CommittedJobs(LocalFiles(tmp_path))
    assert run(job(1), store).status == "completed"
    (path,) = tmp_path.rglob("*.pt")
    path.unlink() if damage is None else path.write_bytes(damage(path.read_bytes()))
    result = run(job(2, rung=1), store)
    reason = f"JobError: the checkpoint of job (0, 0) is {'missing' if damage is None else 'damaged'}: {path}"
    assert (result.status, str(result.error).splitlines()[0]) == ("failed", reason)


def test_a_training_that_diverges_is_a_failed_row_with_its_reason(tmp_path: Path) -> None:
    store = CommittedJobs(LocalFiles(tmp_path))
    task = evaluator(Training(batch_size=64, learning_rate=1e35, clip_norm=0.0))
    result = run_job(job(4), task, store, LIMITS, place=Place(1))
    assert (result.status, str(result.error).split(" became ")[0]) == ("failed", "Diverged: training loss")
    assert store.committed(job(4).key) is None


def honest() -> dict[str, object]:
    text = result_to_json(Result(job(1), "completed", loss=0.5))
    return {"result": text, "checkpoint": None, "sha256": None}


def with_result(**changes: object) -> bytes:
    raw = {**json.loads(str(honest()["result"])), **changes}
    return json.dumps({**honest(), "result": json.dumps(raw)}).encode()


COMMITS = {
    "a pickle": pickle.dumps(Hostile(Path("touched"))),
    "nothing": b"",
    "not utf-8": b"\xff\xfe\x00",
    "a list": b"[]",
    "a number": b"1",
    "too deep": b'{"result": ' + b"[" * 100_000,
    "no text inside": json.dumps({**honest(), "result": {"job": 1}}).encode(),
    "outside the folder": json.dumps({**honest(), "checkpoint": "../../../../secret.pt"}).encode(),
    "an absolute path": json.dumps({**honest(), "checkpoint": "/etc/passwd"}).encode(),
    "a checkpoint that is a list": json.dumps({**honest(), "checkpoint": ["a"]}).encode(),
    "another job's": with_result(job=json.loads(result_to_json(Result(job(2, 1), "completed")))["job"]),
    "a status of its own": with_result(status="lost", error="again, please"),
    "a curve that is a word": with_result(curve="flat"),
    "a time that is none": with_result(started_at="now"),
    "a time without a zone": with_result(started_at="2020-01-01T00:00:00"),
    "a trial below none": with_result(job={**json.loads(str(honest()["result"]))["job"], "trial_id": -1}),
}


@pytest.mark.parametrize("content", COMMITS.values(), ids=COMMITS)
def test_a_hostile_commit_is_a_failed_job_that_names_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret.pt").write_bytes(b"secret")
    files = LocalFiles(tmp_path / "run")
    files.write("checkpoints/000000/0/commit.json", content)
    result = run(job(1), CommittedJobs(files))
    assert (result.status, "commit.json" in str(result.error)) == ("failed", True)
    assert not Path("touched").exists()


@pytest.mark.parametrize("text", ["", "1", "[]", "{}", '{"job": 1}', "nonsense", '{"job": {"trial_id": 0}}'])
def test_a_result_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        result_from_json(text)


@pytest.mark.parametrize(
    "key",
    [(0, "../../../elsewhere"), ("../..", 0), (-1, 0), (0, -1), (0.5, 0), (True, 0), (None, 0)],
    ids=str,
)
def test_no_key_leads_out_of_the_run(key: tuple[object, object], tmp_path: Path) -> None:
    store = CommittedJobs(LocalFiles(tmp_path / "run"))
    bad = JobKey(*key)  # type: ignore[arg-type]
    for use in (store.committed, store.checkpoint, store.kept):
        with pytest.raises(JobError, match="whole numbers"):
            use(bad)
    with pytest.raises(JobError, match="whole numbers"):
        store.keep(bad, b"state")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "run_id",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "/etc",
        ".hidden",
        "-rf",
        "a b",
        "a\n",
        "a\x00",
        "é",
        "a" * 101,
        "a:b",
        "~",
        "%2e",
    ],
    ids=repr,
)
def test_no_run_id_leads_out_of_the_output(run_id: str) -> None:
    with pytest.raises(OutputError, match="run id"):
        check_run_id(run_id)


@pytest.mark.parametrize("run_id", ["a" * 101, 5, None, b"a"], ids=repr)
def test_a_run_id_that_is_refused_is_told_what_one_may_be(run_id: object) -> None:
    with pytest.raises(OutputError, match=r"^run id .*: use letters, digits, .* at most 100 characters$"):
        check_run_id(run_id)


@pytest.mark.parametrize("run_id", ["a", "2026-11-24", "ASHA_3.1", "a" * 100, "a..b"])
def test_an_ordinary_run_id_is_taken(run_id: str) -> None:
    assert check_run_id(run_id) == run_id
