"""Costs of options from a file: laid out by choice and option, and refused under the name of the method's option."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.mixture import Layout
from spark_nas.evaluation.oneshot.resources import costs_of, read_table
from spark_nas.spaces.latency import LatencyTable
from tests.strategies import plain_space

OPTIONS = {"b": {"o0": 4.0, "o1": 5.0}, "a": {"o2": 3.0, "o0": 1.0, "o1": 2.0}}
LAYOUT = Layout(plain_space(3, 2))


def test_costs_stand_where_their_options_do(tmp_path: Path):
    (tmp_path / "table.json").write_text(LatencyTable(7.0, OPTIONS).to_json())
    table = read_table(str(tmp_path / "table.json"), key="resources")
    assert table is not None
    assert 7.0 == table.fixed
    assert torch.equal(
        torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]], dtype=torch.float64), costs_of(table, LAYOUT, key="resources")
    )


def test_no_file_is_no_table():
    assert read_table(None, key="resources") is None


@pytest.mark.parametrize(
    "options",
    [
        {"a": OPTIONS["a"]},
        {**OPTIONS, "c": {"o0": 1.0}},
        {**OPTIONS, "b": {"o0": 1.0}},
    ],
)
def test_a_table_of_another_space_is_refused(options: dict[str, dict[str, float]]):
    with pytest.raises(OptionError) as caught:
        costs_of(LatencyTable(0.0, options), LAYOUT, key="resources")
    assert "resources" == caught.value.key


@pytest.mark.parametrize(
    ("text", "key"),
    [(None, "resources"), ("nonsense", "resources"), ('{"fixed": -1, "options": {}}', "resources.fixed")],
)
def test_an_unusable_file_is_refused_under_the_name_of_the_option(text: str | None, key: str, tmp_path: Path):
    if text is not None:
        (tmp_path / "table.json").write_text(text)
    with pytest.raises(OptionError) as caught:
        read_table(str(tmp_path / "table.json"), key="resources")
    assert key == caught.value.key
