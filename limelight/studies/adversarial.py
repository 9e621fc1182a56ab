"""Is a network fooled? What attacks do to its predictions, and to its maps of the class that is truly there.

Selvaraju et al. 2017 (section 5.3) say that the maps of the true class hardly move. Here that is measured: how far each
raw map moves when the picture is attacked, beside how far it moves by noise of the same size.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from limelight import heatmap
from limelight.errors import ZeroMapWarning
from limelight.explainer import explain
from limelight.models import Model
from limelight.progress import tracked
from limelight.statistics import bootstrap, wilson
from limelight.studies.attacks import CERTAIN, Scores, fgsm, noise, pgd, towards
from limelight.studies.looks import BATCH, CELLS, Looks, pixels_of, share

if TYPE_CHECKING:
    from jaxtyping import Float

STRENGTHS = (1, 2, 4)
"""The most that a value of a pixel is changed by, in steps of 255."""
TARGETED_STRENGTH = 8
TARGETED_STEPS = 40
TOP = 0.2
"""The share of a map's cells whose overlap is measured."""
FGSM, PGD, NOISE, TARGETED = "FGSM", "PGD", "noise", "targeted"


@dataclass(frozen=True, eq=False)
class Attack:
    """What one kind of change of one size did to the pictures.

    Attributes:
        kind: "FGSM", "PGD", "targeted", or "noise" for the control.
        strength: the most that a value was changed by, in steps of 255.
        flipped: ``(pictures,)`` whether the prediction is another one.
        certain: ``(pictures,)`` the probability of what is predicted now.
        correlation: ``(pictures,)`` of the true class's raw map with the one before; NaN where one is flat.
        overlap: ``(pictures,)`` of their strongest fifths, in [0, 1].
        vanished: ``(pictures,)`` whether nothing speaks for the true class any more.
        on_object: ``(pictures, 2)`` the share of the true class's map on the object, before and after; NaN if unknown.
    """

    kind: str
    strength: int
    flipped: np.ndarray
    certain: np.ndarray
    correlation: np.ndarray
    overlap: np.ndarray
    vanished: np.ndarray
    on_object: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: the figures, each with its interval, over all pictures and over those that flipped."""
        flips, pictures = int(self.flipped.sum()), len(self.flipped)
        return {
            "kind": self.kind,
            "strength": self.strength,
            "pictures": pictures,
            "flips": flips,
            "flip_rate": flips / pictures,
            "flip_interval": list(wilson(flips, pictures)),
            "probability": mean(self.certain),
            "vanished": int(self.vanished.sum()),
            "correlation": mean(self.correlation),
            "overlap": mean(self.overlap),
            "correlation_when_flipped": mean(self.correlation[self.flipped]),
            "overlap_when_flipped": mean(self.overlap[self.flipped]),
            "on_object_before": mean(self.on_object[:, 0]),
            "on_object_after": mean(self.on_object[:, 1]),
        }


@dataclass(frozen=True, eq=False)
class Example:
    """A picture that was attacked, to be looked at.

    Attributes:
        number: the picture's, in the sample.
        pixels: ``(2, channels, height, width)`` in [0, 1], before and after.
        target: the class that it was driven to, and ``probability`` how sure of it the network is now.
        maps: ``(3, CELLS, CELLS)`` in [0, 1]: of the true class before and after, and of the target after.
    """

    number: int
    pixels: Tensor
    target: int
    probability: float
    maps: Tensor


@dataclass(frozen=True, eq=False)
class Robustness:
    """All attacks on the same pictures, each of which the network got right.

    Attributes:
        numbers: the pictures' numbers in the sample.
        attacks: by strength, then by kind.
        reached: ``(pictures,)`` the probability that the targeted attack reached for its class.
        examples: a few of the targeted ones.
    """

    numbers: tuple[int, ...]
    attacks: tuple[Attack, ...]
    reached: np.ndarray
    examples: tuple[Example, ...]

    def find(self, kind: str, strength: int) -> Attack:
        """The attack of one kind and size."""
        return next(one for one in self.attacks if (one.kind, one.strength) == (kind, strength))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "pictures": len(self.numbers),
            "attacks": [attack.as_dict() for attack in self.attacks],
            "targeted": {
                "probability": CERTAIN,
                "reached": int((self.reached >= CERTAIN).sum()),
                "pictures": len(self.reached),
            },
        }


def robustness(
    model: Model,
    looks: Looks,
    most: int,
    strengths: Sequence[int] = STRENGTHS,
    *,
    seed: int = 0,
    examples: int = 3,
    shown: bool = False,
) -> Robustness | None:
    """Attack up to ``most`` of the pictures that the network gets right, drawn by ``seed``; None where there is none.

    The map is Grad-CAM's of the true class, at the layer that the looks are at.

    Raises:
        InputError: the network has no scores for two classes.
    """
    right = np.flatnonzero(looks.sample.right)
    chosen = np.sort(np.random.default_rng(seed).permutation(right)[:most])
    if not len(chosen):
        return None
    found: dict[tuple[str, int], list[dict[str, np.ndarray]]] = {}
    reached: list[Tensor] = []
    kept: list[Example] = []
    starts = range(0, len(chosen), BATCH)
    for start in tracked(starts, "attacking", len(starts), shown):
        batch = _Batch(model, looks, chosen[start : start + BATCH].tolist())
        for kind, strength, attacked in batch.attacks(strengths, seed):
            found.setdefault((kind, strength), []).append(batch.outcome(attacked))
            if kind == TARGETED:
                reached.append(batch.scores.probabilities(attacked).gather(1, batch.rivals[:, None])[:, 0])
                kept += batch.examples(attacked, reached[-1], examples - len(kept))
    attacks = [
        Attack(*key, **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
        for key, parts in found.items()
    ]
    return Robustness(tuple(chosen.tolist()), tuple(attacks), torch.cat(reached).numpy(), tuple(kept))


class _Batch:
    """A few pictures with their maps before, to be attacked together."""

    def __init__(self, model: Model, looks: Looks, numbers: list[int]):
        self.model, self.numbers = model, numbers
        self.layers = list(looks.explanation.layers)
        self.scores = Scores(model)
        self.pixels = pixels_of(model, looks.sample.of(numbers))
        self.labels = torch.from_numpy(looks.sample.labels[numbers])
        self.rivals = torch.from_numpy(looks.sample.rivals[numbers])
        self.filled = None if looks.on_object is None else looks.on_object[numbers]
        self.before = self.maps(self.pixels, self.labels)

    def attacks(self, strengths: Sequence[int], seed: int) -> Iterator[tuple[str, int, Tensor]]:
        seeds = [seed * 1_000_003 + number for number in self.numbers]
        for strength in strengths:
            yield FGSM, strength, fgsm(self.scores, self.pixels, self.labels, strength)
            yield PGD, strength, pgd(self.scores, self.pixels, self.labels, strength)
            yield NOISE, strength, noise(self.pixels, strength, seeds)
        yield (
            TARGETED,
            TARGETED_STRENGTH,
            towards(self.scores, self.pixels, self.rivals, TARGETED_STRENGTH, TARGETED_STEPS),
        )
        if TARGETED_STRENGTH not in strengths:
            yield NOISE, TARGETED_STRENGTH, noise(self.pixels, TARGETED_STRENGTH, seeds)

    def outcome(self, attacked: Tensor) -> dict[str, np.ndarray]:
        """The figures of an :class:`Attack`, for these pictures."""
        certain, predicted = self.scores.probabilities(attacked).max(dim=1)
        after = self.maps(attacked, self.labels)
        return {
            "flipped": (predicted != self.labels).numpy(),
            "certain": certain.numpy(),
            "correlation": correlation(self.before, after).numpy(),
            "overlap": overlap(self.before, after).numpy(),
            "vanished": (after.flatten(1).amax(dim=1) <= 0).numpy(),
            "on_object": np.stack([self.on_object(self.before), self.on_object(after)], axis=1),
        }

    def on_object(self, raws: Tensor) -> np.ndarray:
        if self.filled is None:
            return np.full(len(raws), np.nan)
        return share(_shown(raws), self.filled)

    def maps(self, pixels: Tensor, classes: Tensor) -> Tensor:
        """``(pictures, *grid)``, raw; of several layers those of the last."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZeroMapWarning)  # it is counted instead
            inputs = self.scores.inputs(pixels)
            explanation = explain(self.model.network, inputs, classes, layer=self.layers, progress=False)
        return explanation.raws[-1][:, 0].float().cpu()

    def examples(self, attacked: Tensor, reached: Tensor, most: int) -> Iterator[Example]:
        """The first of them, as they are to be looked at."""
        few = slice(0, max(most, 0))
        after = self.maps(attacked[few], self.labels[few]) if most > 0 else ()
        others = self.maps(attacked[few], self.rivals[few]) if most > 0 else ()
        for i, (true, other) in enumerate(zip(after, others, strict=True)):
            yield Example(
                self.numbers[i],
                torch.stack([self.pixels[i], attacked[i]]),
                int(self.rivals[i]),
                float(reached[i]),
                _shown(torch.stack([self.before[i], true, other])),
            )


def correlation(before: Float[Tensor, "maps *grid"], after: Float[Tensor, "maps *grid"]) -> Float[Tensor, " maps"]:
    """Pearson's, of each raw map with its own; NaN where one is the same everywhere."""
    one, other = (maps.flatten(1).double() for maps in (before, after))
    one, other = one - one.mean(dim=1, keepdim=True), other - other.mean(dim=1, keepdim=True)
    scale = one.norm(dim=1) * other.norm(dim=1)
    return torch.where(scale > 0, (one * other).sum(dim=1) / scale, torch.nan)


def overlap(
    before: Float[Tensor, "maps *grid"], after: Float[Tensor, "maps *grid"], top: float = TOP
) -> Float[Tensor, " maps"]:
    """How far the strongest cells are the same, in [0, 1]: intersection over union of the top fifth of either."""
    one, other = before.flatten(1), after.flatten(1)
    count = max(1, round(top * one.shape[1]))
    marks = [
        torch.zeros_like(maps, dtype=torch.bool).scatter(1, maps.topk(count, dim=1).indices, True)
        for maps in (one, other)
    ]
    return (marks[0] & marks[1]).sum(dim=1).double() / (marks[0] | marks[1]).sum(dim=1)


def mean(values: np.ndarray) -> dict[str, Any]:
    """The mean, its interval and what it rests on, JSON-ready; NaNs are left out, None stands for nothing."""
    known = values[~np.isnan(values)]
    return {
        "mean": float(known.mean()) if len(known) else None,
        "interval": list(bootstrap(known)) if len(known) > 1 else None,
        "pictures": len(known),
    }


def _shown(raws: Tensor) -> Tensor:
    return heatmap.shown([raws], (CELLS, CELLS))
