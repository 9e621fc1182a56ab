"""What the network is shown of a picture: how large, and which part, chosen by cross-validation where it was left open.

A published body was made for pictures of one size, shown in one way, and the pictures at hand may be better told apart
in another: larger (Touvron et al. 2019, *Fixing the train-test resolution discrepancy*, arXiv 1906.06423, find 9/7 of
the size it learnt at best), or with the margins that a crop cuts away. A linear classifier on the frozen body's
features is cross-validated for each candidate, on pictures it may learn from: never on the test's.

Its log-loss is compared, not its accuracy: of a hundred pictures two more or fewer right say nothing, while every
picture's loss says something. Each picture's is the mean over several ways of dealing the folds, which alone make it
vary by a tenth. The candidates are judged on the same pictures, so what counts is the standard error of the
differences. Taken is the cheapest candidate that is within one of it from the best, the network's own input before any
other (the one-standard-error rule of Breiman et al. 1984, *Classification and Regression Trees*, section 3.4.3). And
all pictures together must become more likely by a factor of e at least: where each is told right and surely, one way
is reliably surer than another, to no one's profit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from math import ceil
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from limelight.errors import ModelError
from limelight.models import Model
from limelight.preprocessing import Preprocessing
from limelight.training import networks, probe
from limelight.training.features import features
from limelight.training.folder import Dataset, Picture
from limelight.training.frozen import FOLDS, class_weights
from limelight.training.loop import has_learnt
from limelight.training.networks import MODES
from limelight.training.pictures import Pictures
from limelight.training.settings import AUTO, Settings
from limelight.training.splits import folds
from limelight.training.state import State

FACTORS = 9 / 7, 10 / 7
"""Sizes that are tried, in those of the network's own: 224, 288, 320."""
STEP = 32
"""Sizes are a multiple of it, so that no stage of a network has half a cell left over."""
PICTURES = 200
"""That are chosen by, at most, unless there are many classes."""
DEALS = 3
"""Ways of dealing the folds."""
OF_A_CLASS = 10
"""Pictures of each class without which nothing can be chosen."""
FEWEST, MOST = 40, 500
LOST = 0.02
"""Where a crop loses less of the pictures than this, they have the input's proportions and there is one way to fit."""
_IN_WORDS: dict[str, str] = {
    "center": "the middle",
    "squash": "all of it, squeezed",
    "border": "all of it, letter-boxed",
}


@dataclass(frozen=True)
class Judged:
    """One way of showing pictures, cross-validated."""

    shown: Preprocessing
    losses: Tensor
    """(pictures,) The log-loss of each by classifiers that had not seen it, the mean of ``DEALS``."""
    right: Tensor
    """(pictures,) The share of these that told its class."""

    @property
    def loss(self) -> float:
        """The mean log-loss."""
        return self.losses.mean().item()

    def behind(self, other: Judged) -> tuple[float, float]:
        """How much greater its loss is than another's, and the standard error of that, over the pictures."""
        difference = self.losses - other.losses
        return difference.mean().item(), (difference.std() / len(difference) ** 0.5).item()


def chosen(
    model: Model,
    dataset: Dataset,
    groups: Sequence[int],
    settings: Settings,
    state: State,
    progress: Callable[[str, int, int], None],
) -> tuple[Preprocessing, dict[str, Any]]:
    """The preprocessing to train with, and how it came to be, for the report; :func:`told` puts it into words.

    What ``settings`` leave open is chosen for a body that has learnt and a head that is one linear layer. With fewer
    than ``FEWEST`` pictures to learn from, or ``OF_A_CLASS`` of a class, the network's own input is kept.
    """
    assert model.preprocessing is not None
    default = model.preprocessing
    numbers = _sample(dataset, groups, settings.seed) if has_learnt(model) else []
    ways = candidates(default, settings, [dataset.items[i] for i in numbers]) if numbers else [default]
    known = cache(partial(networks.published_head, settings.model, settings.weights))  # the same for every way
    judged: list[Judged] = []
    for place, shown in enumerate(ways if len(ways) > 1 else ()):
        progress("choosing the input", place, len(ways))
        try:
            way = replace(model, preprocessing=shown)
            judged.append(_judged(way, dataset, numbers, groups, settings, state, known))
        except ModelError:  # a network of one size, or without a linear head
            if shown == default:
                break
        if _settled(judged):
            break
    if len(judged) < 2 and not _settled(judged):
        return default, {"size": list(default.size), "fit": fit_of(default), "chosen": False}
    progress("choosing the input", len(ways), len(ways))
    taken = choose(judged)
    return taken.shown, _facts(judged, taken)


def _settled(judged: Sequence[Judged]) -> bool:
    """Whether the default is taken whatever the others have: a loss is not negative, so none is 1 / pictures better."""
    return bool(judged) and judged[0].loss <= 1 / len(judged[0].losses)


def candidates(default: Preprocessing, settings: Settings, items: Sequence[Picture]) -> list[Preprocessing]:
    """The ways to try, the default first: only sizes up to the pictures' own, only fits that differ for them."""
    sides = np.array([_size(item) for item in items])
    height, width = default.size
    sizes = [default.size]
    if settings.size == AUTO and height == width:
        larger = (STEP * round(height * factor / STEP) for factor in FACTORS)
        sizes += [(side, side) for side in larger if height < side <= np.median(sides.max(1))]
    modes = [default.crop_mode]
    if settings.fit == AUTO:
        scale = sides / (width, height)
        if np.mean(1 - scale.min(1) / scale.max(1)) >= LOST:
            modes += [mode for mode in MODES.values() if mode != default.crop_mode]
    return [replace(default, size=size, crop_mode=mode) for size in sizes for mode in modes]


def choose(judged: Sequence[Judged]) -> Judged:
    """The cheapest of those that are not worse than the best by more than one standard error of the difference.

    Nor by more than 1 / pictures, see above. The first is the default and goes before all others; then those of the
    smallest size, and of these the best.
    """
    best = min(judged, key=lambda each: each.loss)

    def near(each: Judged) -> bool:
        worse, error = each.behind(best)
        return worse <= max(error, 1 / len(each.losses))

    def order(each: Judged) -> tuple[bool, int, float]:
        return each is not judged[0], each.shown.size[0] * each.shown.size[1], each.loss

    return min(filter(near, judged), key=order)


def fit_of(shown: Preprocessing) -> str:
    """The fit that a preprocessing has, in the words of ``--fit``."""
    return next(fit for fit, mode in MODES.items() if mode == shown.crop_mode)


def as_settings(card: dict[str, Any]) -> dict[str, Any]:
    """The settings that show pictures as a finished run was shown them, however that was chosen."""
    shown = Preprocessing.from_dict(card["preprocessing"])
    height, width = shown.size  # an input that is no square is the network's own
    return {"size": height if height == width else None, "fit": fit_of(shown)}


def told(facts: dict[str, Any]) -> list[str]:
    """What was chosen and why, in words; nothing where there was no choice."""
    if not facts["chosen"]:
        return []
    tried, default = facts["tried"], facts["tried"][0]
    taken = next(each for each in tried if (each["size"], each["fit"]) == (facts["size"], facts["fit"]))
    best = min(tried, key=lambda each: each["loss"])
    judged = f"judged by the log-loss of {facts['pictures']} pictures to learn from, cross-validated"
    if len(tried) == 1:
        return [
            f"input: {_way(taken)}, its own, {taken['loss']:.4f}: no other can be better by more than chance; {judged}"
        ]
    if taken is default:
        why = "its own"
        if best is not taken:
            why += f", {taken['loss']:.3f}: the best of {len(tried)}, {_way(best)}, has {_against(best)}"
        return [f"input: {_way(taken)}, {why}; {judged}"]
    return [f"input: {_way(taken)}, {taken['loss']:.3f}; its own, {_way(default)}, {_against(default)}; {judged}"]


def _way(each: dict[str, Any]) -> str:
    height, width = each["size"]
    side = f"{height}" if height == width else f"{height} x {width}"
    return f"{side} pixels, {_IN_WORDS[MODES[each['fit']]]}"


def _against(each: dict[str, Any]) -> str:
    return f"{each['loss']:.3f} ({each['more']:+.3f}, standard error {each['standard_error']:.3f})"


def _facts(judged: Sequence[Judged], taken: Judged) -> dict[str, Any]:
    tried = []
    for each in judged:
        more, error = each.behind(taken)
        tried.append(
            {
                "size": list(each.shown.size),
                "fit": fit_of(each.shown),
                "loss": each.loss,
                "accuracy": each.right.mean().item(),
                "more": more,
                "standard_error": error,
            }
        )
    return {
        "size": list(taken.shown.size),
        "fit": fit_of(taken.shown),
        "chosen": True,
        "pictures": len(taken.losses),
        "tried": tried,
    }


def _sample(dataset: Dataset, groups: Sequence[int], seed: int) -> list[int]:
    """The pictures to choose by: of each class its share, copies together, none of the test; none where too few."""
    pool = dataset.of("train", "val")
    labels = [dataset.labels[i] for i in pool]
    most = min(max(PICTURES, OF_A_CLASS * len(dataset.classes)), MOST)
    if len(pool) > most:
        part = folds(labels, [groups[i] for i in pool], ceil(len(pool) / most), seed)
        pool = [i for i, own_part in zip(pool, part, strict=True) if own_part == 0]
    counts = np.bincount([dataset.labels[i] for i in pool], minlength=len(dataset.classes))
    return pool if len(pool) >= FEWEST and counts.min() >= OF_A_CLASS else []


def _size(item: Picture) -> tuple[int, int]:
    """Width and height, from the file's first bytes."""
    with Image.open(item.path) as file:
        return file.size


def _judged(
    model: Model,
    dataset: Dataset,
    numbers: list[int],
    groups: Sequence[int],
    settings: Settings,
    state: State,
    known: Callable[[], Tensor | None],
) -> Judged:
    """One way cross-validated, or what was found of it before the run was interrupted.

    ``known`` gives the published head, in whose terms the features are.
    """
    shown = model.preprocessing
    assert shown is not None
    name = f"input-{shown.size[0]}x{shown.size[1]}-{fit_of(shown)}"
    found = state.tensors(name)
    if found is None:
        pictures = Pictures([item.path for item in dataset.items], shown)
        seen = torch.cat(list(features(model, pictures, numbers)))
        labels = torch.tensor(dataset.labels)[numbers]
        weights = class_weights(labels, len(dataset.classes), settings.balance)
        head = known()
        looks = probe.Views((seen if head is None else seen @ head.T)[None], labels)
        together = [groups[i] for i in numbers]
        deals = (folds(labels.tolist(), together, FOLDS, settings.seed + deal) for deal in range(DEALS))
        scores = [probe.choose(looks, held, weights).scores for held in deals]
        losses = torch.stack([F.cross_entropy(each, labels, reduction="none") * weights[labels] for each in scores])
        right = torch.stack([each.argmax(1) == labels for each in scores])
        found = {"losses": losses.mean(0), "right": right.float().mean(0)}
        state.keep_tensors(name, found)
    return Judged(shown, found["losses"], found["right"])
