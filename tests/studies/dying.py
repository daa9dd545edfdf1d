"""Jobs in processes that die where they are told to. Run as a program: a specification in, a report out.

The program trains once itself, which imports and fills all that is slow, and then forks a child for each attempt, so
that a dozen deaths take seconds.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_nas.assemble import COMPONENTS
from spark_nas.checking import component_class
from spark_nas.engines.gpu import Place
from spark_nas.engines.limits import Limits
from spark_nas.engines.task import run_job
from spark_nas.evaluation.training import Training
from spark_nas.search.protocols import Evaluator
from spark_nas.search.records import Job, JobKey, Result, Trial
from spark_nas.search.wire import result_from_json, result_to_json
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.nas_bench_201 import NasBench201
from spark_nas.storage.files import Files, LocalFiles
from spark_nas.storage.jobs import CommittedJobs

EPOCHS = 4


class Death:
    """Counts the steps of one kind, and kills this process at the one it is set to."""

    def __init__(self, at: int | None, with_signal: int = signal.SIGKILL) -> None:
        self.steps, self._at, self._signal = 0, at, with_signal

    def step(self) -> None:
        if self.steps == self._at:
            os.kill(os.getpid(), self._signal)
        self.steps += 1


@dataclass
class MortalFiles:
    """Files whose every change may be the last thing this process does: even steps before it, odd ones after it."""

    inner: Files
    death: Death

    @property
    def root(self) -> str:
        return self.inner.root

    def read(self, name: str) -> bytes | None:
        return self.inner.read(name)

    def list(self, folder: str) -> list[str]:
        return self.inner.list(folder)

    def write(self, name: str, content: bytes) -> None:
        self.death.step()
        self.inner.write(name, content)
        self.death.step()

    def write_new(self, name: str, content: bytes) -> bool:
        self.death.step()
        created = self.inner.write_new(name, content)
        self.death.step()
        return created

    def delete(self, name: str) -> None:
        self.death.step()
        self.inner.delete(name)
        self.death.step()


@dataclass
class MortalDigits:
    """The digits, any batch of which may be the last thing this process sees."""

    death: Death
    passes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        from tests.evaluation.training_support import Digits

        self._inner = Digits((("train", 96), ("valid", 64)))
        self.input_shape, self.classes = self._inner.input_shape, self._inner.classes
        self.mean, self.std, self.rows = self._inner.mean, self._inner.std, self._inner.rows

    def batches(
        self, split: str, batch_size: int, *, seed: int | None = None, epoch: int = 0
    ) -> Iterator[tuple[NDArray[np.generic], NDArray[np.int64]]]:
        self.passes.append(split)
        for batch in self._inner.batches(split, batch_size, seed=seed, epoch=epoch):
            self.death.step()
            yield batch


def the_job(rung: int = 0) -> Job:
    """Trial 7, whose rung 0 is one epoch and whose rung 1 is all."""
    trial = Trial(7, Architecture(), {}, 5)
    return Job(trial, rung, EPOCHS if rung else 1, JobKey(7, 0) if rung else None)


def attempt(
    files: Files, rung: int, *, batch: int | None = None, change: int | None = None, supernet: str | None = None
) -> tuple[Result, int]:
    """Run the job; its result and how many epochs were trained here. May not return."""
    dataset = MortalDigits(Death(batch))
    task = _supernet(supernet, dataset) if supernet else _network(dataset)
    store = CommittedJobs(MortalFiles(files, Death(change)))
    limits = Limits(checkpoint_seconds=0)
    result = run_job(the_job(rung), task, store, limits, place=Place(1))
    return result, dataset.passes.count("train")


def _network(dataset: MortalDigits) -> Evaluator:
    from tests.evaluation.training_support import SPACE, small_network

    options = Training(learning_rate=0.05, batch_size=32, crop_padding=1, flip=True, optimizer="adamw", warmup=1)
    task = options.build(SPACE, dataset, EPOCHS)  # type: ignore[arg-type]
    object.__setattr__(task, "network_builder", small_network)
    return task


def _supernet(method: str, dataset: MortalDigits) -> Evaluator:
    """A supernet, searched by a method of the given name with its defaults."""
    space = NasBench201(channels=4, cells=1).build()
    options = component_class(COMPONENTS["method"][method])()
    task = Training(learning_rate=0.05, batch_size=32).build(space, dataset, EPOCHS)  # type: ignore[arg-type]
    return replace(task, method=options)


def in_child(files: Files, rung: int, **death: int | str | None) -> dict[str, Any]:
    """The same in a process of its own: how it ended, and what it answered if it lived."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            result, epochs = attempt(files, rung, **death)  # type: ignore[arg-type]
            with os.fdopen(writer, "w") as pipe:
                json.dump({"result": result_to_json(result), "epochs": epochs}, pipe)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)  # never back into the parent's program
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = json.loads(pipe.read() or "{}")
    _, status = os.waitpid(child, 0)
    return {"status": status, **answer}


def outcome(answer: dict[str, Any]) -> tuple[object, ...]:
    """What must be equal to the last bit, however often it died."""
    result = result_from_json(answer["result"])
    return (
        result.job,
        result.status,
        result.loss,
        dict(result.metrics),
        result.curve,
        result.derived,
        result.error,
    )


def main() -> None:
    """[folder of pickled Files and of the checkpoint to start from] [list of deaths] -> a report a death."""
    parent = os.getppid()
    specification = pickle.loads(Path(sys.argv[1]).read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        attempt(LocalFiles(folder), 0)
    specification[0][0].read("nothing")  # imports what its store needs
    report = []
    for files, death in specification:
        if os.getppid() != parent:
            sys.exit("nobody waits for this any more")
        kind = {key: value for key, value in death.items() if key == "supernet"}
        first = in_child(files, 0, **kind)
        died = in_child(files, 1, **death)
        lived = in_child(files, 1, **kind)
        report.append((first, died, lived))
    buffer = io.BytesIO()
    pickle.dump(report, buffer)
    Path(sys.argv[2]).write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
