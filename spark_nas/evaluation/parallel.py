"""One training by several processes, data-parallel: what `torch.distributed` is used for, all of it.

Every process has the whole network and the same seeds, takes an equal share of each batch, and learns from the mean
of all their gradients; so all networks stay bitwise the same. Methods and schedulers do not know of it: where a method
looks at a batch (`Learner`), the shares are put together again, and loss, logits and gradients are those of the whole
batch. Without such a group every function here does nothing.

It is for networks that are differentiated in more ways than one call of `backward`, which is why this is no
`DistributedDataParallel`: DARTS differentiates a loss by its gates, in its second order by weights aside from the
optimiser, and its curvature twice. Two conjugate functions, the identity whose gradient is averaged (`_Spread`) and the
mean whose gradient is passed on as it is (`_Mean`), make each of them come out right, to any order.

What differs from one process: batch norms normalise by the share of each process; their running statistics are
averaged after each epoch. Dropout draws one mask for all shares.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.func import functional_call

from spark_nas.errors import JobError
from spark_nas.evaluation.group import grouped, here, processes, reaching
from spark_nas.evaluation.networks.mixed import Probe, plain
from spark_nas.evaluation.norms import norms_of
from spark_nas.evaluation.oneshot.protocol import Batch, Gates
from spark_nas.evaluation.restoring import assign

Pair = tuple[Tensor, Tensor]
Network = Callable[[Tensor, Gates | None], Any]

_log = logging.getLogger(__name__)


def even(batches: Iterable[Pair], batch_size: int) -> Iterator[Pair]:
    """The batches, cut so that all processes get equal shares; the examples left over train nothing.

    A short last batch is left out whole where a share would be nothing, or one example of which there should be more.
    Raises JobError where no batch is left.
    """
    size, left_out, found = processes(), 0, False
    for x, y in batches:
        share = _examples(x) // size
        if size > 1 and (share == 0 or share == 1 < batch_size // size):
            left_out += _examples(x)
            continue
        left_out += _examples(x) - share * size
        found = True
        yield (x, y) if share * size == _examples(x) else _part(x, y, 0, share * size)
    if size > 1 and not found:
        raise JobError(f"{size} processes: no batch has an example for each: use fewer, or a larger batch_size")
    if left_out and dist.get_rank() == 0:
        level = logging.WARNING if batch_size % size else logging.INFO  # the first, another batch_size would mend
        _log.log(level, "%d examples of this pass train nothing: %d processes take equal shares", left_out, size)


def share(batch: Batch) -> Batch:
    """The part of a batch that is this process's; a batch that `even` gave."""
    if not grouped():
        return batch
    count, rank = _examples(batch.x) // processes(), dist.get_rank()
    return Batch(*_part(batch.x, batch.y, rank * count, (rank + 1) * count), batch.split)


def gather(logits: Tensor, batch: Batch) -> Tensor:
    """The logits of a whole batch [len(y), classes], of each process's [its part, classes]; differentiable once."""
    if not grouped():
        return logits
    times = 1 if batch.x.is_floating_point() else len(batch.x)
    parts_TbC = logits.reshape(times, -1, logits.shape[-1])
    whole: Tensor = _Gather.apply(parts_TbC)  # type: ignore[no-untyped-call]
    return whole.reshape(-1, logits.shape[-1])


def replicas(network: nn.Module, gates: Gates | None) -> tuple[Network, Gates | None]:
    """The network and the gates as `Learner` runs them: gradients by them are the mean over processes."""
    if not grouped() or not torch.is_grad_enabled():
        return network, gates
    weights = dict(network.named_parameters())
    # One function for all: their gradients are averaged in one go, and only where somebody asks for any.
    averaged: dict[str, Any] = dict(zip(weights, _spread(tuple(weights.values())), strict=True))

    def run(x: Tensor, gates: Gates | None) -> Any:  # noqa: ANN401 - whatever the network answers
        return functional_call(network, averaged, (x, gates))

    return run, spread(gates)


def spread(gates: Gates | None) -> Gates | None:
    """The gates, those that learn with a gradient that is the mean over processes."""
    if gates is None or not grouped():
        return gates
    weights = [_weight(gate) for options in gates.values() for gate in options.values()]
    averaged = iter(_spread([weight for weight in weights if weight is not None]))

    def rewired(gate: Any) -> Any:  # noqa: ANN401 - a gate is whatever a method makes it
        if _weight(gate) is None:
            return gate
        return Probe(next(averaged)) if isinstance(gate, Probe) else next(averaged)  # type: ignore[arg-type]

    return {choice: {o: rewired(gate) for o, gate in options.items()} for choice, options in gates.items()}


def mean(value: Tensor) -> Tensor:
    """The mean over processes; its gradient is that of each one's own value."""
    return _mean([value])[0] if grouped() else value  # type: ignore[return-value]  # no None in, no None out


def average_gradients(network: nn.Module) -> None:
    """Give every process the mean of their gradients, where there are any; those of None stay None."""
    if not grouped():
        return
    gradients = [parameter.grad for parameter in network.parameters()]
    _check_alike(gradients)
    there = [gradient for gradient in gradients if gradient is not None]
    assign(there, _averaged(there))


def average_statistics(network: nn.Module) -> None:
    """Give the batch norms of every process the mean of their running statistics."""
    if grouped():
        statistics = [s for norm in norms_of(network) for s in (norm.running_mean, norm.running_var) if s is not None]
        assign(statistics, _averaged(statistics))


class _Spread(Function):
    """The identity; backward, the mean of all processes' gradients. In the other processes are replicas of the input.

    Gradients of None stay None.
    """

    @staticmethod
    def forward(ctx: Any, *values: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - torch's context
        ctx.set_materialize_grads(False)
        return tuple(value.view_as(value) for value in values)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor | None) -> Any:  # noqa: ANN401
        _check_alike(slopes)
        return _mean(slopes)


class _Mean(Function):
    """The mean over processes; backward, the gradient as it is, because the mean's replicas are differentiated too."""

    @staticmethod
    def forward(ctx: Any, *values: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        ctx.set_materialize_grads(False)
        return tuple(_averaged(values))

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor | None) -> Any:  # noqa: ANN401
        return _spread(slopes)


class _Gather(Function):
    """[T, B, C] of all processes' [T, b, C]; conjugate, as above, to a mean that follows."""

    @staticmethod
    def forward(ctx: Any, part_TbC: Tensor) -> Tensor:  # noqa: ANN401
        parts = [torch.empty_like(part_TbC) for _ in range(processes())]
        with reaching():
            dist.all_gather(parts, part_TbC.contiguous())
        return torch.cat(parts, dim=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope_TBC: Tensor) -> Tensor:  # noqa: ANN401
        own: Tensor = slope_TBC.chunk(processes(), dim=1)[dist.get_rank()]
        return own * processes()


def _spread(values: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    return _mapped(_Spread.apply, values)


def _mean(values: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    return _mapped(_Mean.apply, values)


def _mapped(function: Callable[..., Any], values: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """A function of all tensors that are not None."""
    there = [value for value in values if value is not None]
    found = iter(function(*there) if there else ())
    return tuple(None if value is None else next(found) for value in values)


def _weight(gate: Any) -> Tensor | None:  # noqa: ANN401
    """The tensor that a gate learns by; None where it does not."""
    weight = plain(gate)
    return weight if isinstance(weight, Tensor) and weight.requires_grad else None


@torch.no_grad()
def _averaged(values: Sequence[Tensor]) -> list[Tensor]:
    """Their means over processes, in one message."""
    if not values:
        return []
    flat = torch.cat([value.reshape(-1) for value in values])
    with reaching():
        dist.all_reduce(flat)
    parts = torch.split(flat.div_(processes()), [value.numel() for value in values])
    return [part.view(value.shape).to(value.dtype) for part, value in zip(parts, values, strict=True)]


def _check_alike(gradients: Sequence[Tensor | None]) -> None:
    """Raise JobError where processes have gradients of different weights: they no longer run the same path.

    That cannot be as long as all draw the same numbers. Where it is all the same (a sampler with a clock, a network
    that depends on its data), averaging would mix up weights without a word, or wait for ever.
    """
    digest = zlib.crc32(bytes(gradient is not None for gradient in gradients))
    extremes = torch.tensor([digest, -digest], device=here())
    with reaching():
        dist.all_reduce(extremes, dist.ReduceOp.MAX)
    if extremes.sum() != 0:
        raise JobError("the processes of this job have run different paths: what a step draws must follow its seed")


def _examples(x: Tensor) -> int:
    """Of a batch: rows, or of a text (whole numbers) columns."""
    return len(x) if x.is_floating_point() else x.shape[1]


def _part(x: Tensor, y: Tensor, start: int, stop: int) -> Pair:
    if x.is_floating_point():
        return x[start:stop], y[start:stop]
    return x[:, start:stop], y.reshape(x.shape)[:, start:stop].reshape(-1)
