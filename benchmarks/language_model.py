"""RSWS on a text, reduced: the recurrent cell it derives, against a plain LSTM of the same size and a bigram model.

    python benchmarks/language_model.py DATA [--hidden 128] [--epochs 4]

DATA is a text as `spark-nas prepare-data text` leaves it (Penn Treebank for the numbers in README.md). One supernet of
the DARTS recurrent cell is trained, architectures are scored with its weights, and the best is trained from scratch;
beside it, for the same epochs by the same recipe, an LSTM with as many parameters in its cell as the cell has, within
the same network: embedding, dropouts, tied decoder. Printed are validation perplexities, seconds and parameters. The
floor is a bigram model interpolated with word frequencies at 0.75, of the same training text.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spark_nas.assemble import assemble, parse_experiment
from spark_nas.commands.search import search
from spark_nas.data.dataset import ShardedData
from spark_nas.engines.gpu import Place
from spark_nas.engines.task import run_job
from spark_nas.evaluation.evaluator import TrainingEvaluator
from spark_nas.report.leaderboard import incumbent
from spark_nas.report.plain import aligned
from spark_nas.search.records import SUPERNET, Job, Result, Trial
from spark_nas.spaces.core import IndependentChoices
from spark_nas.storage.locations import open_files


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a text as prepare-data leaves it")
    parser.add_argument("--hidden", type=int, default=128, help="units of the searched cell (the paper: 850)")
    parser.add_argument("--epochs", type=int, default=4, help="of the supernet, and of each training from scratch")
    parser.add_argument("--candidates", type=int, default=100, help="architectures scored with shared weights")
    parser.add_argument("--search-norm", action="store_true", help="the supernet with its batch norms, as released")
    arguments = parser.parse_args()
    started = time.perf_counter()
    results = searched(arguments)
    best = incumbent(results)
    assert best is not None
    supernet = next(result for result in results if result.supernet)
    scores = [result for result in results if result.job.resource == 0]
    spread = sorted(math.exp(result.loss) for result in scores if result.usable)
    print(f"derived cell: {told(best)}; now the LSTM", flush=True)
    lstm = baseline(arguments, int(best.metrics["parameters"]))
    heads = ("trained", "validation perplexity", "parameters", "seconds")
    rows = [
        ("bigram model", f"{bigram(arguments.data):.1f}", "", ""),
        ("supernet, random paths", *told(supernet)),
        (f"{len(scores)} scores", f"{spread[0]:.1f} to {spread[-1]:.1f}", "", f"{sum(r.seconds for r in scores):.0f}"),
        ("the derived cell, from scratch", *told(best)),
        ("LSTM, from scratch", *told(lstm)),
    ]
    print(aligned(heads, rows, words=("trained",)))
    print(f"cell: {best.job.trial.architecture.to_json()}")
    print(f"{time.perf_counter() - started:.0f} s in all; {os.cpu_count()} cores, load now {os.getloadavg()[0]:.1f}")


def told(result: Result) -> tuple[str, str, str]:
    """Perplexity, parameters and seconds."""
    return f"{math.exp(result.loss):.1f}", f"{result.metrics['parameters']:,.0f}", f"{result.seconds:.0f}"


def training(epochs: int) -> dict[str, Any]:
    """The recipe of all contestants, an evaluator section: small dropouts, as the network is small."""
    return {
        "name": "training",
        "objective": "loss",
        "schedule": "cosine",
        "learning_rate": 20,
        "minimum_learning_rate": 1,
        "momentum": 0,
        "weight_decay": 1e-6,
        "batch_size": 20,
        "clip_norm": 0.25,
        "evaluation_batch_size": 20,
        "score_batch_size": 20,
        "score_batches": 20,
        "horizon": epochs,
    }


DROPOUTS = {
    "dropout_output": 0.1,
    "dropout_hidden": 0.1,
    "dropout_input": 0.1,
    "dropout_between": 0.0,
    "dropout_embedding": 0.0,
}


def searched(arguments: argparse.Namespace) -> list[Result]:
    """All results of the one-shot search, each job with one thread."""
    experiment = {
        "name": "language-model",
        "space": {"name": "darts_rnn", "hidden": arguments.hidden, "search_norm": arguments.search_norm, **DROPOUTS},
        "scheduler": {
            "name": "one_shot",
            "supernets": {"name": "full_training", "trials": 1, "max_resource": arguments.epochs},
            "candidates": arguments.candidates,
            "finalists": 1,
            "retrain": {"name": "full_training", "trials": None, "max_resource": arguments.epochs},
        },
        "method": "random_sharing",
        "evaluator": training(arguments.epochs),
        "engine": {"name": "local", "threads": 1},
        "data": {"path": arguments.data},
    }
    with tempfile.TemporaryDirectory() as folder:
        return search(assemble(parse_experiment(experiment)), open_files(str(Path(folder, "run"))), "run")


class PlainLstm(nn.Module):
    """Embedding, one LSTM layer, tied decoder; the carried state as the searched networks have it."""

    def __init__(self, words: int, hidden: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, hidden)
        self.projection = nn.Linear(hidden, width, bias=False)
        self.decoder = nn.Linear(width, words)
        self.decoder.weight = self.embedding.weight
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        self.dropout = nn.Dropout(0.1)
        self.carried: tuple[Tensor, Tensor] | None = None

    def reset(self) -> None:
        """Begin anew."""
        self.carried = None

    def forward(self, x_TB: Tensor, gates: object = None) -> Tensor:
        """Logits [T * B, words]."""
        state = self.carried
        if state is not None and state[0].shape[1] != x_TB.shape[1]:
            state = None
        output_TBH, state = self.lstm(self.dropout(self.embedding(x_TB)), state)
        self.carried = (state[0].detach().clone(), state[1].detach().clone())
        logits: Tensor = self.decoder(self.projection(self.dropout(output_TBH)).flatten(0, 1))
        return logits


def baseline(arguments: argparse.Namespace, parameters: int) -> Result:
    """The LSTM whose units make its parameters as many as the derived network's, trained as all contestants are."""
    dataset = ShardedData(arguments.data).build()
    words, width = dataset.classes, arguments.hidden
    rest = words * width + words
    # 4 (h w + h h + 2 h) of the LSTM and h w of the projection.
    units = next(h for h in range(1, 4096) if rest + 4 * (h * width + h * h + 2 * h) + h * width > parameters) - 1
    space = IndependentChoices("lstm", ())
    options = parse_experiment(
        {
            "space": {"name": "darts_rnn"},
            "scheduler": {"name": "full_training", "trials": 1, "max_resource": arguments.epochs},
            "evaluator": training(arguments.epochs),
        }
    ).evaluator
    evaluator = TrainingEvaluator(
        space,
        options,
        dataset,  # type: ignore[arg-type]  # tokens
        arguments.epochs,
        network_builder=lambda *_: PlainLstm(words, units, width),
    )
    torch.manual_seed(1)
    return run_job(Job(Trial(0, SUPERNET), 0, arguments.epochs), evaluator, place=Place(1))


def bigram(path: str) -> float:
    """Validation perplexity of 0.75 bigram + 0.25 unigram, counted on the training text."""
    dataset = ShardedData(path).build()
    train, valid = (tokens(dataset, split) for split in ("train", "valid"))
    words = dataset.classes
    unigram = np.bincount(train, minlength=words) / len(train)
    pairs, counts = np.unique(train[:-1].astype(np.int64) * words + train[1:], return_counts=True)
    followed = np.bincount(train[:-1], minlength=words)
    wanted = valid[:-1].astype(np.int64) * words + valid[1:]
    at = np.searchsorted(pairs, wanted).clip(max=len(pairs) - 1)
    count = np.where(pairs[at] == wanted, counts[at], 0)
    probability = 0.75 * count / np.maximum(followed[valid[:-1]], 1) + 0.25 * np.maximum(unigram[valid[1:]], 1e-9)
    return float(np.exp(-np.log(probability).mean()))


def tokens(dataset: Any, split: str) -> NDArray[np.int32]:  # noqa: ANN401 - a data set of tokens
    """A split as one array."""
    array: NDArray[np.int32] = dataset.tokens(split)
    return array


if __name__ == "__main__":
    main()
