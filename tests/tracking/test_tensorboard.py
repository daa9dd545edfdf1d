from __future__ import annotations

from pathlib import Path

import pytest

from spark_nas.errors import OptionError
from spark_nas.search.records import JobKey
from spark_nas.tracking.tensorboard import EventFiles, TensorBoard
from tests.tracking.results import result, tracked

pytest.importorskip("tensorboard")


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return [(event.step, pytest.approx(event.value)) for event in accumulator.Scalars(name)]


def hparams(folder: Path) -> dict[str, object]:
    """Tag -> plugin data of the HParams table."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    content = accumulator.PluginTagToContent("hparams")
    return {tag: HParamsPluginData.FromString(data) for tag, data in content.items()}


def test_a_search_leaves_curves_and_the_table_of_its_trials(tmp_path: Path):
    with TensorBoard(str(tmp_path)).build(tracked()) as tracker:
        for one in (result(4), result(5), result(4, 1, 3), result(5, 1, 3, error="boom")):
            tracker.on_result(one)
    trial = tmp_path / "first" / "trial-000004"
    assert [(1, 5.0), (2, 4.5), (3, 4 + 1 / 3)] == scalars(trial, "loss")
    assert [(1, 12.0), (3, 12.0)] == scalars(trial, "parameters")
    table = hparams(trial)
    start = table["_hparams_/session_start_info"].session_start_info
    assert 0.5 == start.hparams["recipe.learning_rate"].number_value
    assert "skip" == start.hparams["architecture.edge 0"].string_value
    assert "trial-000004" == start.group_name
    ended = [hparams(tmp_path / "first" / f"trial-00000{n}")["_hparams_/session_end_info"] for n in (4, 5)]
    assert [1, 2] == [data.session_end_info.status for data in ended]  # STATUS_SUCCESS, STATUS_FAILURE


def test_a_search_that_goes_on_writes_nothing_twice_and_ends_once(tmp_path: Path):
    first = EventFiles(tmp_path)
    first.open()
    first.write([result()])
    first.finish("stopped")
    (written,) = (tmp_path / "trial-000000").iterdir()
    before = written.stat().st_mtime_ns
    again = EventFiles(tmp_path)
    again.open()
    again.write([result(rung=1, resource=3), result()])
    again.finish("finished")
    assert before == written.stat().st_mtime_ns
    assert [(1, 1.0), (2, 0.5), (3, 1 / 3)] == scalars(tmp_path / "trial-000000", "loss")
    assert 3 == len(list((tmp_path / "trial-000000").iterdir()))


def test_a_job_that_cannot_be_written_leaves_no_part_of_a_file(tmp_path: Path):
    files = EventFiles(tmp_path)
    files.open()
    (tmp_path / "trial-000001").write_text("no folder")
    with pytest.raises(OSError, match="trial-000001"):
        files.write([result(1)])
    assert not files.has(JobKey(1, 0))
    blocked = tmp_path / "trial-000002" / "events.out.tfevents.1000000000.end"
    (blocked / "full").mkdir(parents=True)
    files = EventFiles(tmp_path)
    files.write([result(2)])
    with pytest.raises(OSError, match="directory"):
        files.finish("finished")
    assert [] == [path.name for path in (tmp_path / "trial-000002").iterdir() if path.name.startswith(".")]


def test_event_files_lie_in_the_run_unless_that_is_on_an_object_store(tmp_path: Path):
    with TensorBoard().build(tracked(str(tmp_path / "first"))) as tracker:
        tracker.on_result(result())
    assert [(1, 1.0)] == scalars(tmp_path / "first" / "tensorboard" / "trial-000000", "loss")
    with pytest.raises(OptionError, match="give a folder"):
        TensorBoard().build(tracked("s3://bucket/first"))


@pytest.mark.parametrize("options", [{"folder": "s3://bucket/tb"}, {"folder": ""}, {"queue": 0}])
def test_what_it_cannot_honour_is_refused(options: dict[str, object]):
    with pytest.raises(OptionError, match="give"):
        TensorBoard(**options)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("spark_nas.tracking.tensorboard.find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"spark_nas\[tensorboard\]"):
        TensorBoard("x").build(tracked())
