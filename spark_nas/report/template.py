"""The page's frame, its style and its one script: plain text, so that the package needs no template engine."""

from __future__ import annotations

from string import Template

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="$policy">
<title>$title</title>
<style>$style</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<header>
<p class="kicker">spark_nas search report</p>
<h1>$heading</h1>
<p class="lead">$lead</p>
</header>
<nav aria-label="Contents"><ul>$contents</ul></nav>
<main id="main">
<noscript><p class="note">The figures need JavaScript; the tables do not.</p></noscript>
$body
</main>
<footer><p>Made by spark_nas from the run's own record and result rows; it loads nothing from the network.</p></footer>
$scripts
</body>
</html>
""")

STYLE = """
:root { --ink: #1f2933; --faint: #52606d; --line: #dde3e8; --accent: #0072b2; --paper: #f5f7f9; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; }
header, main, footer, nav ul { max-width: 1240px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 28px; }
.kicker { margin: 0; color: var(--accent); font-weight: 600; letter-spacing: .02em; }
h1 { margin: 2px 0 4px; font-size: 30px; line-height: 1.2; overflow-wrap: anywhere; }
.lead { margin: 0 0 16px; color: var(--faint); font-size: 17px; overflow-wrap: anywhere; }
nav { position: sticky; top: 0; z-index: 5; background: rgba(255,255,255,.96); border-block: 1px solid var(--line); }
nav ul { display: flex; flex-wrap: wrap; gap: 2px 18px; padding-block: 8px; list-style: none; font-size: 14px; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 8px; top: 8px; z-index: 9; background: white; padding: 6px; }
section { background: white; border: 1px solid var(--line); border-radius: 10px; padding: 18px 22px 16px;
  margin: 18px 0;
  scroll-margin-top: 52px; }
h2 { margin: 0 0 8px; font-size: 20px; } h3 { margin: 18px 0 6px; font-size: 16px; }
figure { margin: 0; }
figcaption, .note { padding-top: 6px; color: var(--faint); font-size: 14px; margin: 4px 0 0;
  max-width: 110ch; }
.chart { overflow-x: auto; } .plot { width: 100%; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(235px, 1fr)); gap: 12px;
  margin: 18px 0 0; padding: 0; }
.card { background: white; border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.card dt { color: var(--faint); font-size: 13.5px; } .card dd { margin: 0; }
.card .value { white-space: nowrap; font-size: 26px; font-weight: 650; line-height: 1.25;
  font-variant-numeric: tabular-nums; }
.card .detail { color: var(--faint); font-size: 13px; line-height: 1.35; }
.card.main { border-left: 5px solid var(--accent); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
caption { text-align: left; color: var(--faint); padding-bottom: 4px; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid var(--ink); white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody tr:hover { background: #f3f8fb; } tr.best td { font-weight: 600; background: #eef6fb; }
td.words, table.facts td { overflow-wrap: anywhere; }
table.facts th { white-space: nowrap; font-weight: 600; width: 1%; }
td.words { min-width: 260px; } .recipe { display: inline-block; margin-right: 12px; white-space: nowrap; }
.recipe b { font-weight: 500; color: var(--faint); }
pre { background: #f3f5f7; border: 1px solid var(--line); border-radius: 6px; padding: 10px 12px; overflow-x: auto;
  font: 13px/1.45 ui-monospace, "Liberation Mono", Menlo, Consolas, monospace; }
.columns { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 28px; }
.drawing { overflow-x: auto; } .drawing svg { display: block; margin: 0 auto; max-width: 100%; height: auto; }
details summary { cursor: pointer; color: var(--accent); }
footer { color: var(--faint); font-size: 13px; padding-bottom: 30px; }
@media (max-width: 800px) { .columns { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 700px) { .modebar { display: none !important; }
  header, main, footer, nav ul { padding-inline: 12px; } section { padding-inline: 14px; } }
@media print { nav, .skip { display: none; } section { break-inside: avoid; } body { background: white; } }
"""

SCRIPT = """
"use strict";
document.querySelectorAll("script[data-figure]").forEach(function (source) {
  var name = source.dataset.figure, figure = JSON.parse(source.textContent);
  var options = {responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
                 toImageButtonOptions: {format: "svg", filename: name}};
  // A finger scrolls the chart where it does not fit; it would zoom.
  if (window.matchMedia("(max-width: 700px)").matches) { figure.layout.dragmode = false; }
  Plotly.newPlot("plot-" + name, figure.data, figure.layout, options).then(function () {
    document.getElementById("plot-" + name).dataset.drawn = "yes";
  });
});
"""
