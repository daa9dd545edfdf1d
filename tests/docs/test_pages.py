"""What the documentation's pages are made of: sections of the README, the options' own dataclasses, good links."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from docs.tools import options, pages, reference
from docs.tools.blocks import blocks
from docs.tools.options import Option
from spark_nas import api
from spark_nas.assemble import COMPONENTS
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.one_shot import OneShot


@dataclass(frozen=True)
class Example:
    way: Literal["up", "down"] = "up"
    steps: tuple[int, ...] = (1, 2)
    extra: Mapping[str, float] = field(default_factory=dict)
    limit: float | None = None
    flag: bool = False
    must: int = field(kw_only=True)


def test_each_page_can_be_made_and_no_marker_is_left() -> None:
    for page in pages.pages():
        made = pages.expand(page, (pages.ROOT / page).read_text(encoding="utf-8"))
        assert [] == re.findall(r"^<!-- (?!not run).*-->$", made, flags=re.MULTILINE), page


@pytest.mark.parametrize("axis", COMPONENTS)
def test_each_axis_has_a_page_with_every_option_of_every_component(axis: str) -> None:
    page = f"docs/reference/{reference.page_of(axis)}.md"
    made = pages.expand(page, (pages.ROOT / page).read_text(encoding="utf-8"))
    sections = made.split("\n## ")[1:]
    assert [f"`{name}`" for name in COMPONENTS[axis]] == [section.splitlines()[0] for section in sections]
    for section, (_, cls) in zip(sections, options.components(axis), strict=True):
        documented = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
        assert [f.name for f in dataclasses.fields(cls) if f.init] == documented


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    made = reference.page()
    assert [] == [name for name in api.__all__ if f"`{name}`" not in made]
    assert "| `best` | `Best \\| None` |" in made
    assert "    class Kernels(Space):" in made


def test_an_option_is_told_in_the_words_of_an_experiment_file() -> None:
    words = [(o.kind, o.default) for o in options.options_of(Example)]
    assert words == [
        ("`up` / `down`", '`"up"`'),
        ("list of whole number", "`[1, 2]`"),
        ("mapping to number", "`{}`"),
        ("number or null", "`null`"),
        ("true or false", "`false`"),
        ("whole number", ""),
    ]


def test_the_text_under_a_field_is_its_description_also_where_a_base_has_it() -> None:
    found = {option.name: option for option in options.options_of(OneShot)}
    assert found["winners"] == Option(
        "winners", "whole number", "`1`", "Architectures of each supernet that are retrained."
    )
    assert "scheduler" == found["supernets"].kind
    assert "value" not in vars(Asha)["__annotations__"]
    assert options.field_texts(Asha)["value"].startswith("What a rung ranks by")


def test_a_section_of_the_readme_is_the_one_with_that_heading() -> None:
    assert "| `run_id` |" in pages.readme("The results table")
    assert pages.readme("introduction").startswith("Neural architecture search")
    with pytest.raises(pages.PageError, match=r"no section 'The reslts table'; it has .*The results table"):
        pages.readme("The reslts table")


def test_links_move_with_the_text_and_lead_somewhere() -> None:
    text = "[a](docs/operations.md#exit-codes) [b](conf) [c](docs/decisions) [d](https://x.y) [e](conf/asha.yaml)"
    moved = pages.rebase(text, "README.md", "docs/reference/api.md")
    assert moved == (
        "[a](../operations.md#exit-codes) b [c](../decisions/README.md) [d](https://x.y) [e](../../conf/asha.yaml)"
    )
    back = pages.rebase("[t](../README.md#the-results-table) [r](../README.md)", "docs/index.md", "docs/index.md")
    assert "[t](results_table.md) [r](index.md)" == back
    with pytest.raises(pages.PageError, match=r"docs/index\.md: the link nowhere\.md leads nowhere"):
        pages.rebase("[x](nowhere.md)", "docs/index.md", "docs/index.md")


def test_prose_is_told_from_code_in_a_docstring() -> None:
    text = "A <b> of *x*, `a*b`.\n\n    code <a>\n\n>>> f(1)\n1"
    assert "A \\<b\\> of \\*x\\*, `a*b`.\n\n    code <a>\n\n```pycon\n>>> f(1)\n1\n```" == options.prose(text)


def test_blocks_are_found_fenced_and_indented_with_their_language_and_their_reason() -> None:
    page = (
        "text\n\n    spark-nas list x\n\n- item\n\n    goes on\n\n```python\nx = 1\n```\n"
        "\n<!-- not run: a drawing -->\n\n    a -> b\n\nthen\n\n    a: 1\n\n    make test\n"
    )
    found = [(b.line, b.language, b.text, b.reason) for b in blocks("p.md", page)]
    assert found == [
        (3, "shell", "spark-nas list x\n", None),
        (10, "python", "x = 1\n", None),
        (15, "text", "a -> b\n", "a drawing"),
        (19, "yaml", "a: 1\n", None),
        (21, "shell", "make test\n", None),
    ]


def test_the_tools_are_small(tmp_path: Path) -> None:
    for file in (pages.ROOT / "docs").rglob("*.py"):
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 300, file
