"""`spark-submit jobs/entry.py --experiment JSON --ending URI search ...`: what `spark-nas submit` asks for."""

from __future__ import annotations

from spark_nas.platforms.entry import main

if __name__ == "__main__":
    main()
