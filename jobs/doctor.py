"""`spark-submit jobs/doctor.py ...`: the same as `spark-nas doctor ...`."""

from __future__ import annotations

import sys

from spark_nas.cli import main

if __name__ == "__main__":
    code = main(["doctor", *sys.argv[1:]])
    if code:  # some platforms report SystemExit(0) as a failure
        raise SystemExit(code)
