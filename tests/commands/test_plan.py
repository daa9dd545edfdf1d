"""`spark-nas plan`: the table of rungs and the simulated wall time, before anything is paid for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from spark_nas.assemble import parse_experiment
from spark_nas.commands.plan import simulate
from spark_nas.engines.simulated import Simulated
from tests.commands.answers import Answer, Command

Plan = Callable[..., Answer]
PLAIN = {"space": "mlp", "evaluator": "synthetic"}
HYPERBAND_81 = "space: mlp\nscheduler: {name: hyperband, max_resource: 81, eta: 3}\nevaluator: synthetic\n"


@pytest.fixture
def plan(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "120")

    def run(text: str, *arguments: str) -> Answer:
        (tmp_path / "plan.yaml").write_text(text)
        return command("plan", tmp_path / "plan.yaml", *arguments)

    return run


def rows(answer: Answer, title: str) -> list[list[str]]:
    """The cells of one of the printed tables."""
    table = answer.out[answer.out.index(title) :].split("└")[0]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in table.splitlines() if line[:1] == "│"]


def test_the_brackets_of_hyperband_are_those_of_the_paper(plan: Plan):
    answer = plan(HYPERBAND_81)
    assert (0, "") == (answer.code, answer.err)
    assert rows(answer, "Brackets") == [
        ["4", "81 (1)  27 (3)  9 (9)  3 (27)  1 (81)", "121", "297"],
        ["3", "34 (3)  11 (9)  3 (27)  1 (81)", "49", "276"],
        ["2", "15 (9)  5 (27)  1 (81)", "21", "279"],
        ["1", "8 (27)  2 (81)", "10", "324"],
        ["0", "5 (81)", "5", "405"],
    ]


def test_the_simulated_run_does_what_the_brackets_say(plan: Plan):
    answer = plan(HYPERBAND_81)
    assert rows(answer, "Simulated") == [["1", "81"], ["3", "61"], ["9", "35"], ["27", "19"], ["81", "10"]]
    assert "143 trials, 206 jobs, 1,581 epochs, 10 trained in full." in answer.out


def test_a_search_cut_short_has_trained_nothing_in_full(plan: Plan):
    answer = plan(HYPERBAND_81, "--set", "budget.jobs=5")
    assert "5 trials, 5 jobs, 5 epochs, 0 trained in full." in answer.out


def test_retraining_is_in_the_plan_where_there_is_any(plan: Plan):
    assert "Retraining" not in plan(HYPERBAND_81).out
    wide = plan((Path(__file__).parents[2] / "conf" / "wrn.yaml").read_text())
    assert "Retraining its winner takes 3 x 200 epochs more." in wide.out


def test_one_worker_takes_the_sum_of_all_epochs(plan: Plan):
    answer = plan(HYPERBAND_81, "--workers", "1", "--epoch-seconds", "60")
    assert "1 d 2 h, workers busy 100 %" in answer.out.replace("\n", " ")  # 1581 min
    experiment = parse_experiment({**PLAIN, "scheduler": {"name": "hyperband", "max_resource": 81}})
    assert simulate(experiment, Simulated(workers=1, unit_seconds=60.0)).seconds == 1581 * 60


def test_endless_workers_take_what_each_bracket_takes_from_end_to_end():
    estimate = simulate(
        parse_experiment({**PLAIN, "scheduler": {"name": "hyperband", "max_resource": 81}}),
        Simulated(workers=1000, unit_seconds=2.0),
    )
    assert estimate.seconds == 5 * 81 * 2.0  # five brackets, one after another, each as long as its longest trial


def test_stragglers_make_rounds_wait_and_workers_idle():
    experiment = parse_experiment({**PLAIN, "scheduler": {"name": "hyperband", "max_resource": 27}})
    fast, slow = (simulate(experiment, Simulated(workers=8, straggler_std=std)) for std in (0.0, 1.0))
    assert fast.seconds < slow.seconds
    assert fast.rungs == slow.rungs


@pytest.mark.parametrize(("budget", "jobs"), [({"jobs": 30}, 30), ({"seconds": 60.0}, 4)])
def test_an_endless_search_is_planned_to_the_end_of_its_budget(budget: dict[str, float], jobs: int):
    experiment = parse_experiment({**PLAIN, "scheduler": {"name": "asha", "max_resource": 9}, "budget": budget})
    assert simulate(experiment, Simulated(workers=4, unit_seconds=60.0)).jobs == jobs


def test_an_override_changes_the_plan(plan: Plan):
    answer = plan(HYPERBAND_81, "--set", "scheduler.max_resource=3")
    assert rows(answer, "Brackets") == [["1", "3 (1)  1 (3)", "4", "5"], ["0", "2 (3)", "2", "6"]]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--epoch-seconds", "1e12"], "unit_seconds: 1000000000000.0: must be greater than 0 and at most 2.5e+11"),
        (["--epoch-seconds", "1e9"], "make the times smaller: unit_seconds is 1000000000.0, straggler_std 0.0"),
        (["--stragglers", "1e300"], "make the times smaller: unit_seconds is 60.0, straggler_std 1e+300"),
    ],
)
def test_a_plan_beyond_the_end_of_all_dates_is_refused(plan: Plan, arguments: list[str], complaint: str):
    answer = plan(HYPERBAND_81, "--workers", "1", *arguments)
    assert (2, "") == (answer.code, answer.out)
    assert complaint in answer.complaint


def test_a_plan_needs_neither_the_data_nor_a_cluster(plan: Plan):
    text = HYPERBAND_81.replace("synthetic", "training") + "data: {path: /none}\nengine: spark_rounds\n"
    assert plan(text, "--workers", "16").code == 0


def test_the_plan_is_the_same_each_time(plan: Plan):
    first, second = (plan(HYPERBAND_81, "--stragglers", "0.5").out for _ in range(2))
    assert first == second
    assert re.search(r"workers busy \d+ % of the time", first.replace("\n", " "))
