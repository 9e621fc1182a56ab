"""Does the network use it? How its score for a class changes when a candidate is taken out or put in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from limelight.borrow import borrowed
from limelight.errors import InputError, ModelError
from limelight.models import Model
from limelight.preprocessing import Fit
from limelight.statistics import bootstrap
from limelight.studies.bias.edits import Edit, Pixels

EACH = 32
"""Pictures in which a candidate is taken out, and as many in which it is put in."""
BATCH = 16


@dataclass(frozen=True)
class Effect:
    """How much the network rests on a candidate.

    effect: the mean of ``removed`` and ``inserted``. removed: how far the class's probability falls when the candidate
    is taken out of pictures of the class, less the control's fall. inserted: how far it rises when put into pictures of
    other classes, less the control's rise. In [-1, 1]; None where no picture could be tried. cases: pictures tried.
    """

    effect: float
    interval: tuple[float, float]
    removed: float | None
    inserted: float | None
    cases: int

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "effect": self.effect,
            "interval": list(self.interval),
            "removed": self.removed,
            "inserted": self.inserted,
            "cases": self.cases,
        }


@dataclass(frozen=True, eq=False)
class Scorer:
    """Pictures in memory -> the network's probabilities."""

    model: Model
    fit: Fit = "crop"

    def __call__(self, pictures: Sequence[Pixels]) -> np.ndarray:
        """(pictures, classes) probabilities. Raises ModelError for a network without preprocessing or class scores."""
        if self.model.preprocessing is None:
            raise ModelError("The network comes without preprocessing, so it can't be shown photographs.")
        parameter = next(self.model.network.parameters())
        found = []
        with borrowed(self.model.network), torch.inference_mode():
            for start in range(0, len(pictures), BATCH):
                batch = [
                    self.model.preprocessing(torch.tensor(picture).permute(2, 0, 1), self.fit)[0]
                    for picture in pictures[start : start + BATCH]
                ]
                outputs = self.model.network(torch.stack(batch).to(parameter.device, parameter.dtype))
                if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or outputs.shape[1] < 2:
                    raise InputError("The audit needs a classifier: outputs (pictures, classes), two classes or more.")
                found.append(outputs.float().softmax(1).cpu().numpy())
        return np.concatenate(found)


def effect(
    edit: Edit,
    score: Scorer,
    output: int,
    bearing: np.ndarray,
    lacking: np.ndarray,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    each: int = EACH,
) -> Effect:
    """The effect on class ``output``'s probability.

    ``bearing`` are pictures of the class to take the candidate out of, ``lacking`` pictures of other classes to put it
    into; ``each`` of either are drawn.
    """
    rng = np.random.default_rng(seed)
    sides = []
    for kind, change, sign in ((bearing, edit.remove, 1), (lacking, edit.insert, -1)):
        chosen = rng.permutation(kind)[:each]
        if not len(chosen):
            sides.append(np.empty(0))
            continue
        pairs = [change(int(i), rng) for i in chosen]
        changed = score([one for one, _ in pairs])[:, output]
        control = score([other for _, other in pairs])[:, output]
        sides.append(sign * (control - changed))
    removed, inserted = (float(side.mean()) if len(side) else None for side in sides)
    known = [side for side in sides if len(side) > 1]
    if not known:
        return Effect(0.0, (-1.0, 1.0), removed, inserted, sum(map(len, sides)))
    # Both ways weigh the same, however many pictures either has.
    values = np.concatenate([side * (sum(map(len, known)) / len(known) / len(side)) for side in known])
    low, high = bootstrap(values, confidence=confidence, seed=seed)
    return Effect(float(np.mean([side.mean() for side in known])), (low, high), removed, inserted, len(values))
