"""`spark-nas report`: the leaderboard on the terminal, and `report/report.html` in the run's folder."""

from __future__ import annotations

import argparse
import contextlib

from spark_nas.commands.retrain import headline
from spark_nas.commands.runs import Run, add_run_argument
from spark_nas.commands.search import commands
from spark_nas.errors import ConfigError, OptionError, UsageError
from spark_nas.report.leaderboard import incumbent, print_leaderboard
from spark_nas.report.view import RunView

PAGE = "report/report.html"
HELP = "write the report page of a run, finished or not"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, --set, --top."""
    add_run_argument(parser)
    parser.add_argument("--top", type=int, default=10, help="rows of the leaderboard (default: 10)")


def execute(arguments: argparse.Namespace) -> int:
    """Print the leaderboard and write the page."""
    if arguments.top < 1:
        raise OptionError("top", arguments.top, "must be at least 1")
    run = Run(arguments.run, arguments.set)
    view = view_of(run)
    print_leaderboard(view, arguments.top)
    if view.retrained is not None:
        print(f"The retrained winner: {headline(view.retrained)}")
    print(f"Report: {write_report(run, view, max(20, arguments.top))[0]}")
    return 0


def write_report(run: Run, view: RunView, top: int) -> tuple[str, str]:
    """Write the page into the run's folder; returns where it is, and the page. Raises UsageError without its extra."""
    try:
        from spark_nas.report.page import render  # needs plotly and networkx: search and leaderboard do without
    except ModuleNotFoundError as error:
        raise UsageError(f"{PAGE}: {error.name} is not installed; pip install 'spark_nas[report]'") from error

    page = render(view, top=top)
    run.files.write(PAGE, page.encode())
    return f"{run.files.root}/{PAGE}", page


def view_of(run: Run) -> RunView:
    """Everything the report may see of a run."""
    results = run.results()
    best = incumbent(results)
    graph = None
    if best is not None:
        with contextlib.suppress(ConfigError):  # the space is one's own, its code elsewhere: only the picture is lost
            graph = run.experiment.space.graph(best.job.trial.architecture, best.job.trial.recipe)
    retrained = run.retrained()
    if retrained is not None and (best is None or retrained["trial_id"] != best.job.trial.trial_id):
        retrained = None  # the search has gone on and found a better one since
    if retrained is not None and retrained["seeds"] == 1:
        retrained = {name: value for name, value in retrained.items() if not name.endswith("_std")}
    output, run_id = run.files.root.rsplit("/", 1)
    return RunView(
        run_id=run.record["run_id"],
        record=run.record,
        results=results,
        graph=graph,
        retrained=retrained,
        commands=commands(run_id, run.record, output),
    )
