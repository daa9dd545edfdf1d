"""What the commands that open a run say about its store: `--set storage.KEY=VALUE`, as `search` has it."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping, Sequence
from typing import Any

from spark_nas.checking import Checker
from spark_nas.config import set_value
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


def store_section(settings: Sequence[str], also: Sequence[str] = ()) -> Mapping[str, object]:
    """The storage section that `--set` makes; `also` names the sections that others read from `settings`.

    Raises ConfigError for anything but SECTION.KEY=VALUE of one of these.
    """
    raw: dict[str, Any] = {}
    sections = (_SECTION, *also)
    for setting in settings:
        path, separator, _ = setting.partition("=")
        head, dot, key = path.partition(".")
        if not (separator and dot and key) or head not in sections:
            allowed = " or ".join(f"{section}.KEY=VALUE" for section in sections)
            raise ConfigError(_WHERE, "--set", setting, f"must be {allowed}")
        if head == _SECTION:
            set_value(raw, setting, _WHERE)
    section: Mapping[str, object] = raw.get(_SECTION, {})
    return section


def other_sections(raw: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """An experiment as read, with what `--set` says of other sections than that of the store."""
    changed: dict[str, Any] = copy.deepcopy(dict(raw))
    for setting in settings:
        if not setting.startswith(f"{_SECTION}."):
            set_value(changed, setting, _WHERE)
    return changed


def store_options(section: Mapping[str, object]) -> StorageOptions:
    """The options of a storage section. Raises ConfigError for an unknown key or an impossible value."""
    options: StorageOptions = Checker(_WHERE).build(StorageOptions, section, _SECTION)
    return options


def open_store(location: str, settings: Sequence[str] = (), also: Sequence[str] = ()) -> Files:
    """The files at a location, which answers. Raises ConfigError, OutputError or StoreUnavailable."""
    files = open_files(location, store_options(store_section(settings, also)))
    require_answer(files)
    return files
