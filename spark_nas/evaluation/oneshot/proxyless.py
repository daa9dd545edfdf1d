"""ProxylessNAS: search along single paths (Cai, Zhu and Han, ICLR 2019, section 3).

    p = softmax(alpha), g = one-hot of i ~ p, y = sum_j g_j o_j(x)
    dL/dalpha_i = sum_j dL/dg_j dp_j/dalpha_i = sum_j dL/dg_j p_j (delta_ij - p_i),   dL/dg_j = <dL/dy, o_j(x)>

A step on the weights runs, and keeps in memory, one option a choice. Every few of them alpha takes a step on a
validation batch, the weights as they are. By gradient, the other options run too, but only for <dL/dy, o_j(x)>, without
graphs of their own (`Probe`): all of them, or one besides the active (`two`: a pair is drawn by p, and the step moves
probability between the two alone). By REINFORCE, sampled networks are only measured.

Latency is a sum over choices (`spaces.latency`), so its mean over networks is differentiable in p, and joins the loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from spark_nas.errors import OptionError
from spark_nas.evaluation.networks.mixed import Probe
from spark_nas.evaluation.oneshot.mixture import NONE, Layout, MixtureMethod, require_numbers
from spark_nas.evaluation.oneshot.paths import PathWeights, draw, draw_pairs, drawn_path
from spark_nas.evaluation.oneshot.protocol import Batch, Gates, Learner, Valid, path
from spark_nas.evaluation.oneshot.resources import costs_of, read_table
from spark_nas.evaluation.oneshot.softmax import SoftmaxOptions
from spark_nas.spaces.core import SearchSpace
from spark_nas.spaces.latency import LatencyTable
from spark_nas.spaces.proxyless import ZERO

_SILENT = frozenset({NONE, ZERO})
"""Options that compute nothing. Where one is active, the choice does not run, and alpha learns nothing of it."""


@dataclass(frozen=True)
class Proxyless(SoftmaxOptions):
    """Options of ProxylessNAS; defaults are those of the released search, of 40 + 120 epochs on ImageNet.

    But for latency, which counts as in the paper's formula.
    """

    warmup_epochs: float = 40.0
    """Epochs in which only weights are learnt, along paths of the initial, nearly uniform, probabilities. (The release
    lets one more pass.)"""
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.0, 0.999)
    """Of Adam, without momentum: a step moves only what has been sampled for it."""
    weight_decay: float = 0.0
    interval: int = 5
    """Steps on the weights for each step on alpha."""
    form: Literal["gradient", "reinforce"] = "gradient"
    """How alpha learns: through the gates (the paper's section 3.2), or from rewards (3.3.2)."""
    mode: Literal["full", "two"] = "full"
    """Which options a step by gradient looks at: all, or a pair, of which the latency is then the mean, as released."""
    samples: int = 10
    """REINFORCE: networks a step."""
    baseline_decay: float = 0.99
    """REINFORCE: share of the baseline that a step keeps. (Released 0.99 is the share that it replaces: 0.01 here.)"""
    latency: str | Mapping[str, Any] | None = None
    """The latency of each option, as `spaces.latency` describes, or a JSON file with it; None leaves latency out."""
    reference: float | None = None
    """The latency to aim at, in the table's unit."""
    latency_loss: Literal["added", "multiplied"] = "added"
    """L + weight * (E - ref) / ref, the paper's; or scale * L * (log E / log ref)**power, the release's default."""
    latency_weight: float = 0.1
    """The weight where latency is added."""
    latency_scale: float = 0.2
    """The scale where it is multiplied."""
    latency_power: float = 0.3
    """The power where it is multiplied."""
    reward_power: float = 0.1
    """REINFORCE: the reward is accuracy * (ref / latency)**power."""
    table: LatencyTable | None = field(init=False, default=None)
    """What `latency` gives."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, allowed in (
            ("form", ("gradient", "reinforce")),
            ("mode", ("full", "two")),
            ("latency_loss", ("added", "multiplied")),
        ):
            if getattr(self, key) not in allowed:
                raise OptionError(key, getattr(self, key), f"must be one of: {', '.join(allowed)}")
        require_numbers(self, interval=1, samples=1, baseline_decay=0)
        require_numbers(self, latency_weight=0, latency_scale=0, latency_power=0, reward_power=0)
        if self.baseline_decay >= 1:
            raise OptionError("baseline_decay", self.baseline_decay, "must be below 1")
        self._refuse_contradictions()
        object.__setattr__(self, "table", read_table(self.latency, key="latency"))

    def _refuse_contradictions(self) -> None:
        if self.mode == "two":
            if self.form == "reinforce":
                raise OptionError("mode", self.mode, "is of the gradient form: reinforce samples whole networks")
            if self.betas[0] > 0 or self.weight_decay > 0:
                key = "weight_decay" if self.weight_decay > 0 else "betas"
                remedy = "moves options that were not sampled, which mode two must not: use 0"
                raise OptionError(key, getattr(self, key), remedy)
        if (self.latency is None) != (self.reference is None):
            raise OptionError("reference", self.reference, "goes with latency: give both or neither")
        if self.reference is not None and not self._least < self.reference < math.inf:
            raise OptionError("reference", self.reference, f"must be a number above {self._least}{self._why}")

    def build(self, space: SearchSpace) -> ProxylessMethod:
        """The method. Raises OptionError for a space that decides nothing, and for a table that does not fit."""
        return ProxylessMethod(PathWeights(Layout(space), self), self)

    def check_fastest(self, latency: float) -> None:
        """Raise OptionError where the fastest network is too fast for the formula of loss or reward."""
        if latency <= self._least and (self._logarithmic or self.form == "reinforce"):
            remedy = f"gives the fastest network {latency}; it must be above {self._least}{self._why}"
            raise OptionError("latency", self.latency, remedy)

    def with_latency(self, loss: Tensor, latency: Tensor) -> Tensor:
        """The loss to minimise, of the task's and the expected latency; scalars. Needs `reference`."""
        assert self.reference is not None
        if self.latency_loss == "added":
            return loss + self.latency_weight * (latency - self.reference) / self.reference
        return self.latency_scale * loss * (latency.log() / math.log(self.reference)) ** self.latency_power

    def rewarded(self, accuracy: Tensor, latency: Tensor) -> Tensor:
        """The reward of a network, a scalar. Needs `reference`."""
        assert self.reference is not None
        return accuracy * (self.reference / latency) ** self.reward_power

    @property
    def _logarithmic(self) -> bool:
        return self.form == "gradient" and self.latency_loss == "multiplied"

    @property
    def _least(self) -> float:
        return 1.0 if self._logarithmic else 0.0

    @property
    def _why(self) -> str:
        remedy = ", as its logarithm is taken: use a finer unit, or latency_loss: added"
        return remedy if self._logarithmic else ""


class ProxylessMethod(MixtureMethod):
    """Runs single paths, and lets alpha learn at intervals."""

    weights: PathWeights

    def __init__(self, weights: PathWeights, options: Proxyless) -> None:
        super().__init__(weights, options)
        self._proxyless = options
        self.costs_EK: Tensor | None
        self.register_buffer("costs_EK", self._costs(), persistent=False)
        self.waited: Tensor
        self.register_buffer("waited", torch.tensor(0))  # steps on the weights since the last on alpha
        self.baseline: Tensor
        self.register_buffer("baseline", torch.tensor(0.0))
        self.rewarded: Tensor
        self.register_buffer("rewarded", torch.tensor(False))  # whether there is a baseline yet

    def step(self, learner: Learner, train: Batch, valid: Valid) -> None:
        """One step on alpha, where so many steps on the weights have passed."""
        if self.warming_up(learner):
            return
        if self.waited >= self._proxyless.interval:
            self.waited.zero_()
            if self._proxyless.form == "gradient":
                self._learn_by_gradient(learner, valid())
            else:
                self._learn_by_rewards(learner, valid())
        self.waited += 1

    def gates(self) -> Gates:
        """A path drawn by p."""
        return drawn_path(self.weights)

    def evaluation_gates(self) -> Gates:
        """The path that would be derived."""
        return path(self.derive()[0])

    def diagnostics(self) -> Mapping[str, float]:
        """Those of a mixture, the mean latency of the networks that p samples, and the baseline of REINFORCE."""
        numbers = dict(super().diagnostics())
        with torch.no_grad():
            latency = self._latency(self.weights.probabilities(self.weights.leaves()))
        if latency is not None:
            numbers["expected_latency"] = latency.item()
        if self.rewarded:
            numbers["baseline"] = self.baseline.item()
        return numbers

    def _learn_by_gradient(self, learner: Learner, batch: Batch) -> None:
        weights, options = self.weights, self._proxyless
        (alpha_EK,) = leaves = weights.leaves()
        among_EK = ~weights.absent_EK
        if options.mode == "two":
            among_EK = draw_pairs(weights.log_probabilities(leaves).detach())
        # Masked before it is normalised, the gradient of the others is 0, not a rounding that Adam would blow up.
        log_q_EK = alpha_EK.masked_fill(~among_EK, -math.inf).log_softmax(-1)
        chosen_E = draw(log_q_EK.detach())
        # Without the smoothing and the auxiliary head of the training loss, as released.
        gates = self._probes(log_q_EK.exp(), among_EK, chosen_E)
        loss = functional.cross_entropy(learner.logits(batch, gates), batch.y)
        latency = self._latency(log_q_EK.exp())
        if latency is not None:
            loss = options.with_latency(loss, latency)
        slopes = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        weights.learn(slopes, [option not in _SILENT for option in weights.layout.named(chosen_E).values()])
        if options.mode == "two":
            weights.keep_shares(alpha_EK.detach(), among_EK)

    def _learn_by_rewards(self, learner: Learner, batch: Batch) -> None:
        weights, options = self.weights, self._proxyless
        leaves = weights.leaves()
        log_p_EK = weights.log_probabilities(leaves)
        chosen_SE = torch.stack([draw(log_p_EK.detach()) for _ in range(options.samples)])
        rewards_S = torch.stack([self._reward(learner, batch, chosen_E) for chosen_E in chosen_SE])
        # The baseline of the steps before: one that knows these rewards would shrink the gradient.
        baseline = self.baseline if self.rewarded else rewards_S.mean()
        weights.learn(torch.autograd.grad(-scored(log_p_EK, chosen_SE, rewards_S - baseline), leaves))
        self.baseline.copy_(options.baseline_decay * baseline + (1 - options.baseline_decay) * rewards_S.mean())
        self.rewarded.fill_(True)

    def _probes(self, q_EK: Tensor, among_EK: Tensor, chosen_E: Tensor) -> Gates:
        """1 for the options chosen and 0 for the others `among_EK` (bool), each with the gradient of its q."""
        # Straight through: autograd takes dL/dg on to alpha by the softmax's own derivative.
        one_hot_EK = functional.one_hot(chosen_E, q_EK.shape[-1]).to(q_EK.dtype)
        weights = self.weights.layout.gates(one_hot_EK + (q_EK - q_EK.detach()))
        among = self.weights.layout.gates(among_EK)
        gates: dict[str, dict[str, Tensor | float | Probe]] = {}
        for name, active in self.weights.layout.named(chosen_E).items():
            gates[name] = {
                option: weight if option == active else Probe(weight)
                for option, weight in weights[name].items()
                if among[name][option]
            }
            if active in _SILENT:
                gates[name] = {active: 1.0}
        return gates

    @torch.no_grad()
    def _reward(self, learner: Learner, batch: Batch, chosen_E: Tensor) -> Tensor:
        """Of one network on the batch, a scalar."""
        logits = learner.logits(batch, path(self.weights.layout.named(chosen_E)))
        accuracy = (logits.argmax(-1) == batch.y).to(logits.dtype).mean()
        latency = self._latency(functional.one_hot(chosen_E, self.weights.layout.columns))
        return accuracy if latency is None else self._proxyless.rewarded(accuracy, latency)

    def _latency(self, p_EK: Tensor) -> Tensor | None:
        """The mean over networks drawn by p; None without a table."""
        table = self._proxyless.table
        return None if self.costs_EK is None or table is None else table.fixed + (p_EK * self.costs_EK).sum()

    def _costs(self) -> Tensor | None:
        """The table's entries, [E, K]. Raises OptionError where they do not fit."""
        table, weights = self._proxyless.table, self.weights
        if table is None:
            return None
        costs_EK = costs_of(table, weights.layout, key="latency")
        fastest = table.fixed + costs_EK.masked_fill(weights.absent_EK, math.inf).amin(-1).sum().item()
        self._proxyless.check_fastest(fastest)
        return costs_EK.to(weights.alphas[0].dtype)


def scored(log_p_EK: Tensor, chosen_SE: Tensor, rewards_S: Tensor) -> Tensor:
    """A scalar whose gradient is REINFORCE's: the mean over samples of reward times the gradient of log p(sample)."""
    log_p_SE = log_p_EK.expand(len(chosen_SE), -1, -1).gather(-1, chosen_SE[..., None]).squeeze(-1)
    return (rewards_S * log_p_SE.sum(-1)).mean()
