"""ENAS: a controller learns which paths of a supernet are good (Pham, Guan, Zoph, Le and Dean, ICML 2018, section 2.2).

    weights:     each minibatch runs one architecture drawn from the policy pi
    controller:  between epochs, the gradient of E[a ~ pi] R(a) by REINFORCE, with a moving average b as baseline,
                     mean over samples of (R(a) - b) * grad log pi(a)
                 where R(a) is measured with the shared weights on one validation minibatch

The entropy of the policy is part of the objective. Its gradient is exact here (`entropy: full`): E[H] depends on the
policy through the decisions' distributions and through which decisions come before. The release has only the second,
as a part of the reward; and for recurrent cells and whole networks takes -p log p of the decision taken for the
entropy (`entropy: sampled`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, optim

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.controller import Controller, ControllerOptions, Rollout, is_skip
from spark_nas.evaluation.oneshot.diagnostics import skip_connections
from spark_nas.evaluation.oneshot.mixture import require_numbers
from spark_nas.evaluation.oneshot.protocol import Batch, Gates, Learner, Method, Valid, path, require_choices
from spark_nas.evaluation.restoring import evaluating
from spark_nas.spaces.core import Architecture, SearchSpace

# N: architectures, C: choices, K: options of a choice.


@dataclass(frozen=True)
class Enas(ControllerOptions):
    """Options of ENAS. Defaults are those of the released search for image cells (`enas_micro`), as its script runs it.

    So one LSTM of 64 units and a baseline that keeps 0.99 of itself: that is what `main.py` passes on, where the
    signature of its controller has two LSTMs of 32 units and 0.999; the paper's LSTM has 100.

    The released search for whole networks (`enas_macro`) has `controller_steps: 50, aggregate: 20,
    learning_rate: 0.001, tanh_constant: 1.5, operation_divisor: 1, convolution_logit: 0, convolution_offset: 0,
    entropy: sampled`; that for recurrent cells (`enas_rnn`) `hidden: 100, controller_steps: 100, learning_rate: 0.001,
    temperature: 5, tanh_constant: 2.5, operation_divisor: 1, distance_penalty: true, entropy: sampled,
    entropy_weight: 0.001, reward: perplexity`.
    """

    controller_steps: int = 30
    """Steps on the controller after each epoch."""
    aggregate: int = 10
    """Architectures, each on a validation minibatch of its own, of which a step's gradient is the mean."""
    learning_rate: float = 0.0035
    """Of Adam."""
    betas: tuple[float, float] = (0.0, 0.999)
    """Of Adam, as released: there is no momentum."""
    epsilon: float = 1e-3
    """Of Adam, as released."""
    baseline_decay: float = 0.99
    """Of the moving average of rewards, which starts at 0."""
    entropy: Literal["full", "sampled"] = "full"
    """Whether the bonus is the policy's entropy, or as in the release -p log p of the decisions taken."""
    entropy_weight: float = 1e-4
    """What a nat of entropy is worth in rewards."""
    reward: Literal["accuracy", "perplexity"] = "accuracy"
    """The share of right answers, or `reward_constant` / perplexity."""
    reward_constant: float = 80.0
    """c of c / perplexity."""
    loss_cap: float = 10.0
    """Cross-entropy above which a perplexity is not told from a worse one."""
    skip_target: float = 0.4
    """The share of skip connections (of spaces that have them as choices) that the policy is drawn to."""
    skip_weight: float = 0.8
    """How much: of the Kullback-Leibler divergence from the target, summed over a layer's skips, mean of layers."""
    derived: int = 100
    """Architectures drawn from the final policy, for the scheduler to score."""
    entropy_per_choice: bool = False
    """Whether to report the entropy of every choice, and not only their mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_numbers(self, controller_steps=0, aggregate=1, learning_rate=0, epsilon=0, entropy_weight=0)
        require_numbers(self, reward_constant=0, loss_cap=0, skip_weight=0, derived=1)
        for key, values in (("betas", self.betas), ("baseline_decay", (self.baseline_decay,))):
            if not all(0 <= value < 1 for value in values):
                raise OptionError(key, getattr(self, key), "must be at least 0 and below 1")
        if not 0 < self.skip_target < 1:
            raise OptionError("skip_target", self.skip_target, "must be above 0 and below 1")

    def build(self, space: SearchSpace) -> EnasMethod:
        """The method. Raises OptionError for a space that decides nothing."""
        require_choices(space)
        return EnasMethod(space, self)


class EnasMethod(Method):
    """Draws a path from the policy for each step on the weights, and learns the policy between epochs."""

    def __init__(self, space: SearchSpace, options: Enas) -> None:
        super().__init__()
        self._space, self._options = space, options
        self.controller = Controller(space, options)
        self.baseline: Tensor
        self.register_buffer("baseline", torch.zeros((), dtype=torch.float64))
        self._optimiser = optim.Adam(
            self.controller.parameters(), lr=options.learning_rate, betas=options.betas, eps=options.epsilon
        )
        self._numbers: dict[str, float] = {}

    @torch.no_grad()
    def gates(self) -> Gates:
        """The path of an architecture drawn from the policy; so also while a split is measured."""
        return path(self._draw(1)[1][0])

    def finish_epoch(self, learner: Learner, valid: Valid) -> None:
        """The controller's steps. The network answers as when it is measured: nothing is dropped."""
        rewards, entropies = list[float](), list[Tensor]()
        with evaluating(learner.network):
            for _ in range(self._options.controller_steps):
                with torch.no_grad():
                    rollout, architectures = self._draw(self._options.aggregate)
                    entropies.append(rollout.entropies().mean(0))
                    found = [self._reward(learner, valid(), architecture) for architecture in architectures]
                self.learn(rollout.decisions_NC, found)
                rewards += found
        if rewards:
            self._remember(rewards, torch.stack(entropies).mean(0).tolist())

    def learn(self, decisions_NC: Tensor, rewards: Sequence[float]) -> None:
        """One step of REINFORCE on the controller, given the rewards of N architectures."""
        rollout, parameters = self.controller.replay(decisions_NC), list(self.controller.parameters())
        worth_N = torch.tensor(rewards, dtype=torch.float64) + bonus(rollout, self._options).cpu()
        loss = self.loss(rollout, worth_N - self.baseline.cpu())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        # Only now: to the gradient above the baseline must be a constant, or it is biased.
        for worth in worth_N.tolist():
            self.baseline.lerp_(torch.full_like(self.baseline, worth), 1.0 - self._options.baseline_decay)

    def loss(self, rollout: Rollout, advantage_N: Tensor) -> Tensor:
        """The scalar whose gradient the controller descends; advantages (reward and bonus, minus baseline) [N]."""
        log_p_N = rollout.log_p_of_decisions().sum(1)
        loss = -(advantage_N.to(log_p_N) * log_p_N).mean()
        if self._options.entropy == "full" and self._options.entropy_weight:
            loss = loss - self._options.entropy_weight * rollout.entropies().sum(1).mean()
        penalty = skip_divergence(self._space, rollout, self._options.skip_target)
        return loss if penalty is None else loss + self._options.skip_weight * penalty

    @torch.no_grad()
    def derive(self) -> tuple[Architecture, ...]:
        """Distinct architectures drawn from the policy, the most probable first."""
        rollout, architectures = self._draw(self._options.derived)
        log_p = rollout.log_p_of_decisions().sum(1).tolist()
        found = dict(zip(architectures, log_p, strict=True))
        return tuple(sorted(found, key=lambda architecture: -found[architecture]))

    def diagnostics(self) -> Mapping[str, float]:
        """Entropies in nats, mean reward and baseline; skip connections of the most probable decisions."""
        return self._numbers

    def get_extra_state(self) -> dict[str, Any]:
        """Adam's moments, which belong to the state as the controller does."""
        return self._optimiser.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take Adam's moments over."""
        self._optimiser.load_state_dict(state)

    def _draw(self, count: int) -> tuple[Rollout, list[Architecture]]:
        rollout = self.controller.sample(count)
        return rollout, self.controller.architectures(rollout.decisions_NC)

    def _reward(self, learner: Learner, batch: Batch, architecture: Architecture) -> float:
        logits = learner.logits(batch, path(architecture))
        if self._options.reward == "accuracy":
            return (logits.argmax(1) == batch.y).float().mean().item()
        loss = F.cross_entropy(logits, batch.y).item()
        # Written so that a loss that is not a number is capped, too.
        return self._options.reward_constant * math.exp(
            -(loss if loss < self._options.loss_cap else self._options.loss_cap)
        )

    @torch.no_grad()
    def _remember(self, rewards: Sequence[float], entropies: Sequence[float]) -> None:
        [likely] = self.controller.architectures(self.controller.greedy().decisions_NC)
        self._numbers = {
            "entropy": math.fsum(entropies) / len(entropies),
            "reward": math.fsum(rewards) / len(rewards),
            "baseline": self.baseline.item(),
            "skip_connections": float(skip_connections(self._space, likely)),
        }
        if self._options.entropy_per_choice:
            names = (choice.name for choice in self._space.choices)
            self._numbers |= {f"entropy/{name}": entropy for name, entropy in zip(names, entropies, strict=True)}


@torch.no_grad()
def bonus(rollout: Rollout, options: Enas) -> Tensor:
    """[N]: what its entropy is worth in the reward of each architecture."""
    if options.entropy == "full":
        return options.entropy_weight * rollout.entropies().sum(1).double()
    log_p_NC = rollout.log_p_of_decisions()
    return options.entropy_weight * -(log_p_NC.exp() * log_p_NC).sum(1).double()


def skip_divergence(space: SearchSpace, rollout: Rollout, target: float) -> Tensor | None:
    """How far the skips' probabilities are from the target; None in a space without such choices.

    The sum over the skips of a layer of KL(p || target), mean over layers and architectures. (The release takes the
    sigmoid of a logit for the probability of what it draws by a softmax of that logit and its negative.)
    """
    skips = [(choice, log_p) for choice, log_p in zip(space.choices, rollout.log_p, strict=True) if is_skip(choice)]
    if not skips:
        return None
    log_target_2 = torch.tensor([1.0 - target, target]).log().to(skips[0][1])
    divergences = [(log_p_N2.exp() * (log_p_N2 - log_target_2)).sum(1).mean() for _, log_p_N2 in skips]
    return torch.stack(divergences).sum() / len({choice.name.split("/")[0] for choice, _ in skips})
