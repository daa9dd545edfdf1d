"""Choices and architectures."""

from __future__ import annotations

import pickle

import pytest

from spark_nas.spaces.core import SUPERNET, Architecture, Choice, IndependentChoices, open_choices


@pytest.mark.parametrize(("name", "options"), [("", ("a",)), ("c", ()), ("c", ("a", "a"))])
def test_a_choice_that_is_none_cannot_exist(name: str, options: tuple[str, ...]):
    with pytest.raises(ValueError, match="choice"):
        Choice(name, options)


def test_equality_and_hash_do_not_depend_on_the_order_of_decisions():
    left, right = Architecture({"b": "x", "a": "y"}), Architecture({"a": "y", "b": "x"})
    assert left == right
    assert hash(left) == hash(right)
    assert left.to_json() == right.to_json() == '{"a":"y","b":"x"}'


def test_an_architecture_equals_no_plain_mapping():
    assert Architecture({"a": "y"}) != {"a": "y"}


def test_it_reads_as_what_makes_it():
    architecture = Architecture({"a": "y"})
    assert repr(architecture) == "Architecture({'a': 'y'})"
    assert pickle.loads(pickle.dumps(architecture)) == architecture


def test_choices_that_an_architecture_leaves_out_are_open_in_their_order():
    space = IndependentChoices("s", tuple(Choice(name, ("x", "y")) for name in "cab"))
    assert ["c", "a", "b"] == open_choices(space, SUPERNET)
    assert ["c", "b"] == open_choices(space, Architecture({"a": "y"}))
    assert [] == open_choices(space, Architecture({"a": "y", "b": "x", "c": "x"}))
