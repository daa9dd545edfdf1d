"""The Step Functions example: one driver at a time, tried again on exit code 75 and on no other."""

from __future__ import annotations

import copy
import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_aws_sdk import (
    StateTaskServiceAwsSdk,
)
from statelint.linter import Linter

from spark_nas.commands.runs import Run
from spark_nas.storage.lease import Lease
from spark_nas.storage.locations import open_files
from tests.platforms.playing_emr import BUCKET, Emr, playing_emr
from tests.platforms.schemas import REPOSITORY, Document, misspelt

FILE = REPOSITORY / "docs" / "examples" / "state_machine.json"
SCHEDULER = "{name: successive_halving, trials: 2, max_resource: 2, eta: 2}"
EXPERIMENT = f"{{space: mlp, scheduler: {SCHEDULER}, evaluator: synthetic}}"
RUN = f"s3://{BUCKET}/runs/night"


def machine() -> Document:
    return json.loads(FILE.read_text())


def test_it_is_in_the_amazon_states_language():
    assert [] == Linter.validate(machine())


def test_it_is_not_with_any_key_misspelt():
    def free(where: str) -> bool:
        """What goes to a service, or is named by us; a comment may be left out."""
        parts = where.split(".")
        return "Parameters" in parts[:-1] or "ResultSelector" in parts[:-1] or len(parts) == 2

    optional = {where for where, changed in misspelt(machine()) if not Linter.validate(changed)}
    assert set() == {where for where in optional if not free(where)}


def test_every_state_name_is_reached_and_a_wrong_one_is_found():
    changed = copy.deepcopy(machine())
    changed["States"]["Pause"]["Next"] = "Name the end"
    assert [problem for problem in Linter.validate(changed) if "Name the end" in problem]


_EVALUATE = StateTaskServiceAwsSdk._eval_service_task


def _with_bodies_read(self: StateTaskServiceAwsSdk, env: Document, *arguments: object, **named: object) -> None:
    """Step Functions hands on the text of an object; moto 5.2 hands on the stream."""
    _EVALUATE(self, env, *arguments, **named)
    if hasattr(body := env.stack[-1].get("Body"), "read"):
        env.stack[-1]["Body"] = body.read().decode()


@pytest.fixture
def emr(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emr]:
    (tmp_path / "asha.yaml").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(StateTaskServiceAwsSdk, "_eval_service_task", _with_bodies_read)
    with playing_emr(monkeypatch) as playing:
        body = json.dumps({"stepfunctions": {"execute_state_machine": True}}).encode()
        request = urllib.request.Request(f"{playing.endpoint}/moto-api/config", body, {"Content-Type": "text/plain"})
        urllib.request.urlopen(request).close()
        yield playing


def execute(emr: Emr, attempts: int = 5) -> Document:
    """Run the machine to its end. Of the file only the bucket's name and the pauses are changed."""
    definition = machine()
    for state in definition["States"].values():
        if state["Type"] == "Wait":
            state["Seconds"] = 0
    text = json.dumps(definition).replace('"BUCKET"', f'"{BUCKET}"')
    client = emr.client("stepfunctions")
    made = client.create_state_machine(name="night", definition=text, roleArn="arn:aws:iam::123456789012:role/nas")
    given = json.dumps({"run_id": "night", "cluster": emr.cluster, "attempts": attempts})
    begun = client.start_execution(stateMachineArn=made["stateMachineArn"], name="night", input=given)
    while True:
        found = client.describe_execution(executionArn=begun["executionArn"])
        if found["status"] != "RUNNING":
            return found
        threading.Event().wait(0.05)


@pytest.mark.slow
def test_a_search_that_ends_is_tried_once(emr: Emr):
    assert "SUCCEEDED" == execute(emr)["status"]
    assert [0] == emr.codes
    assert 3 == len(Run(RUN).results())


@pytest.mark.slow
def test_a_search_that_ended_with_75_is_tried_again_and_goes_on(emr: Emr):
    lease = Lease(open_files(RUN))

    def before(number: int) -> bool:
        lease.__enter__() if number == 1 else lease.__exit__(None, None, None)
        return True

    emr.before = before
    assert "SUCCEEDED" == execute(emr)["status"]
    assert [75, 0] == emr.codes


@pytest.mark.slow
def test_it_gives_up_after_so_many_attempts(emr: Emr):
    with Lease(open_files(RUN)):
        ended = execute(emr, attempts=2)
    assert ("FAILED", "ExitCode75") == (ended["status"], ended["error"])
    assert [75, 75] == emr.codes


@pytest.mark.slow
def test_bad_input_is_not_tried_again(emr: Emr, tmp_path: Path):
    (tmp_path / "asha.yaml").write_text("{space: mlpp}")
    ended = execute(emr)
    assert ("FAILED", "ExitCode2") == (ended["status"], ended["error"])
    assert [2] == emr.codes


@pytest.mark.slow
def test_a_driver_that_died_without_a_word_is_not_tried_again(emr: Emr):
    emr.before = lambda number: False
    ended = execute(emr)
    assert ("FAILED", "NoEnding") == (ended["status"], ended["error"])
    assert [None] == emr.codes
