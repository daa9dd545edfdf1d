"""`spark-submit jobs/prepare_data.py ...`: the same as `spark-nas prepare-data ...`."""

from __future__ import annotations

import sys

from spark_nas.cli import main

if __name__ == "__main__":
    code = main(["prepare-data", *sys.argv[1:]])
    if code:  # some platforms report SystemExit(0) as a failure
        raise SystemExit(code)
