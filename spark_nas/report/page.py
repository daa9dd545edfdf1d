"""`report.html`: one self-contained file with everything there is to see of a run.

plotly.js is part of the file, and a content security policy forbids every request and every script but the page's own,
named by their hashes; so even a text that slipped through the escaping could not run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence

from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from spark_nas.report import tables
from spark_nas.report.drawing import draw_graph
from spark_nas.report.figures import curves, incumbents, occupancy, recipes, timeline
from spark_nas.report.leaderboard import incumbent
from spark_nas.report.style import Drawn
from spark_nas.report.summary import Summary, summarise
from spark_nas.report.tables import escape
from spark_nas.report.template import PAGE, SCRIPT, STYLE
from spark_nas.report.view import RunView, duration, number

FIGURES: tuple[tuple[str, Callable[[RunView], Drawn]], ...] = (
    ("Incumbent", incumbents.draw),
    ("Learning curves", curves.draw),
    ("Rungs", occupancy.draw),
    ("Workers", timeline.draw),
    ("Recipes", recipes.draw),
)
"""What the page shows: a short name, and what draws it."""


def render(view: RunView, *, top: int = 20) -> str:
    """The whole page as text (UTF-8); `top` is the length of the leaderboard."""
    drawn = [(short, draw(view)) for short, draw in FIGURES]
    sections = [(figure.name, short, _figure_section(view, figure)) for short, figure in drawn]
    sections.append(("best", "Best network", _best_section(view)))
    sections.append(("leaderboard", "Leaderboard", _section("leaderboard", "Leaderboard", _leaderboard(view, top))))
    sections.append(("failures", "Failures", _section("failures", "Failures", tables.failure_table(view))))
    sections.append(("reproduce", "Reproduce", _section("reproduce", "How to reproduce it", _reproduce(view))))
    library, data = get_plotlyjs(), [figure for _, figure in drawn if figure.figure is not None]
    return PAGE.substitute(
        policy=_policy([library, SCRIPT]),
        title=escape(f"{view.run_id} – spark_nas report"),
        style=STYLE,
        heading=escape(view.run_id),
        lead=_lead(view),
        contents="".join(f'<li><a href="#{name}">{short}</a></li>' for name, short, _ in sections),
        body=_cards(view, summarise(view)) + "".join(section for _, _, section in sections),
        scripts="".join(map(_data_script, data)) + f"<script>{library}</script><script>{SCRIPT}</script>",
    )


def _policy(scripts: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src {allowed}"


def _data_script(drawn: Drawn) -> str:
    assert drawn.figure is not None
    safe = str(drawn.figure.to_json())
    for character in "<>&\u2028\u2029":
        safe = safe.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" data-figure="{drawn.name}">{safe}</script>'


def _section(name: str, title: str, body: str) -> str:
    heading = f'<h2 id="{name}-title">{escape(title)}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">{heading}{body}</section>'


def _figure_section(view: RunView, drawn: Drawn) -> str:
    caption = escape(drawn.caption)
    if drawn.figure is None:
        return _section(drawn.name, drawn.title, f'<p class="note">{caption}</p>')
    height = drawn.figure.layout.height
    body = (
        f'<figure><div class="chart"><div class="plot" id="plot-{drawn.name}" role="img" '
        f'aria-label="{escape(drawn.title)}" style="min-height:{height}px;min-width:{drawn.least_width}px"></div></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
    if drawn.name == "occupancy":
        body += tables.rung_table(view)
    return _section(drawn.name, drawn.title, body)


def _best_section(view: RunView) -> str:
    body = tables.incumbent_table(view)
    if view.graph is not None:
        body = f'<figure class="drawing">{draw_graph(view.graph)}</figure>' + body
    best = incumbent(view.results)
    title = f"Best network: trial {best.job.trial.trial_id}" if best is not None else "Best network"
    return _section("best", title, body)


def _leaderboard(view: RunView, top: int) -> str:
    shown = min(top, len(view.trials))
    words = (
        f"The best {shown} of {len(view.trials):,} trials" if shown < len(view.trials) else "All trials that completed"
    )
    note = f"{words}, each by its last result: most {view.unit} first, then loss."
    if view.objective is not None:
        note += f" The loss is the {view.loss_name}, the objective of the search."
    return tables.leaderboard_table(view, top) + f'<p class="note">{escape(note)}</p>'


def _lead(view: RunView) -> str:
    experiment = view.record.get("experiment")
    if not isinstance(experiment, dict):
        return ""
    words = []
    for section in ("space", "sampler", "scheduler", "evaluator", "engine"):
        value = experiment.get(section)
        name = value.get("name") if isinstance(value, dict) else value
        if name:
            words.append(f"{section} <b>{escape(name)}</b>")
    return " · ".join(words)


_SPAN = "from the first job's start to the last one's end"


def _best_cards(view: RunView) -> list[tuple[str, str, str, str]]:
    """The loss, and another measure unless it is the same one."""
    best = incumbent(view.results)
    headline = f"best {view.loss_name}" + (" (the objective)" if view.objective is not None else "")
    if best is None:
        return [("main", headline, "none", "no trial completed")]
    where = f"trial {best.job.trial.trial_id}, after {view.units(best.job.resource)}"
    cards = [("main", headline, f"{best.loss:.4g}", where)]
    if view.metric and view.metric != f"valid_{view.objective}":
        value = _metric(view.metric, best.metrics[view.metric])
        cards.append(("main", view.metric_name(view.metric), value, "of the same trial"))
    return cards


def _cards(view: RunView, summary: Summary) -> str:
    cards = _best_cards(view)
    for name, value in (view.retrained or {}).items():
        if "accuracy" in name or "perplexity" in name or len(view.retrained or {}) == 1:
            cards.append(("main", name.replace("_", " "), _metric(name, value), "winner retrained from scratch"))
    full = f"as many as {summary.spent / view.max_resource:,.1f} full trainings" if view.max_resource else ""
    first = f"; first full model after {duration(summary.first_full)}" if summary.first_full is not None else ""
    paused = f", and {duration(summary.paused)} paused" if summary.paused else ""
    failed = f"{summary.failed:,} failed, {duration(summary.lost)} lost" if summary.failed else "none failed"
    cards += [
        ("", "trials", number(summary.trials), _reached(view)),
        ("", "jobs", number(summary.jobs), failed),
        ("", f"{view.unit} trained", number(summary.spent), full),
        ("", "wall time", duration(summary.wall), _SPAN + first + paused),
        ("", "worker use", f"{summary.use:.0%}", f"of {summary.workers} at once, {duration(summary.busy)} in jobs"),
    ]
    items = "".join(
        f'<div class="card {kind}"><dt>{escape(name)}</dt><dd><div class="value">{escape(value)}</div>'
        f'<div class="detail">{escape(detail)}</div></dd></div>'
        for kind, name, value, detail in cards
    )
    return f'<dl class="cards" aria-label="Headline numbers">{items}</dl>'


def _metric(name: str, value: float) -> str:
    return f"{value:.2%}" if "accuracy" in name and 0 <= value <= 1 else number(value)


def _reached(view: RunView) -> str:
    reached = sum(r.usable and r.job.resource == view.max_resource for r in view.final.values())
    return f"{reached:,} trained for {view.units(view.max_resource)}" if reached else ""


def _reproduce(view: RunView) -> str:
    commands = view.commands or (
        "# save the experiment below as experiment.yaml",
        "spark-nas search experiment.yaml --output OUTPUT --run-id NEW_RUN_ID",
    )
    body = "<h3>Commands</h3><pre>" + escape("\n".join(commands)) + "</pre>"
    body += '<div class="columns"><div><h3>Experiment</h3>' + tables.experiment_yaml(view) + "</div>"
    return (
        body
        + "<div><h3>Record of the run</h3>"
        + tables.record_table(view)
        + tables.environments(view)
        + "</div></div>"
    )
