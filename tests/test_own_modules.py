"""Components in a file of the user's own, which is installed nowhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from spark_nas import own_modules
from spark_nas.assemble import load_experiment
from spark_nas.commands.runs import Run
from spark_nas.commands.standing import standing
from spark_nas.engines.limits import Limits
from spark_nas.engines.worker import Payload
from spark_nas.errors import ConfigError
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.record import begin

OWN = """
from dataclasses import dataclass
import {neighbour}
from spark_nas import Choice, Space

@dataclass(frozen=True)
class Own(Space):
    width: int = 2

    @property
    def choices(self):
        return (Choice("a", {neighbour}.OPTIONS),)
"""
EXPERIMENT = """
space: {{name: "{own}:Own", width: 3}}
scheduler: {{name: full_training, trials: 1, max_resource: 1}}
evaluator: synthetic
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a module in `tmp_path`, beside `mine.yaml`; Python's path is as before afterwards."""
    name = f"own_{abs(hash(request.node.nodeid))}"
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(own_modules, "_FOLDERS", [])
    (tmp_path / f"{name}.py").write_text(OWN.format(neighbour=f"{name}_options"))
    (tmp_path / f"{name}_options.py").write_text("OPTIONS = ('x', 'y')\n")
    (tmp_path / "mine.yaml").write_text(EXPERIMENT.format(own=name))
    yield name
    for module in (name, f"{name}_options"):
        sys.modules.pop(module, None)


def test_it_is_found_beside_the_experiment_file(own: str, tmp_path: Path) -> None:
    assert 3 == load_experiment(str(tmp_path / "mine.yaml"), []).space.width
    assert str(tmp_path) == sys.path[-1]  # at the end, so that nothing is hidden


def test_it_is_found_in_the_working_folder(own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "mine.yaml").rename(elsewhere / "mine.yaml")
    monkeypatch.chdir(tmp_path)
    assert 3 == load_experiment(str(elsewhere / "mine.yaml"), []).space.width


def test_what_came_from_a_store_chooses_no_file_of_this_machine(
    own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record may name any file and any module; only who trains a run looks beside Python's path, in one folder."""
    monkeypatch.chdir(tmp_path)
    raw = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    record = {"run_id": "run", "experiment": raw, "file": str(tmp_path / "mine.yaml"), "identity": {"data": None}}
    record |= {"created_at": "2026-01-02T03:04:05+00:00", "environment": {}, "max_resource": 1}
    begin(LocalFiles(tmp_path / "run"), record)
    with pytest.raises(ConfigError, match=f"no module '{own}' on Python's path$"):
        _ = Run(str(tmp_path / "run")).experiment
    assert "unclear" == standing(LocalFiles(tmp_path / "run")).state  # type: ignore[union-attr] # there is a run
    assert own not in sys.modules
    assert 3 == Run(str(tmp_path / "run"), modules=[tmp_path]).experiment.space.width


def test_it_travels_by_value_with_its_neighbours(own: str, tmp_path: Path) -> None:
    space = load_experiment(str(tmp_path / "mine.yaml"), []).space
    assert {own, f"{own}_options"} == {module.__name__ for module in own_modules.travelling()}
    packed = tmp_path / "packed"
    packed.write_bytes(Payload.pack(space, None, Limits(), False).pickled)  # type: ignore[arg-type] # any object
    program = """
import sys
from spark_nas.engines.worker import unpickle
space = unpickle(open(sys.argv[1], "rb").read())[0]
print(space.choices[0].options, space.width)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(packed)], cwd="/", capture_output=True, text=True, check=False
    )
    assert ("('x', 'y') 3\n", 0) == (done.stdout, done.returncode), done.stderr


def test_what_it_imports_and_is_not_there_is_named(own: str, tmp_path: Path) -> None:
    (tmp_path / f"{own}_options.py").unlink()
    with pytest.raises(ConfigError, match=rf"space\.name: .* needs the package '{own}_options'; install it"):
        load_experiment(str(tmp_path / "mine.yaml"), [])


def test_what_lies_deeper_in_the_folder_and_the_package_itself_stay(
    own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the packages of an environment in the working folder, and a clone's."""
    root = Path(own_modules.__file__).parents[1]
    monkeypatch.setattr(own_modules, "_FOLDERS", [root, Path(pytest.__file__).parents[2]])
    assert [] == [m.__name__ for m in own_modules.travelling() if m.__name__.split(".")[0] in ("spark_nas", "pytest")]
