"""`spark-submit jobs/retrain.py ...`: the same as `spark-nas retrain ...`."""

from __future__ import annotations

import sys

from spark_nas.cli import main

if __name__ == "__main__":
    code = main(["retrain", *sys.argv[1:]])
    if code:  # some platforms report SystemExit(0) as a failure
        raise SystemExit(code)
