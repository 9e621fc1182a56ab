"""A linear classifier on frozen features: multinomial logistic regression, solved rather than trained.

The problem is convex, so there is one answer and no learning rate: L-BFGS finds it. Features are standardised first and
the standardisation is folded into the weights afterwards. How strongly the weights are held small is chosen by
cross-validation inside the pictures given, never by the test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

STRENGTHS = tuple(10.0 ** (power / 2) for power in range(2, -9, -1))  # 10 to 10^-4, strongest first
_STEPS = 60


class Linear(NamedTuple):
    """scores = features @ weight.T + bias."""

    weight: Tensor
    """(classes, features)"""
    bias: Tensor
    """(classes,)"""

    def __call__(self, features: Tensor) -> Tensor:
        """(pictures, features) -> (pictures, classes) scores."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True)
class Views:
    """Features of several views of each picture."""

    features: Tensor
    """(views, pictures, features); the first view is the picture as it is evaluated."""
    labels: Tensor
    """(pictures,)"""


def fit(views: Views, strength: float, weights: Tensor, start: Linear | None = None) -> Linear:
    """The weights that minimise the mean cross-entropy of all views + ``strength`` / 2 x the weights' squared norm.

    ``weights`` (classes,) weigh the classes; the bias is not held small. ``start`` saves steps.
    """
    x = views.features.flatten(0, 1).double()
    y = views.labels.repeat(len(views.features))
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 1e-6 * (1 + mean.abs()), std, torch.inf)  # a constant feature tells nothing
    x = (x - mean) / std
    classes = len(weights)
    weight = torch.zeros(classes, x.shape[1], dtype=x.dtype)
    bias = torch.zeros(classes, dtype=x.dtype)
    if start is not None:
        weight = torch.where(std.isfinite(), start.weight.double() * std, 0.0)
        bias = start.bias.double() + (start.weight.double() @ mean)
    for parameter in (weight, bias):
        parameter.requires_grad_()
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=_STEPS, history_size=20, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        value = F.cross_entropy(x @ weight.T + bias, y, weights.double()) + strength / 2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(loss)
    folded = (weight / std).detach()
    return Linear(folded.float(), (bias.detach() - folded @ mean).float())


class Chosen(NamedTuple):
    """What :func:`choose` found."""

    strength: float
    scores: Tensor
    """(pictures, classes) Of every picture by a classifier that had not seen it."""
    losses: dict[float, float]
    """The cross-validated loss of each strength."""


def choose(views: Views, folds: np.ndarray, weights: Tensor, strengths: Sequence[float] = STRENGTHS) -> Chosen:
    """The strength with the least cross-entropy on pictures held out, each picture once, seen as it is evaluated.

    ``folds`` (pictures,) say which are held out together.
    """
    classes = len(weights)
    scores = torch.zeros(len(strengths), len(views.labels), classes)
    for fold in range(int(folds.max()) + 1):
        out = torch.from_numpy(folds == fold)
        kept = Views(views.features[:, ~out], views.labels[~out])
        found: Linear | None = None
        for place, strength in enumerate(strengths):
            found = fit(kept, strength, weights, found)
            scores[place, out] = found(views.features[0, out])
    losses = [F.cross_entropy(each, views.labels, weights).item() for each in scores]
    best = int(np.argmin(losses))
    return Chosen(strengths[best], scores[best], dict(zip(strengths, losses, strict=True)))
