"""The Airflow example: loaded and run by a real Airflow where there is one, and read as Python everywhere."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spark_nas.commands.runs import Run
from spark_nas.storage.lease import Lease
from spark_nas.storage.locations import open_files
from tests.platforms.playing_emr import BUCKET, Emr, playing_emr
from tests.platforms.schemas import REPOSITORY, Document

FILE = REPOSITORY / "docs" / "examples" / "airflow_dag.py"
EXPERIMENT = "{space: mlp, scheduler: {name: hyperband, max_resource: 3}, evaluator: synthetic}"
RUN = f"s3://{BUCKET}/runs/nightly-2026-11-24"
Probe = Callable[..., str]


def call(name: str) -> dict[str, Document]:
    """The keyword arguments of the one call of `name` whose values are plain."""
    [found] = [
        n for n in ast.walk(ast.parse(FILE.read_text())) if isinstance(n, ast.Call) and ast.unparse(n.func) == name
    ]
    return {k.arg: k.value.value for k in found.keywords if isinstance(k.value, ast.Constant)}


def test_it_says_one_run_and_one_try_at_a_time():
    assert {"max_active_runs": 1, "catchup": False} == {
        key: value for key, value in call("DAG").items() if key in ("max_active_runs", "catchup")
    }
    assert (1, 5) == (call("SearchStep")["max_active_tis_per_dag"], call("SearchStep")["retries"])


def test_the_run_id_is_the_nights_and_the_ending_is_the_trys():
    names = {
        node.targets[0].id: ast.unparse(node.value)
        for node in ast.parse(FILE.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert "'nightly-{{ dag_run.run_after | ds }}'" == names["RUN_ID"]
    assert "try_number" in names["ENDING"]
    assert "75" == names["TRY_AGAIN"]


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Probe:
    """Runs the probe in the Airflow whose Python the environment names."""
    python = os.environ.get("SPARK_NAS_AIRFLOW_PYTHON")
    if python is None:
        pytest.skip("set SPARK_NAS_AIRFLOW_PYTHON to a Python with apache-airflow and its provider amazon")
    home = tmp_path_factory.mktemp("airflow")
    settings = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    settings |= {"AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    made = home / "dag.py"
    made.write_text(FILE.read_text().replace('BUCKET = "BUCKET"', f'BUCKET = "{BUCKET}"'))
    script = Path(__file__).with_name("airflow_probe.py")
    subprocess.run(
        [python, "-m", "airflow", "db", "migrate"], env=os.environ | settings, capture_output=True, check=True
    )

    def run(*arguments: str) -> str:
        command = [python, script, made, *arguments]
        done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.splitlines()[-1]

    return run


@pytest.fixture
def emr(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emr]:
    (tmp_path / "asha.yaml").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    with playing_emr(monkeypatch) as playing:
        yield playing


@pytest.mark.slow
def test_a_real_airflow_loads_it(probe: Probe):
    found = json.loads(probe())
    assert {"max_active_runs": 1, "catchup": False, "retries": 5, "at_once": 1, "trigger": "all_success"} == found


@pytest.mark.slow
def test_in_a_real_airflow_only_75_is_retried_and_the_retry_goes_on(probe: Probe, emr: Emr, tmp_path: Path):
    with Lease(open_files(RUN)):
        assert "retry" == probe(emr.cluster, "1")
    assert "done" == probe(emr.cluster, "2")
    assert 6 == len(Run(RUN).results())
    (tmp_path / "asha.yaml").write_text("{space: mlpp}")
    assert "failed: the search ended with exit code 2: not to be retried" == probe(emr.cluster, "3")
    emr.before = lambda number: False
    assert "failed: the search ended with exit code None: not to be retried" == probe(emr.cluster, "4")
    assert [75, 0, 2, None] == emr.codes
