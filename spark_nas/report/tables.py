"""The page's tables, as HTML; every text that came with the run is escaped here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

import yaml

from spark_nas.report.figures.occupancy import bracket_name
from spark_nas.report.leaderboard import Row, incumbent, leaderboard
from spark_nas.report.summary import Rung, rungs
from spark_nas.report.view import RunView, duration, number
from spark_nas.search.records import Result

_MOST_REASONS = 30


def escape(value: object) -> str:
    """Any text, harmless in an element and in a quoted attribute; control characters become visible."""
    text = "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in str(value))
    return html.escape(text, quote=True)


def table(
    headings: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]], *, caption: str = "", best: bool = False
) -> str:
    """A table of ready HTML cells; a heading is (text, class), `best` marks the first row."""
    head = "".join(f'<th scope="col" class="{kind}">{escape(text)}</th>' for text, kind in headings)
    kinds = [kind for _, kind in headings]
    lines = []
    for index, row in enumerate(rows):
        cells = "".join(f'<td class="{kind}">{cell}</td>' for cell, kind in zip(row, kinds, strict=True))
        lines.append(f'<tr class="best">{cells}</tr>' if best and index == 0 else f"<tr>{cells}</tr>")
    words = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{words}<thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """A two-column table of names and values."""
    rows = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in pairs)
    return f'<div class="scroll"><table class="facts"><tbody>{rows}</tbody></table></div>'


def leaderboard_table(view: RunView, n: int) -> str:
    """The best `n` trials; the first is the incumbent."""
    rows = leaderboard(view.results, n)
    if not rows:
        return '<p class="note">No trial completed.</p>'
    metric = view.metric
    headings = [("rank", "n"), ("trial", "n"), ("loss", "n")]
    headings += [(metric, "n")] if metric else []
    headings += [(view.unit, "n"), ("bracket", "n"), ("rung", "n"), ("time", "n"), ("recipe and choices", "words")]

    def cells(row: Row) -> list[str]:
        first = [str(row.rank), str(row.trial), f"{row.loss:.5g}"]
        first += [f"{row.metrics[metric]:.4f}"] if metric else []
        spent = [number(row.resource), str(row.bracket), str(row.rung), duration(row.seconds)]
        words = "".join(_pair(part) for part in (*row.recipe.split(" "), *row.architecture.split(" ")) if part)
        return [*first, *spent, words]

    return table(headings, map(cells, rows), best=True)


def _pair(part: str) -> str:
    name, equals, value = part.partition("=")
    return f'<span class="recipe"><b>{escape(name)}</b> {escape(value)}</span> ' if equals else f"{escape(part)} "


def rung_table(view: RunView) -> str:
    """What each rung cost and what came of it."""
    entries = rungs(view)
    if not entries:
        return ""
    headings = [("bracket", ""), ("rung", "n"), (view.unit, "n"), ("jobs", "n"), ("promoted", "n"), ("failed", "n")]
    headings += [(f"{view.unit} spent", "n"), ("time in jobs", "n"), ("best loss", "n"), ("overtaken promotions", "n")]

    def cells(rung: Rung) -> list[str]:
        best = "–" if rung.best is None else f"{rung.best:.4g}"
        counts = [rung.rung, rung.resource, rung.jobs, rung.promoted, rung.failed, rung.spent]
        name = escape(bracket_name(rung.brackets))
        return [name, *map(number, counts), duration(rung.seconds), best, number(rung.overtaken)]

    return table(headings, map(cells, entries))


def failure_table(view: RunView) -> str:
    """Failed jobs by reason, the most frequent first, each with one traceback."""
    reasons: dict[str, list[Result]] = {}
    for result in view.results:
        if not result.usable:
            reason = (result.error or "the loss is not finite").splitlines()[0][:300]
            reasons.setdefault(reason, []).append(result)
    if not reasons:
        return '<p class="note">No job failed.</p>'
    ordered = sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0]))
    headings = [("jobs", "n"), ("reason", "words"), ("trial (rung)", "words"), ("time lost", "n")]
    rows = []
    for reason, results in ordered[:_MOST_REASONS]:
        where = ", ".join(f"{r.job.trial.trial_id} ({r.job.rung})" for r in results[:12])
        where += f" and {len(results) - 12:,} more" if len(results) > 12 else ""
        error = results[0].error or ""
        tail = f"<details><summary>details of the first</summary><pre>{escape(error[:20_000])}</pre></details>"
        words = escape(reason) + (tail if "\n" in error else "")
        rows.append([number(len(results)), words, where, duration(sum(r.seconds for r in results))])
    rest = ordered[_MOST_REASONS:]
    note = f"{len(rest):,} rarer reasons ({sum(len(r) for _, r in rest):,} jobs) are not shown." if rest else ""
    return table(headings, rows) + (f'<p class="note">{note}</p>' if note else "")


def incumbent_table(view: RunView) -> str:
    """The incumbent's recipe, choices and seed."""
    best = incumbent(view.results)
    if best is None:
        return '<p class="note">No trial completed, so there is no best network.</p>'
    trial = best.job.trial
    pairs: list[tuple[str, object]] = [("trial", trial.trial_id), ("seed", trial.seed)]
    pairs += [(name, f"{value:.6g}" if isinstance(value, float) else value) for name, value in trial.recipe.items()]
    pairs += list(trial.architecture.items())
    pairs += [(name, f"{value:.6g}") for name, value in sorted(best.metrics.items())]
    half = (len(pairs) + 1) // 2 if len(pairs) > 8 else len(pairs)
    return f'<div class="columns">{facts(pairs[:half])}{facts(pairs[half:]) if pairs[half:] else ""}</div>'


def record_table(view: RunView) -> str:
    """Everything that `run.json` says besides the experiment file, nested keys joined by dots."""
    pairs = [(name, value) for name, value in _flat(view.record) if not name.startswith("experiment.")]
    return facts(pairs) if pairs else '<p class="note">The run has no record.</p>'


def _flat(value: object, path: str = "") -> Iterable[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        yield path, ", ".join(map(str, value)) or "–"
    else:
        yield path, "–" if value is None or value == {} else value


def environments(view: RunView) -> str:
    """The processes that made the rows, where a row says so: one line for each different environment."""
    counts: dict[tuple[tuple[str, str], ...], int] = {}
    for result in view.results:
        if result.environment:
            key = tuple(sorted(result.environment.items()))
            counts[key] = counts.get(key, 0) + 1
    if not counts:
        return ""
    names = [f"{number(count)} rows" for count in counts.values()]
    words = [", ".join(f"{name} {value}" for name, value in key) for key in counts]
    return "<h3>Environments of the workers</h3>" + facts(zip(names, words, strict=True))


def experiment_yaml(view: RunView) -> str:
    """The experiment file, as a block of text to save."""
    experiment = view.record.get("experiment")
    if not isinstance(experiment, Mapping):
        return ""
    return f"<pre>{escape(yaml.safe_dump(dict(experiment), sort_keys=False, allow_unicode=True))}</pre>"
