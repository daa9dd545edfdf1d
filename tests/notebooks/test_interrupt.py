"""The stop button of a notebook: a real kernel with a real Spark is interrupted, as Jupyter does it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client import KernelManager
from jupyter_client.blocking import BlockingKernelClient

pytestmark = [pytest.mark.spark, pytest.mark.slow]

PREPARE = """
import time
from dataclasses import dataclass
import spark_nas
from spark_nas import FullTraining, Mlp, Outcome, SparkAsync

@dataclass(frozen=True)
class Slow:
    def build(self, space, dataset, max_resource):
        return self

    def evaluate(self, job, workspace):
        time.sleep(0.1)
        return Outcome(float(job.trial.trial_id))

spark = spark_nas.open_session("local[2]")
"""
SEARCH = """
run = spark_nas.search(
    space=Mlp(), scheduler=FullTraining(trials=150, max_resource=1), evaluator=Slow(),
    engine=SparkAsync(batch_seconds=0),
    output="runs", run_id="stopped", spark=spark,
)
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def answer(client: BlockingKernelClient, code: str) -> dict[str, Any]:
    content: dict[str, Any] = client.execute_interactive(code, timeout=200, output_hook=lambda _: None)["content"]
    return content


def test_the_stop_button_ends_in_order_and_the_same_cell_continues(
    kernel: tuple[KernelManager, BlockingKernelClient], tmp_path: Path
):
    manager, client = kernel
    assert "ok" == answer(client, PREPARE)["status"]
    client.execute(SEARCH, stop_on_error=False)  # or the kernel refuses what comes within moments of the error
    until = time.monotonic() + 100
    while not list((tmp_path / "runs/stopped/results").glob("*.parquet")) and time.monotonic() < until:
        time.sleep(0.1)
    manager.interrupt_kernel()
    stopped = client.get_shell_msg(timeout=100)["content"]
    assert ("error", "Unfinished") == (stopped["status"], stopped["ename"])
    assert [f"Unfinished: {stopped['evalue']}"] == stopped["traceback"]
    assert stopped["evalue"].startswith("stopped (interrupted) after ")
    again = SEARCH + "\nassert (150, 3) == (len(run.results), spark.range(3).count())"
    assert "ok" == answer(client, again)["status"]
