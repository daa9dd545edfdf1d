"""Architectures as their papers write them: whatever is written is read again, and nothing else is believed."""

from __future__ import annotations

from random import Random

import pytest

from spark_nas.assemble import COMPONENTS
from spark_nas.checking import component_class
from spark_nas.errors import OptionError
from spark_nas.spaces import notation
from spark_nas.spaces.darts_rnn import DartsRnn
from spark_nas.spaces.nas_bench_201 import NasBench201

OPTIONS = {name: component_class(dotted) for name, dotted in COMPONENTS["space"].items() if name != "table_rows"}


@pytest.mark.parametrize("name", sorted(OPTIONS))
@pytest.mark.parametrize("seed", range(5))
def test_what_is_written_is_read_again(name: str, seed: int):
    space = OPTIONS[name]().build()
    architecture = space.sample(Random(seed))
    assert architecture == notation.read(space, notation.write(space, architecture))
    assert architecture == notation.read(space, architecture.to_json())


def test_the_papers_own_forms_are_used():
    space = NasBench201().build()
    assert notation.write(space, space.sample(Random(1))).startswith("|")
    recurrent = DartsRnn(nodes=2).build()
    text = "Genotype(recurrent=[('tanh', 0), ('relu', 1)], concat=range(1, 3))"
    assert text == notation.write(recurrent, notation.read(recurrent, text))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("nas_bench_201", '{"0->1": "none"}', "leaves '0->2' open"),
        ("nas_bench_201", '{"0->1": 3}', 'use {"choice": "option", ...}'),
        ("nas_bench_201", "{", "is not JSON"),
        ("nas_bench_201", "|sep~0|", "sep"),
        ("proxyless", "mbconv3_e3 mbconv3_e3", "proxyless has no notation of its own: use JSON"),
        ("darts", "Genotype()", "genotype"),
    ],
)
def test_a_text_that_names_no_architecture_is_refused(name: str, text: str, message: str):
    with pytest.raises(OptionError) as caught:
        notation.read(OPTIONS[name]().build(), text)
    assert message in str(caught.value)


def test_an_architecture_of_another_space_is_refused():
    space = NasBench201().build()
    decisions = dict.fromkeys((choice.name for choice in space.choices), "sep_conv_3x3")
    with pytest.raises(OptionError, match="is not in the space nas_bench_201"):
        notation.read(space, str(decisions).replace("'", '"'))
