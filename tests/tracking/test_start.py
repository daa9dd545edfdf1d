"""The section `tracking` of an experiment, from its file to the tool, through the search itself."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from pathlib import Path

import pytest

from spark_nas.assemble import assemble, parse_experiment
from spark_nas.commands.search import drive, new_record, opened, search
from spark_nas.errors import ConfigError
from spark_nas.storage.record import begin
from spark_nas.tracking import start
from spark_nas.tracking.tracked import Tracked

BASE: Mapping[str, object] = {
    "space": "mlp",
    "scheduler": {"name": "hyperband", "max_resource": 3},
    "evaluator": "synthetic",
}


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("events*"))


def test_a_search_with_a_section_tracking_is_shown_there_and_continued_there(tmp_path: Path):
    folder = tmp_path / "events"
    experiment = parse_experiment({**BASE, "tracking": {"name": "tensorboard", "folder": str(folder)}})
    parts, files = opened(experiment, str(tmp_path), "first")
    results = search(parts, files, "first")
    keys = {
        f"first/trial-{trial:06d}/events.out.tfevents.{rung:010d}.rung" for trial, rung in (r.job.key for r in results)
    }
    written = files_of(folder)
    assert keys == {name for name in written if name.endswith(".rung")}
    assert len({result.job.trial.trial_id for result in results}) == len(written) - len(keys)
    assert results == search(parts, files, "first")
    assert written == files_of(folder)


def test_without_it_nothing_watches_but_progress(tmp_path: Path):
    experiment = parse_experiment(BASE)
    assert experiment.tracking is None
    parts, files = opened(experiment, str(tmp_path), "first")
    record = begin(files, new_record(parts, "first", {}))
    drive(parts, files, record)
    assert [] == files_of(tmp_path)


def test_what_a_tracker_refuses_is_located_in_the_file(monkeypatch: pytest.MonkeyPatch):
    parts = assemble(parse_experiment({**BASE, "tracking": "tensorboard"}, "mine.yaml"))
    nothing = start.tracked_too(start.Observers(), parts, "s3://bucket/first", {"run_id": "first"}, list)
    with pytest.raises(ConfigError, match=r"mine\.yaml: tracking\.folder: None: give a folder"), nothing:
        pass
    monkeypatch.setattr("spark_nas.tracking.tensorboard.find_spec", lambda name: None)
    nothing = start.tracked_too(start.Observers(), parts, "/runs/first", {"run_id": "first"}, list)
    with pytest.raises(ConfigError, match=r"mine\.yaml: tracking\.name: 'tensorboard': needs the package"), nothing:
        pass


def test_the_page_is_the_report_of_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parts, files = opened(parse_experiment(BASE), str(tmp_path), "first")
    record = begin(files, new_record(parts, "first", {}))
    rows = drive(parts, files, record).rows
    page = start._page(parts, "first/retrain/trial", record, rows)
    assert page is not None
    assert "first/retrain/trial" in page
    assert start._page(parts, "first", record, list) is not None
    imports = builtins.__import__

    def no_plotly(name: str, *rest: object):
        if name == "spark_nas.report.page":
            raise ImportError("plotly")
        return imports(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_plotly)
    assert start._page(parts, "first", record, rows) is None


def test_a_retraining_is_a_search_of_its_own_below_the_run(tmp_path: Path):
    seen: list[Tracked] = []

    class Options:
        def build(self, tracked: Tracked):
            seen.append(tracked)
            return start.tracked_too(start.Observers(), assemble(parse_experiment(BASE)), "", {"run_id": ""}, list)

    parts = assemble(parse_experiment(BASE))
    object.__setattr__(parts.experiment, "tracking", Options())
    root = str(tmp_path / "first" / "retrain" / "trial-000001")
    with start.tracked_too(start.Observers(), parts, root, {"run_id": "first"}, list):
        pass
    assert ("first/retrain/trial-000001", root) == (seen[0].run_id, seen[0].location)
    assert seen[0].page() is not None
