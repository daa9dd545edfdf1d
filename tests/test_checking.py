"""Values and the types of their fields: what passes, what is refused, and that nothing crashes the check."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas.assemble import COMPONENTS
from spark_nas.checking import Checker, component_class
from spark_nas.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Everything:
    """One field of each kind that options may have."""

    pair: tuple[int, str] = (1, "a")
    numbers: tuple[float, ...] = ()
    by_name: Mapping[str, float] = dataclasses.field(default_factory=dict)
    either: int | str | None = None
    flag: bool = False


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"pair": [2, "b"]}, Everything(pair=(2, "b"))),
        ({"numbers": [1, 2.5]}, Everything(numbers=(1.0, 2.5))),
        ({"numbers": []}, Everything()),
        ({"by_name": {"a": 1}}, Everything(by_name={"a": 1.0})),
        ({"either": 3}, Everything(either=3)),
        ({"either": "3"}, Everything(either="3")),
        ({"either": None}, Everything()),
        ({"flag": True}, Everything(flag=True)),
    ],
)
def test_values_take_the_type_of_their_field(section: Mapping[str, object], expected: Everything):
    built = Checker("f").build(Everything, section, "s")
    assert expected == built
    assert [type(v) for v in built.numbers] == [float] * len(built.numbers)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"pair": [2]}, "f: s.pair: [2]: must be a list of 2 values"),
        ({"pair": [2, 3]}, "f: s.pair[1]: 3: must be text, not int"),
        ({"pair": "ab"}, "f: s.pair: 'ab': must be a list"),
        ({"by_name": {"a": "x"}}, "f: s.by_name.a: 'x': must be a number, not str"),
        ({"by_name": {1: 2}}, "f: s.by_name: {1: 2}: must be a mapping with names as keys"),
        ({"either": [1]}, "f: s.either: [1]: must be a whole number or text"),
        ({"either": True}, "f: s.either: True: must be a whole number or text"),
        ({"flag": "yes"}, "f: s.flag: 'yes': must be true or false, not str"),
        ({"flag": 0}, "f: s.flag: 0: must be true or false, not int"),
    ],
)
def test_values_of_another_type_are_refused(section: Mapping[str, object], message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        Checker("f").build(Everything, section, "s")


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.sampled_from([0.0, -0.5, 0.3, 1e-3, 2.0, 1e308, math.nan, math.inf, -math.inf, 10**30, -(10**400)])
    | st.sampled_from(["", "x", "step", "best", "mean", "lcbench", "s3://b/k", "local[2]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)
CLASSES = {dotted for names in COMPONENTS.values() for dotted in names.values()}


@settings(max_examples=200, deadline=None)
@given(data=st.data(), dotted=st.sampled_from(sorted(CLASSES)))
def test_no_value_of_any_option_of_any_component_crashes_the_check(data: st.DataObject, dotted: str):
    cls = component_class(dotted)
    names = [f.name for f in dataclasses.fields(cls)]
    section = data.draw(st.dictionaries(st.sampled_from(names), values, max_size=4)) if names else {}
    try:
        built = Checker("file").build(cls, section, "section")
    except ConfigError as error:
        built = str(error)
    assert isinstance(built, cls) or re.fullmatch(r"file: section\..+: .+: .+", built)
