"""The tabular evaluator: published values come out, cut or straight, and wrong tables are refused."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spark_nas.engines.simulated import Simulated
from spark_nas.errors import DataError, OptionError, UsageError
from spark_nas.evaluation.curves import CurveEvaluator
from spark_nas.evaluation.tables import nas_bench_201, taskset
from spark_nas.evaluation.tabular import Tabular
from spark_nas.search.records import Job, JobKey, Result, Trial
from spark_nas.spaces.core import Architecture, Choice, IndependentChoices
from spark_nas.spaces.table import TableRows

CELLS = IndependentChoices(
    "nas_bench_201", tuple(Choice(edge, nas_bench_201.OPERATIONS) for edge in nas_bench_201.EDGES)
)
TASKSET = "tabular/taskset_textrnn12_adam8p.npz"
TASK = "imdb_patch32_IRNN64_relu_avg_bs128"
LCBENCH = "tabular/lcbench_surrogate_10k_curves.npz"
NPZ_201 = "tabular/nasbench201_final200.npz"

SharedData = Callable[[str], Path]


def row(number: int, trial_id: int = 0) -> Trial:
    return Trial(trial_id, Architecture({"row": str(number)}))


def cell(*operations: str, seed: int = 1) -> Trial:
    return Trial(0, Architecture(dict(zip(nas_bench_201.EDGES, operations, strict=True))), seed=seed)


def train(evaluator: CurveEvaluator, trial: Trial, *resources: int) -> tuple[list[Result], float]:
    """Train a trial to each resource in turn; the results, and the virtual time it took."""
    engine = Simulated(workers=1).build(evaluator)
    results: list[Result] = []
    for rung, resource in enumerate(resources):
        engine.submit([Job(trial, rung, resource, JobKey(0, rung - 1) if rung else None)])
        results += engine.wait()
    return results, engine.now


# The best cells of NAS-Bench-201's three data sets by mean validation accuracy, as the paper's appendix gives them.
BEST = {"cifar10-valid": 91.61, "cifar100": 73.49, "ImageNet16-120": 46.73}


@pytest.mark.parametrize("task", BEST)
def test_the_best_cell_has_the_published_accuracy(task: str):
    table = nas_bench_201.load(None, task, one_seed=False)
    assert BEST[task] == pytest.approx(100 * np.nanmean(table.accuracies, axis=1).max(), abs=0.005)


@pytest.mark.parametrize("task", BEST)
def test_the_package_and_the_npz_hold_the_same_cells(task: str, shared_data: SharedData):
    packaged = nas_bench_201.load(None, task, one_seed=False)
    npz = nas_bench_201.load(str(shared_data(NPZ_201)), task, one_seed=False)
    np.testing.assert_allclose(packaged.accuracies, npz.accuracies, rtol=1e-6)
    np.testing.assert_allclose(packaged.train_seconds, npz.train_seconds, rtol=1e-6)
    for name, values in packaged.metrics.items():
        np.testing.assert_allclose(values, npz.metrics[name], rtol=1e-5)


def test_a_cell_of_convolutions_learns_and_a_cell_of_nothing_guesses():
    evaluator = Tabular().build(CELLS, None, 200)
    [good], _ = train(evaluator, cell(*["nor_conv_3x3"] * 6), 200)
    [empty], _ = train(evaluator, cell(*["none"] * 6), 200)
    assert good.loss < 0.12
    assert empty.loss == pytest.approx(0.9, abs=0.01)
    assert good.loss == 1 - good.metrics["accuracy"]


def test_training_a_cell_takes_its_recorded_time():
    table = nas_bench_201.load(None, None, one_seed=False)
    trial = cell(*["nor_conv_3x3"] * 6)
    _, seconds = train(Tabular().build(CELLS, None, 200), trial, 200)
    assert table.train_seconds[nas_bench_201.cell_index(trial.architecture)] == seconds


def test_one_seed_draws_each_recorded_training_and_the_same_for_the_same_trial():
    table = nas_bench_201.load(None, None, one_seed=True)
    operations = ["nor_conv_3x3"] * 6
    recorded = table.accuracies[nas_bench_201.cell_index(cell(*operations).architecture)]
    seen = [1 - table.point(cell(*operations, seed=seed), 200).loss for seed in range(1, 60)]
    again = [1 - table.point(cell(*operations, seed=seed), 200).loss for seed in range(1, 60)]
    assert sorted(recorded[np.isfinite(recorded)]) == pytest.approx(sorted(set(seen)))
    assert seen == again


def test_a_table_without_curves_refuses_any_other_resource():
    with pytest.raises(OptionError, match=r"^max_resource: 81: nas_bench_201 has values after 200 epochs only"):
        Tabular().build(CELLS, None, 81)
    [result], _ = train(Tabular().build(CELLS, None, 200), cell(*["none"] * 6), 50)
    assert result.error is not None
    assert result.error.splitlines()[0] == "JobError: nothing is known after 50 units of resource, only after 200"


def test_lcbench_gives_the_files_accuracy_and_times(shared_data: SharedData):
    path = shared_data(LCBENCH)
    evaluator = Tabular("lcbench", str(path), "7593").build(TableRows(10_000).build(), None, 52)
    results, seconds = train(evaluator, row(4711), 1, 13, 52)
    with np.load(path) as archive:
        accuracy = archive["7593/val_acc_u16"][4711] / 65535
        times = archive["7593/time"][4711]
    assert [1 - accuracy[0], 1 - accuracy[12], 1 - accuracy[51]] == pytest.approx([r.loss for r in results])
    assert times[1] == pytest.approx(seconds)
    assert times[0] == pytest.approx(results[0].seconds)
    assert accuracy[13:].tolist() == [point.metrics["accuracy"] for point in results[-1].curve]
    assert list(range(14, 53)) == [point.resource for point in results[-1].curve]


def test_taskset_resource_counts_evaluations_after_the_start(shared_data: SharedData):
    path = shared_data(TASKSET)
    evaluator = Tabular("taskset", str(path), TASK).build(TableRows(1000).build(), None, 50)
    [result], seconds = train(evaluator, row(0), 50)
    with np.load(path) as archive:
        valid = archive[f"{TASK}/valid"][0]
    assert valid[1:].tolist() == [point.loss for point in result.curve]
    assert seconds == 50


def test_a_curve_with_nan_fails_there_and_costs_no_more(shared_data: SharedData):
    path = str(shared_data(TASKSET))
    losses = taskset.load(path, TASK, diverged_above=100).losses
    evaluator = Tabular("taskset", path, TASK).build(TableRows(1000).build(), None, 50)
    number = next(i for i in range(1000) if np.isfinite(losses[i, :3]).all() and np.isnan(losses[i]).any())
    ends = int(np.isnan(losses[number]).argmax()) + 1
    results, seconds = train(evaluator, row(number), 3, 50)
    assert [result.status for result in results] == ["completed", "failed"]
    assert f"Diverged: loss nan after {ends} units of resource" == (results[1].error or "").splitlines()[0]
    assert ends == seconds


def test_a_huge_loss_is_a_diverged_training(tmp_path: Path):
    curves = np.array([[0.7, 0.6, 6e18, 0.5], [0.7, 0.6, 0.5, 0.4], [0.7, 0.6, -math.inf, 0.4]], np.float32)
    np.savez(tmp_path / "t.npz", **{"a/valid": curves, "a/train": curves})
    evaluator = Tabular("taskset", str(tmp_path / "t.npz"), "a").build(TableRows(3).build(), None, 3)
    statuses = [train(evaluator, row(number), 3)[0][0].status for number in range(3)]
    assert statuses == ["failed", "completed", "failed"]


def test_an_evaluator_with_its_table_travels(shared_data: SharedData):
    evaluator = Tabular("lcbench", str(shared_data(LCBENCH)), "7593").build(TableRows(10_000).build(), None, 52)
    travelled = pickle.loads(pickle.dumps(evaluator))
    assert train(evaluator, row(7), 9)[0] == train(travelled, row(7), 9)[0]


def test_a_space_that_is_not_the_tables_is_refused(shared_data: SharedData):
    with pytest.raises(OptionError, match="needs the space nas_bench_201, not table_rows"):
        Tabular().build(TableRows(3).build(), None, 200)
    options = Tabular("lcbench", str(shared_data(LCBENCH)), "7593")
    with pytest.raises(OptionError, match="needs the space table_rows, not nas_bench_201"):
        options.build(CELLS, None, 52)
    with pytest.raises(OptionError, match=r"^rows: 10001: must be at most 10000"):
        options.build(TableRows(10_001).build(), None, 52)
    with pytest.raises(OptionError, match=r"^max_resource: 53: lcbench knows 1 to 52"):
        options.build(TableRows(10_000).build(), None, 53)


def test_an_unknown_task_is_told_those_there_are(shared_data: SharedData):
    with pytest.raises(OptionError, match=r"^task: '1': must be one of 167200, 189908, 7593"):
        Tabular("lcbench", str(shared_data(LCBENCH)), "1").build(TableRows(3).build(), None, 52)
    with pytest.raises(OptionError, match=r"^task: 'mnist': must be one of ImageNet16-120, cifar10-valid, cifar100"):
        Tabular(task="mnist").build(CELLS, None, 200)


@pytest.mark.parametrize("content", [b"", b"not a table", pickle.dumps(Path)])
def test_a_file_that_is_no_npz_is_one_clear_line(content: bytes, tmp_path: Path):
    path = tmp_path / "table.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"table\.npz: not an \.npz of plain arrays"):
        Tabular("taskset", str(path), TASK).build(TableRows(3).build(), None, 50)


def test_arrays_of_objects_are_refused_unread(tmp_path: Path):
    curves = np.array([[print, 1.0]], dtype=object)
    np.savez(tmp_path / "t.npz", **{"a/valid": curves, "a/train": curves})
    with pytest.raises(DataError, match=r"a/valid: not a plain array"):
        Tabular("taskset", str(tmp_path / "t.npz"), "a").build(TableRows(1).build(), None, 1)


def test_a_missing_or_foreign_file_is_one_clear_line(tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere\.npz: there is no such file"):
        Tabular("taskset", str(tmp_path / "nowhere.npz"), TASK).build(TableRows(3).build(), None, 50)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(UsageError, match=r"other\.npz: has no array 'op_names'"):
        Tabular(path=str(tmp_path / "other.npz")).build(CELLS, None, 200)


def test_the_package_reader_refuses_whatever_names_a_function(tmp_path: Path):
    evil = tmp_path / "evil.pkl"
    evil.write_bytes(pickle.dumps({"000000": print}))
    with pytest.raises(DataError, match=r"evil\.pkl: not the plain table .* names builtins\.print"):
        nas_bench_201.read_plain(evil)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"table": "lcbench"}, "path"),
        ({"table": "taskset", "path": "x", "seeds": "one"}, "seeds"),
        ({"diverged_above": math.nan}, "diverged_above"),
    ],
)
def test_an_unusable_option_is_named(options: dict[str, object], key: str):
    with pytest.raises(OptionError, match=f"^{key}: "):
        Tabular(**options)
