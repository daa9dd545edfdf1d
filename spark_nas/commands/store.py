"""What the commands that open a run say about its store: `--set storage.KEY=VALUE`, as `search` has it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import yaml

from spark_nas.checking import Checker
from spark_nas.errors import ConfigError
from spark_nas.object_store import StorageOptions
from spark_nas.storage.files import Files
from spark_nas.storage.locations import open_files
from spark_nas.storage.probe import require_answer

_WHERE = "command line"
_SECTION = "storage"


def add_store_argument(parser: argparse.ArgumentParser, metavar: str = "storage.KEY=VALUE", also: str = "") -> None:
    """`--set`; `also` says what else it may set."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar=metavar,
        help=f"how the store is reached (endpoint, region, ...), where the environment does not say it{also}",
    )


def store_section(settings: Sequence[str]) -> Mapping[str, object]:
    """The storage section that `--set` makes. Raises ConfigError for anything but storage.KEY=VALUE."""
    return section_of(_SECTION, settings)


def section_of(name: str, settings: Sequence[str]) -> Mapping[str, object]:
    """The section of this name that `--set` makes. Raises ConfigError for anything but NAME.KEY=VALUE."""
    section: dict[str, object] = {}
    for setting in settings:
        path, separator, text = setting.partition("=")
        head, dot, key = path.partition(".")
        if not (separator and dot and key) or head != name:
            raise ConfigError(_WHERE, "--set", setting, f"must be {name}.KEY=VALUE")
        try:
            section[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(_WHERE, f"--set {path}", text, "is not a YAML value") from error
    return section


def store_options(section: Mapping[str, object]) -> StorageOptions:
    """The options of a storage section. Raises ConfigError for an unknown key or an impossible value."""
    options: StorageOptions = Checker(_WHERE).build(StorageOptions, section, _SECTION)
    return options


def open_store(location: str, settings: Sequence[str] = ()) -> Files:
    """The files at a location, which answers. Raises ConfigError, OutputError or StoreUnavailable."""
    files = open_files(location, store_options(store_section(settings)))
    require_answer(files)
    return files
