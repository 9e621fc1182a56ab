"""The first phase of a network that tells classes by its strongest cells (:class:`limelight.models.fine.Fine`).

The body's cells are computed once and kept, in half precision (1 MB a picture at 448 pixels); then the evidence is
learnt from them in a few passes. Each class is asked by itself, whether a picture is of it: what is in the pictures of
several classes then has to speak against all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.models import Model
from limelight.models.fine import Fine
from limelight.training.folder import Dataset
from limelight.training.frozen import Solved, class_weights
from limelight.training.pictures import Pictures
from limelight.training.predict import scores, to_device
from limelight.training.settings import Settings
from limelight.training.state import State

CHUNK = 64  # pictures whose cells are kept in one file: all that a killed run has to do again
_SHOWN = 4
_BATCH, _PASSES, _STEPS = 20, 6, 120
"""Pictures a step; passes over the pictures, or more where they would make fewer steps than this."""
_RATE, _DECAY = 3e-3, 0.05


def has_cells(model: Model) -> bool:
    """Whether this is such a network."""
    return isinstance(model.network, Fine)


def one_against_the_rest(
    outputs: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """The mean over pictures and classes of the binary cross-entropy of whether a picture is of a class.

    ``outputs`` (batch, classes) are scores, ``weights`` (classes,) weigh the pictures by their class.
    """
    truth = F.one_hot(labels, outputs.shape[1]).to(outputs.dtype)
    truth = truth * (1 - smoothing) + smoothing / outputs.shape[1]
    losses = F.binary_cross_entropy_with_logits(outputs, truth, reduction="none").mean(1)
    if weights is None:
        return losses.mean()
    return (losses * weights[labels]).sum() / weights[labels].sum()


def solve(
    model: Model,
    pictures: Pictures,
    dataset: Dataset,
    settings: Settings,
    state: State,
    progress: Callable[[str, int, int], None],
) -> Solved:
    """Learn the evidence from the training pictures, and put it into the network."""
    train = np.random.default_rng([settings.seed, 0]).permutation(dataset.of("train")).tolist()
    parts = [train[start : start + CHUNK] for start in range(0, len(train), CHUNK)]
    power = torch.zeros(())
    for number, part in enumerate(parts):
        progress("features", number * CHUNK, len(dataset))
        kept = _kept(model, pictures, number, part, state)
        power = power + kept.float().square().sum((0, 2, 3)) / len(train) / kept[0, 0].numel()
    weights = class_weights(torch.tensor(dataset.labels)[train], len(dataset.classes), settings.balance)
    labels = [torch.tensor([dataset.items[i].label for i in part]) for part in parts]
    network = model.network
    assert isinstance(network, Fine)
    losses = _learn(
        network, lambda i: _kept(model, pictures, i, parts[i], state), labels, power.sqrt(), weights, settings
    )

    found = torch.zeros(len(dataset), len(dataset.classes))
    with torch.no_grad():
        for number, part in enumerate(parts):
            found[part] = torch.cat([
                network.pooled(batch.float().to(_like(network).device)).cpu()
                for batch in _kept(model, pictures, number, part, state).split(_BATCH)
            ])  # fmt: skip
    rest = [i for i in range(len(dataset)) if dataset.items[i].split != "train"]
    if rest:
        found[rest] = scores(model, pictures, rest, lambda done: progress("features", len(train) + done, len(dataset)))
    return Solved(found, losses, None)


def _learn(
    network: Fine,
    cells: Callable[[int], Tensor],
    labels: list[Tensor],
    size: Tensor,
    weights: Tensor,
    settings: Settings,
) -> list[dict[str, float]]:
    """Fit the evidence to kept cells, whose channels are brought to one ``size`` meanwhile; the loss of each pass."""
    like = _like(network)
    size = size[:, None, None].to(like.device) + 1e-3
    torch.nn.init.zeros_(like)
    optimiser = torch.optim.AdamW([like], weight_decay=_DECAY)
    steps = sum(ceil(len(part) / _BATCH) for part in labels)
    passes = max(_PASSES, ceil(_STEPS / steps))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=passes * steps)
    losses: list[dict[str, float]] = []
    for number in range(passes):
        rng, total = np.random.default_rng([settings.seed, 1, number]), 0.0
        for part in rng.permutation(len(labels)).tolist():
            kept = cells(part)
            for batch in torch.from_numpy(rng.permutation(len(kept))).split(_BATCH):
                said = network.pooled(kept[batch].to(like.device).float() / size)
                truth = labels[part][batch].to(like.device)
                loss = one_against_the_rest(said, truth, weights.to(like.device), settings.label_smoothing)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.item() * len(batch)
        losses.append({"pass": number + 1, "loss": total / sum(map(len, labels))})
    with torch.no_grad():
        like /= size
    return losses


def _like(network: Fine) -> Tensor:
    """(classes, channels, 1, 1) What is learnt."""
    return network.evidence.weight  # pyright: ignore[reportReturnType]


def _kept(model: Model, pictures: Pictures, number: int, part: list[int], state: State) -> Tensor:
    """(pictures, channels, rows, columns) float16: the cells of one part, computed when they are first asked for."""
    name = f"cells-{number}"
    found = state.tensors(name)
    if found is None:
        found = {"cells": torch.cat(list(_cells(model, pictures, part)))}
        state.keep_tensors(name, found)
    return found["cells"]


def _cells(model: Model, pictures: Pictures, numbers: list[int]) -> Iterator[Tensor]:
    network = model.network.eval()
    assert isinstance(network, Fine)
    parameter = next(network.parameters())
    for batch in pictures.batches(numbers, _SHOWN):
        with torch.no_grad():
            yield network.body(to_device(batch, parameter)).half().cpu().contiguous()
