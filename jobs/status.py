"""`spark-submit jobs/status.py ...`: the same as `spark-nas status ...`."""

from __future__ import annotations

import sys

from spark_nas.cli import main

if __name__ == "__main__":
    code = main(["status", *sys.argv[1:]])
    if code:  # some platforms report SystemExit(0) as a failure
        raise SystemExit(code)
