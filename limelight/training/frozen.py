"""The first phase: the body is frozen, its features are computed once and kept, the head is solved.

What is solved for is a linear map of the scores that the body's published head gives, where it has one: the directions
its thousand classes taught it to tell apart come at a lower price than others. It is still a linear map of the
features, and is put into the head as such. (Cross-validated loss on the training pictures of ants and bees 0.083
against 0.095, of 120 grains 0.040 against 0.047.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from limelight.models import Model
from limelight.training import networks, probe
from limelight.training.augment import AUGMENTATIONS
from limelight.training.features import BATCH, features, linear_head
from limelight.training.folder import Dataset
from limelight.training.pictures import Pictures
from limelight.training.settings import AUTO, Settings
from limelight.training.splits import folds
from limelight.training.state import State

FOLDS = 5
CHUNK = 8 * BATCH  # pictures whose features are kept at once: all that a killed run has to do again
_LOOKS = 1000  # about as many views are computed in all, where the pictures are few
_MOST_VIEWS = 4


class Solved(NamedTuple):
    """What the first phase gives."""

    scores: Tensor
    """(pictures, classes) Of all pictures, as they are evaluated."""
    losses: list[dict[str, float]]
    """What is logged: the cross-validated loss of each strength of the penalty."""
    held_out: Tensor | None
    """(training pictures, classes) Scores of each by a head that had not seen it, where there was one."""


def solve(
    model: Model,
    pictures: Pictures,
    dataset: Dataset,
    groups: list[int],
    settings: Settings,
    state: State,
    progress: Callable[[str, int, int], None],
) -> Solved:
    """Fit the head to the training pictures and put it into the network.

    Raises ``ModelError`` for a network whose head is not one linear layer.
    """
    module = linear_head(model)
    train, everything = dataset.of("train"), list(range(len(dataset)))
    views = views_of(len(train), settings)
    total = len(everything) + views * len(train)
    done = 0

    def kept(view: int, numbers: list[int]) -> Tensor:
        nonlocal done
        parts = []
        for start in range(0, len(numbers), CHUNK):
            part = _chunk(model, pictures, numbers[start : start + CHUNK], view, start, settings, state)
            parts.append(part)
            done += len(part)
            progress("features", done, total)
        return torch.cat(parts)

    seen = kept(0, everything)
    varied = [kept(view, train) for view in range(1, views + 1)]
    labels = torch.tensor(dataset.labels)[train]
    known = networks.published_head(settings.model, settings.weights)
    shown = torch.stack([seen[train], *varied])
    looks = probe.Views(shown if known is None else shown @ known.T, labels)
    weights = class_weights(labels, len(dataset.classes), settings.balance)
    held = folds(labels.tolist(), [groups[i] for i in train], FOLDS, settings.seed)
    chosen = probe.choose(looks, held, weights)
    head = probe.fit(looks, chosen.strength, weights)
    if known is not None:
        head = probe.Linear(head.weight @ known, head.bias)
    with torch.no_grad():
        module.weight.copy_(head.weight)
        module.bias.copy_(head.bias)
    losses = [{"strength": strength, "loss": loss} for strength, loss in chosen.losses.items()]
    return Solved(head(seen), losses, chosen.scores)


def views_of(pictures: int, settings: Settings) -> int:
    """How many varied views of each training picture are added to the picture itself."""
    if augmentation_of(settings) == "none":
        return 0
    return settings.views if settings.views is not None else min(_LOOKS // pictures, _MOST_VIEWS)


def augmentation_of(settings: Settings) -> str:
    """How the views of the first phase are varied: frozen features tell little of strongly altered pictures."""
    return "light" if settings.augment == AUTO else settings.augment


def class_weights(labels: Tensor, classes: int, balance: bool) -> Tensor:
    """(classes,) The weight of each class in the loss; ``balance``: as if there were as many pictures of each."""
    if not balance:
        return torch.ones(classes)
    return len(labels) / (classes * torch.bincount(labels, minlength=classes).clamp(min=1).float())


def _chunk(
    model: Model, pictures: Pictures, numbers: list[int], view: int, start: int, settings: Settings, state: State
) -> Tensor:
    name = f"features-{view}-{start}"
    found = state.tensors(name)
    if found is None:
        how = AUGMENTATIONS[augmentation_of(settings)] if view else None
        found = {"features": torch.cat(list(features(model, pictures, numbers, how, (settings.seed, view))))}
        state.keep_tensors(name, found)
    return found["features"]
