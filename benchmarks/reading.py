"""Reading a data set: rows per second from shards to batches, ours beside the limit and beside the rivals.

    python -m benchmarks.reading [--rows 50000] [--rounds 5] [--folder .data/reading] [--without-rivals]

From the root of the repository, in the environment of `make setup`. The first call builds the rivals' virtual
environment (requirements-reading.txt; torch is large) and every contestant's own format of the same random images of
3x32x32 bytes, on the local disk and on an S3 endpoint that it starts (moto, on this machine). Then each contestant
reads in a process of its own, in turn, `--rounds` times over: a first epoch, with the opening of the data set but
without imports, and three more. All batches are of 256 rows, and every contestant must deliver every row.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import urllib.request
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.measure import contention, machine, print_table

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "reading_contestants.py"
WARM_ROWS = 3000
"""Rows of the data set on which a contestant makes its first calls, which are not measured."""
EPOCHS = 4
BUCKET = "reading"


class Contestant(NamedTuple):
    """One line of the table."""

    name: str
    """Its function in `reading_contestants`."""
    label: str
    format: str
    """Folder of the data it reads."""
    ours: bool
    """Whether it runs in our environment, else in the rivals'."""


CONTESTANTS = (
    Contestant("pyarrow", "plain pyarrow into numpy, stored order (limit)", "shards", True),
    Contestant("pyarrow_checksums", "the same, page checksums verified", "shards", True),
    Contestant("numpy_copies", "shuffled copies out of one numpy array (limit of cached epochs)", "shards", True),
    Contestant("spark_nas", "spark_nas, shuffled, kept in memory (as it comes)", "shards", True),
    Contestant("spark_nas_streamed", "spark_nas, shuffled, streamed, 1 reader thread", "shards", True),
    Contestant("spark_nas_two_readers", "spark_nas, shuffled, streamed, 2 reader threads", "shards", True),
    Contestant("petastorm_rows", "petastorm make_reader, DataLoader", "petastorm", False),
    Contestant("petastorm_batches", "petastorm make_batch_reader, BatchedDataLoader", "petastorm", False),
    Contestant("petastorm_memory", "petastorm make_batch_reader, InMemBatchedDataLoader", "petastorm", False),
    Contestant("mosaic", "Mosaic Streaming, shuffled", "mosaic", False),
    Contestant("mosaic_two_workers", "Mosaic Streaming, shuffled, 2 worker processes", "mosaic", False),
)


def rivals_python(folder: Path) -> Path:
    """The interpreter of the rivals' environment; built once for each content of the requirements file."""
    requirements = HERE / "requirements-reading.txt"
    home, done = folder / "rivals", folder / "rivals" / "installed.txt"
    python = home / "bin" / "python"
    if not done.exists() or done.read_text() != requirements.read_text():
        print(f"building the rivals' environment in {home}; this takes minutes", file=sys.stderr, flush=True)
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
        done.write_text(requirements.read_text())
    return python


@contextmanager
def s3_endpoint() -> Iterator[dict[str, str]]:
    """A moto server with an empty bucket; gives what a process needs in its environment to reach it.

    It runs in threads of this process, which only waits for the contestants, and so ends with it however it ends.
    """
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{url}/{BUCKET}", method="PUT")).close()
        yield {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
            "S3_ENDPOINT_URL": url,  # Mosaic's name for it
        }
    finally:
        server.stop()


def write_shards(arrays: Path, folder: Path) -> None:
    """Our format: what `prepare-data` writes, without a Spark to write it."""
    from spark_nas.data.descriptor import FILE_NAME, Descriptor, Split
    from spark_nas.data.folder import open_folder
    from spark_nas.data.shards import STAGING, plan_shards, stage, write_shard

    output, files = open_folder(folder), []
    with np.load(arrays) as loaded:
        x, y = loaded["x"], loaded["y"]
    for plan in plan_shards(output, "train", len(y), 8, x[0].nbytes):
        stage(plan, x[plan.start : plan.stop], y[plan.start : plan.stop])
        files.append(write_shard(plan))
    output.remove_all(STAGING)
    splits = {"train": Split(len(y), tuple(files))}
    shape, classes, ones = tuple(x.shape[1:]), tuple("0123456789"), (1.0,) * 3
    made = Descriptor(folder.name, shape, "uint8", classes, splits, ones, ones, 1, "", "random", str(folder), "reading")
    with output.creating(FILE_NAME) as path:
        path.write_text(made.to_json())


def prepare(folder: Path, rows: int, rivals: Path | None) -> dict[str, int]:
    """Every format of both data sets below `folder`; gives the sum of the labels of each."""
    labels = {}
    for name, count in (("warm", WARM_ROWS), ("full", rows)):
        arrays = folder / f"{name}-{count}.npz"
        arrays.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(count)
        x, y = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, count)
        labels[name] = int(y.sum())
        for kind in ("shards", "petastorm", "mosaic"):
            target = folder / name / f"{kind}-{count}"
            if target.exists() or (rivals is None and kind != "shards"):
                continue
            np.savez(arrays, x=x, y=y)
            unfinished = target.with_name(f"{target.name}.unfinished")
            if kind == "shards":
                write_shards(arrays, unfinished)
            else:
                subprocess.run(
                    [str(rivals), SCRIPT, "write", kind, arrays, unfinished], check=True, stderr=subprocess.DEVNULL
                )
            unfinished.rename(target)
        arrays.unlink(missing_ok=True)
    return labels


def upload(folder: Path, environment: Mapping[str, str]) -> None:
    """The same files as objects of the same names."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    for path in (folder / "warm", folder / "full"):
        for file in path.rglob("*"):
            if file.is_file():
                client.upload_file(str(file), BUCKET, file.relative_to(folder).as_posix())


def read(
    contestant: Contestant, root: str, rows: int, python: Path, environment: Mapping[str, str]
) -> list[dict[str, float]]:
    """The epochs of one contestant in a fresh process."""
    places = [f"{root}/{name}/{contestant.format}-{n}" for name, n in (("full", rows), ("warm", WARM_ROWS))]
    done = subprocess.run(
        [str(python), str(SCRIPT), "read", contestant.name, *places, str(EPOCHS)],
        env={
            **os.environ,
            **environment,
            "PYTHONPATH": str(HERE.parent) if contestant.ours else "",
            "READING_ROWS": str(rows),
            "READING_WARM_ROWS": str(WARM_ROWS),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{contestant.name} failed on {places[0]}:\n{done.stderr[-3000:]}")
    epochs: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return epochs


Rates = dict[tuple[str, str], list[list[float]]]
"""Rows per second of (contestant, place): for each round those of each epoch."""


def measure(
    folder: Path, rows: int, rounds: int, rivals: Path | None, labels: int, environment: Mapping[str, str]
) -> Rates:
    """All contestants in turn, in every round from another one on."""
    runners = [contestant for contestant in CONTESTANTS if contestant.ours or rivals is not None]
    turns = [(runner, str(folder)) for runner in runners]
    # petastorm as released reads no S3 on any pyarrow since 11 (uber/petastorm#700): it ends in an error at once.
    turns += [(runner, f"s3://{BUCKET}") for runner in runners if runner.format != "petastorm"]
    rates: Rates = {}
    for number in range(rounds):
        shift = number * len(turns) // rounds
        for runner, place in turns[shift:] + turns[:shift]:
            python = Path(sys.executable) if runner.ours or rivals is None else rivals
            epochs = read(runner, place, rows, python, environment)
            for epoch in epochs:
                if (epoch["rows"], epoch["labels"]) != (rows, labels):
                    raise SystemExit(f"{runner.name} delivered {epoch} of {rows} rows with labels of {labels}")
            where = "S3" if place.startswith("s3://") else "local"
            rates.setdefault((runner.name, where), []).append([epoch["rate"] for epoch in epochs])
        print(f"round {number + 1} of {rounds}, contention {contention():.2f}", file=sys.stderr, flush=True)
    return rates


def report(rates: Rates) -> None:
    """One table for each place."""
    headings = ["rows per second: median (min to max)", "first epoch", "of the limit", "later epochs", "of the limit"]
    for where in ("local", "S3"):
        print(f"{where}\n")
        limits = [statistics.median(r[0] for r in rates["pyarrow", where])]
        limits.append(statistics.median(v for r in rates["numpy_copies", where] for v in r[1:]))
        lines = []
        for contestant in CONTESTANTS:
            if (contestant.name, where) not in rates:
                continue
            line: list[object] = [contestant.label]
            of = rates[contestant.name, where]
            for values, limit in (([r[0] for r in of], limits[0]), ([v for r in of for v in r[1:]], limits[1])):
                median = statistics.median(values)
                line += [f"{median:,.0f} ({min(values):,.0f} to {max(values):,.0f})", f"{median / limit:.1%}"]
            lines.append(line)
        print_table(headings, lines)


def main() -> None:
    """Build what is missing, measure, print."""
    parser = argparse.ArgumentParser(description="Rows per second from shards to batches.")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=HERE.parent / ".data" / "reading")
    parser.add_argument("--without-rivals", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    rivals = None if arguments.without_rivals else rivals_python(folder)
    labels = prepare(folder, arguments.rows, rivals)
    with s3_endpoint() as environment:
        upload(folder, environment)
        print(f"before: {machine()}", flush=True)
        rates = measure(folder, arguments.rows, arguments.rounds, rivals, labels["full"], environment)
        print(f"after: {machine()}\n", flush=True)
    report(rates)


if __name__ == "__main__":
    main()
