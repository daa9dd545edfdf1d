"""The DARTS supernet and its first-order step as the paper describes them, to measure ours against.

Liu, Simonyan and Yang (ICLR 2019): section 2 and appendix A for cells and operations, algorithm 1 for the step. Written
anew, without a thought of speed: each operation of each edge is a module with convolutions of its own, an edge is the
sum of all its operations times their softmaxed weights, and a node the sum of its edges. As in the released code,
batch norms of the search learn no scale, pools are followed by one, and the step on alpha is an ordinary backward pass,
which also computes the weights' gradients.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KINDS = ("none", "max", "average", "skip", "separable 3", "separable 5", "dilated 3", "dilated 5")
NODES = 4


def _convolution(c: int, kernel: int, stride: int, dilation: int) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    depth = nn.Conv2d(c, c, kernel, stride, padding, dilation, groups=c, bias=False)
    return [nn.ReLU(), depth, nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c, affine=False)]


class Nothing(nn.Module):
    """Zeros."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """The input times zero, at the stride."""
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


class Halving(nn.Module):
    """The skip connection at stride 2, and what adapts an input of twice the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.second = nn.Conv2d(inputs, outputs - outputs // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Half the resolution."""
        x = F.relu(x)
        normed: Tensor = self.norm(torch.cat([self.first(x), self.second(x[:, :, 1:, 1:])], dim=1))
        return normed


def operation(kind: str, c: int, stride: int) -> nn.Module:
    """One of the eight."""
    if kind == "none":
        return Nothing(stride)
    if kind == "skip":
        return nn.Identity() if stride == 1 else Halving(c, c)
    if kind == "max":
        return nn.Sequential(nn.MaxPool2d(3, stride, 1), nn.BatchNorm2d(c, affine=False))
    if kind == "average":
        pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        return nn.Sequential(pool, nn.BatchNorm2d(c, affine=False))
    kernel = int(kind[-1])
    if kind.startswith("dilated"):
        return nn.Sequential(*_convolution(c, kernel, stride, 2))
    return nn.Sequential(*_convolution(c, kernel, stride, 1), *_convolution(c, kernel, 1, 1))


class Edge(nn.Module):
    """All eight operations."""

    def __init__(self, c: int, stride: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(operation(kind, c, stride) for kind in KINDS)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Their weighted sum."""
        terms = [weight * one(x) for weight, one in zip(weights, self.operations, strict=True)]
        return sum(terms[1:], start=terms[0])


class Cell(nn.Module):
    """Two inputs, four nodes."""

    def __init__(self, inputs: tuple[int, int], c: int, *, reduces: bool, after: bool) -> None:
        super().__init__()
        self.reduces = reduces
        self.older = Halving(inputs[0], c) if after else self._adapt(inputs[0], c)
        self.newer = self._adapt(inputs[1], c)
        self.edges = nn.ModuleList(
            Edge(c, 2 if reduces and source < 2 else 1) for node in range(2, 2 + NODES) for source in range(node)
        )

    @staticmethod
    def _adapt(inputs: int, c: int) -> nn.Module:
        return nn.Sequential(nn.ReLU(), nn.Conv2d(inputs, c, 1, bias=False), nn.BatchNorm2d(c, affine=False))

    def forward(self, older: Tensor, newer: Tensor, weights: Tensor) -> Tensor:
        """The nodes, concatenated."""
        states = [self.older(older), self.newer(newer)]
        first = 0
        for node in range(2, 2 + NODES):
            terms = [self.edges[first + s](states[s], weights[first + s]) for s in range(node)]
            states.append(sum(terms[1:], start=terms[0]))
            first += node
        return torch.cat(states[2:], dim=1)


class PublishedSearch(nn.Module):
    """The supernet, alpha, and both optimisers with the paper's settings."""

    def __init__(self, channels: int, layers: int, classes: int) -> None:
        super().__init__()
        stem = 3 * channels
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem))
        self.cells = nn.ModuleList()
        inputs, after, c = (stem, stem), False, channels
        for layer in range(layers):
            reduces = layer in (layers // 3, 2 * layers // 3)
            c = 2 * c if reduces else c
            self.cells.append(Cell(inputs, c, reduces=reduces, after=after))
            inputs, after = (inputs[1], NODES * c), reduces
        self.classifier = nn.Linear(inputs[1], classes)
        weights = list(self.parameters())
        edges = sum(range(2, 2 + NODES))
        self.alpha = nn.ParameterList(nn.Parameter(1e-3 * torch.randn(edges, len(KINDS))) for _ in range(2))
        self.weights = weights
        self.on_weights = torch.optim.SGD(weights, lr=0.025, momentum=0.9, weight_decay=3e-4)
        self.on_alpha = torch.optim.Adam(self.alpha, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        normal, reduction = (alpha.softmax(-1) for alpha in self.alpha)
        older = newer = self.stem(x)
        for cell in self.cells:
            older, newer = newer, cell(older, newer, reduction if cell.reduces else normal)
        logits: Tensor = self.classifier(newer.mean(dim=(2, 3)))
        return logits

    def step(self, train: tuple[Tensor, Tensor], valid: tuple[Tensor, Tensor]) -> None:
        """Alpha on the validation batch, then the weights on the training batch."""
        self.on_alpha.zero_grad()
        F.cross_entropy(self(valid[0]), valid[1]).backward()
        self.on_alpha.step()
        self.on_weights.zero_grad()
        F.cross_entropy(self(train[0]), train[1]).backward()
        nn.utils.clip_grad_norm_(self.weights, 5.0)
        self.on_weights.step()
