"""The results table of a run: `results/part-*.parquet`, append-only, one row a job.

Readable as it stands by Spark SQL, pandas and DuckDB. The columns are documented in `rows.COLUMNS`, from which the
README's table is made. The key is (run_id, trial_id, rung). Small parts are merged while the table grows
(`compaction`); which parts count is said in `parts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

import pyarrow as pa  # type: ignore[import-untyped]

from spark_nas.errors import LeaseLost, OutputError
from spark_nas.search.records import JobKey, Result
from spark_nas.storage.compaction import Compactor, encode
from spark_nas.storage.files import Files
from spark_nas.storage.parts import FAN, PATIENCE, Part, batches, damaged, list_parts, sound, stream
from spark_nas.storage.rows import COLUMNS, SCHEMA, SCHEMA_VERSION, Reader, to_table

__all__ = ["COLUMNS", "SCHEMA", "SCHEMA_VERSION", "ParquetLog", "read_table"]


class ParquetLog:
    """`search.protocols.ResultLog` as Parquet parts. One writer a run: the driver.

    `environment` is what `run.json` records; rows keep only what differs from it. Reading changes nothing. Whoever
    appends closes it (or uses `with`): that waits for the compaction under way.
    """

    def __init__(self, files: Files, run_id: str, environment: Mapping[str, str] | None = None) -> None:
        self._files, self._run_id = files, run_id
        self._environment = dict(environment or {})
        listing = list_parts(files)
        self._next = listing.end
        self._left = bool(listing.leftovers)
        self._compactor = Compactor(files)
        self._appended = False

    def append(self, results: Sequence[Result], asked: int) -> None:
        """Write one part, durably. Raises LeaseLost when another driver has written in the meantime.

        Even the rightful holder can meet that, where a driver that slept appended once before it noticed. Nothing is
        wrong with the run then: whoever runs it again reads that row too.
        """
        part = Part(self._next, self._next)
        table = to_table(results, asked, self._run_id, self._environment)
        if not self._files.write_new(part.name, encode(table)) or self._was_taken(part, table):
            raise LeaseLost(
                f"{self._files.root}/{part.name} is there already: does another driver run {self._run_id!r}?"
            )
        self._next += 1
        if self._next % FAN == 0 or not self._appended:  # the first time: what a killed driver has left
            self._compactor.want()
        self._appended = True

    def rows(self) -> Iterator[tuple[Result, int]]:
        """Every row with its `asked`, in the order of appending; a few thousand are in memory at a time.

        Raises OutputError, naming the part, when one is missing, cannot be read, or has a job that was there before.
        """
        reader, seen = Reader(self._environment), set[JobKey]()
        for part, batch in stream(self._files, self._next):
            try:
                for row in reader.results(batch):
                    key = row[0].job.key
                    if key in seen:
                        raise OutputError(f"{self._files.root}/{part.name}: a second row of job {tuple(key)}")
                    seen.add(key)
                    yield row
            except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
                raise damaged(self._files, part, error) from error

    def close(self) -> None:
        """Wait for the compaction under way. Raises what went wrong with it, if it goes wrong once more. Idempotent."""
        self._compactor.finish()

    def __enter__(self) -> ParquetLog:
        """As the writer: finishes what a compaction that was killed has left."""
        # The first array that pyarrow makes imports pandas, 0.4 s in which no worker would get its second job.
        encode(to_table([], 0, self._run_id, self._environment))
        if self._left:
            self._compactor.want()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        try:
            self.close()
        except Exception:
            if kind is None:  # otherwise there is a better reason already, and the thread has logged this one
                raise

    def _was_taken(self, part: Part, table: pa.Table) -> bool:
        """Whether a part just written had been there before, another driver's, and been merged: its name was free.

        So a driver that was asleep while another took its run over is found out as surely as by a taken name. A merged
        part with these very rows in it is no other driver's: a compaction elsewhere was quick.
        """
        for _ in range(PATIENCE):
            block = next((block for block in list_parts(self._files).parts if block.contains(part)), None)
            if block == part:
                return False
            content = self._files.read(block.name) if block is not None else None
            if block is not None and content is not None and sound(self._files, block, content):
                return not _holds(pa.Table.from_batches(batches(self._files, block, content), SCHEMA), table)
        raise OutputError(f"{self._files.root}/{part.name}: what it was merged into cannot be read")


def _holds(whole: pa.Table, rows: pa.Table) -> bool:
    """Whether the rows stand somewhere in a table, one after another; NaN is equal to NaN."""
    wanted = repr(rows.to_pylist())
    trials = whole["trial_id"].to_pylist()
    first = rows["trial_id"][0].as_py() if rows.num_rows else None
    places = [place for place, trial in enumerate(trials) if trial == first]
    return not rows.num_rows or any(repr(whole.slice(p, rows.num_rows).to_pylist()) == wanted for p in places)


def read_table(files: Files) -> pa.Table:
    """All rows as one table. Raises OutputError, naming the file, when a part cannot be read."""
    return pa.Table.from_batches([batch for _, batch in stream(files)], SCHEMA).combine_chunks()
