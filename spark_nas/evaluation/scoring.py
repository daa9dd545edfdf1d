"""Scores one architecture with a supernet's shared weights: step 2 of weight sharing, nothing is trained.

Li & Talwalkar (UAI 2019), section 3.3: architectures are compared on a few validation minibatches first (rung 0, of
`score_batches`), and the best of them on the whole split (every later rung). A worker keeps the supernets it has
loaded, so that thousands of small jobs read one checkpoint.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from spark_nas.errors import JobError
from spark_nas.evaluation import checkpoint as checkpoints
from spark_nas.evaluation.loop import measure
from spark_nas.evaluation.oneshot.protocol import path
from spark_nas.evaluation.session import Setting, named, objective
from spark_nas.search.records import SUPERNET, Outcome
from spark_nas.spaces.core import open_choices

_KEPT = 2
"""Supernets kept in memory: groups of candidates follow one another, so at most two are asked for at a time."""
_loaded: OrderedDict[tuple[str, str], nn.Module] = OrderedDict()
"""(where the checkpoint is from, device) -> the supernet with those weights."""


def score(setting: Setting, split: str) -> Outcome:
    """Loss and error of the job's architecture on the split, with the weights of the supernet it starts from.

    The job's recipe and seed must be the supernet's. Raises JobError for a checkpoint of anything else.
    """
    options, job = setting.options, setting.job
    undecided = open_choices(setting.evaluation.space, job.trial.architecture)
    if undecided:
        raise JobError(f"cannot score an architecture whose choice {undecided[0]!r} is open")
    network = _supernet(setting)
    gates = path(job.trial.architecture)
    batches = options.score_batches if job.rung == 0 and options.score_batches else None
    size = options.score_batch_size
    measured = measure(network, lambda: gates, setting.course(), split, shared=True, batch_size=size, batches=batches)
    return Outcome(objective(measured, options), named(split, measured))


def _supernet(setting: Setting) -> nn.Module:
    """The supernet that the job starts from: the one kept, or loaded."""
    origin = setting.workspace.origin()
    if origin is None:
        raise JobError("a score needs the checkpoint of a supernet to start from")
    key = origin, str(setting.device)
    if key not in _loaded:
        content = setting.workspace.load()
        assert content is not None  # it has an origin
        checkpoint = checkpoints.load(content, setting.identity(SUPERNET))
        network = setting.network(SUPERNET)
        network.load_state_dict(checkpoint.network)
        network.requires_grad_(False)
        _loaded[key] = network
        while len(_loaded) > _KEPT:
            _loaded.popitem(last=False)
    _loaded.move_to_end(key)
    return _loaded[key]
