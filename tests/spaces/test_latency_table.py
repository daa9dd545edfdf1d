"""Laws of the latency model: it is the exact mean over sampled networks."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.latency import LatencyTable
from spark_nas.spaces.proxyless import Proxyless

SPACE = Proxyless(widths=(24, 40), depths=(2, 2), strides=(2, 1)).build()
NAMES = [choice.name for choice in SPACE.choices]


def table_of(rng: Random) -> LatencyTable:
    options = {choice.name: {option: rng.uniform(0, 9) for option in choice.options} for choice in SPACE.choices}
    return LatencyTable(rng.uniform(0, 9), options)


def probabilities_of(rng: Random) -> dict[str, dict[str, float]]:
    drawn = {choice.name: {option: rng.random() for option in choice.options} for choice in SPACE.choices}
    return {name: {o: w / sum(row.values()) for o, w in row.items()} for name, row in drawn.items()}


@given(seed=st.integers(0, 2**31))
@settings(max_examples=5, deadline=None)
def test_the_expected_latency_is_the_mean_over_all_networks(seed: int):
    rng = Random(seed)
    table, probabilities = table_of(rng), probabilities_of(rng)
    mean = 0.0
    for decisions in product(*(choice.options for choice in SPACE.choices)):
        chosen = dict(zip(NAMES, decisions, strict=True))
        probability = math.prod(probabilities[name][option] for name, option in chosen.items())
        mean += probability * table.of(Architecture(chosen))
    assert mean == pytest.approx(table.expected(probabilities), rel=1e-10)


def test_the_mean_of_sampled_networks_comes_to_the_expected_latency():
    rng, n = Random(1), 4000
    table, probabilities = table_of(rng), probabilities_of(rng)
    seen = []
    for _ in range(n):
        drawn = {name: rng.choices(list(row), list(row.values()))[0] for name, row in probabilities.items()}
        seen.append(table.of(Architecture(drawn)))
    mean = sum(seen) / n
    error = math.sqrt(sum((value - mean) ** 2 for value in seen) / (n - 1) / n)
    assert error > 0
    assert abs(mean - table.expected(probabilities)) < 4 * error


def test_the_latency_of_a_network_is_the_sum_of_its_parts():
    table = LatencyTable(1.5, {"a": {"x": 0.25, "y": 2.0}, "b": {"z": 4.0}})
    assert table.of(Architecture({"a": "x", "b": "z"})) == 5.75
    assert table.expected({"a": {"x": 0.5, "y": 0.5}, "b": {"z": 1.0}}) == 1.5 + 1.125 + 4.0
    assert table.expected({"a": {"y": 0.5}, "b": {}}) == 2.5


def test_a_missing_entry_is_named():
    table = LatencyTable(1.0, {"a": {"x": 1.0}})
    with pytest.raises(OptionError, match="latency: 'a/y': has no entry"):
        table.of(Architecture({"a": "y"}))
    with pytest.raises(OptionError, match="latency: 'b/x': has no entry"):
        table.expected({"a": {"x": 1.0}, "b": {"x": 1.0}})


def test_an_open_choice_has_no_latency():
    with pytest.raises(OptionError, match="'a': is a choice of the table without a decision"):
        LatencyTable(1.0, {"a": {"x": 1.0}}).of(Architecture())


def test_a_table_survives_its_file(tmp_path: Path):
    table = table_of(Random(3))
    (tmp_path / "cpu.json").write_text(table.to_json(), encoding="utf-8")
    assert table == LatencyTable.read(str(tmp_path / "cpu.json"))
    assert json.loads(table.to_json()).keys() == {"fixed", "options"}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(OptionError, match=r"nowhere\.json': cannot be read"):
        LatencyTable.read(str(tmp_path / "nowhere.json"))
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    with pytest.raises(OptionError, match="cannot be read"):
        LatencyTable.read(str(tmp_path / "binary.json"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", r"use \{"),
        ('{"fixed": 1}', r"use \{"),
        ('{"fixed": 1, "options": {}, "unit": "s"}', r"use \{"),
        ('{"fixed": 1, "options": []}', "latency: 'options'"),
        ('{"fixed": 1, "options": {"a": 1}}', "latency: 'options'"),
        ('{"fixed": -1, "options": {}}', "latency.fixed: -1: use a finite number"),
        ('{"fixed": true, "options": {}}', "latency.fixed: True"),
        ('{"fixed": 1, "options": {"a": {"x": "2"}}}', "latency.a/x: '2'"),
        ('{"fixed": 1, "options": {"a": {"x": NaN}}}', "latency.a/x: nan"),
        ('{"fixed": 1, "options": {"a": {"x": Infinity}}}', "latency.a/x: inf"),
    ],
)
def test_text_that_is_no_table_is_refused(text: str, message: str):
    with pytest.raises(OptionError, match=message):
        LatencyTable.from_json(text)
