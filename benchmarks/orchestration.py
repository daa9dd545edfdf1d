"""Orchestration of spark_nas beside every rival, in one command; see `benchmarks/orchestration/`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # the root instead of this folder: `benchmarks` is a package there
    from benchmarks.orchestration.__main__ import main

    sys.exit(main())
