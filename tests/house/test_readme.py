"""The README says what is so."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import torch
import yaml

from spark_nas.assemble import COMPONENTS, parse_experiment
from spark_nas.evaluation.networks.build import build
from spark_nas.spaces.core import Architecture
from spark_nas.storage.results import COLUMNS

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def test_it_documents_every_column_of_the_results_table() -> None:
    documented = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", README, flags=re.MULTILINE)
    assert [(name, str(kind), meaning) for name, kind, meaning in COLUMNS] == documented


def test_it_names_every_component() -> None:
    names = [name for axis, named in COMPONENTS.items() if axis != "data" for name in named]
    assert [name for name in names if f"`{name}`" not in README] == []


def test_its_experiment_file_is_a_good_one() -> None:
    block = re.search(r"`mine\.yaml`:\n\n((?:    .+\n)+)", README)
    assert block is not None
    experiment = parse_experiment(yaml.safe_load(textwrap.dedent(block.group(1))))
    assert experiment.scheduler.plan()[0].resources[-1] == 81


def test_its_links_lead_somewhere() -> None:
    root = Path(__file__).resolve().parents[2]
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (root / link).exists()] == []


def test_its_space_of_ones_own_is_one() -> None:
    """Every choice open to it makes a network, and a wider kernel a larger one."""
    [code] = re.findall(r"```python\n(.+?)```", README, flags=re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec", dont_inherit=True), namespace)
    options = namespace["Stacks"](layers=2, channels=4)
    sizes = []
    for option in ("conv 1", "conv 5"):
        architecture = Architecture({choice.name: option for choice in options.build().choices})
        network = build(options, architecture, {}, (1, 8, 8), classes=10, seed=1)
        assert (2, 10) == network(torch.zeros(2, 1, 8, 8)).shape
        sizes.append(sum(parameter.numel() for parameter in network.parameters()))
    assert sizes[0] < sizes[1]
