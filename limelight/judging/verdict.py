"""The figures that one map comes to, and the verdict that follows from them.

How much each figure counts was fitted by ``benchmarks/verdict.py`` on photographs where it is known which maps are
true; ``weights.json`` says on which, and how well it told them apart on others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from limelight.errors import InputError
from limelight.judging.hearing import SHARES, Hearing, agreement, correlation
from limelight.judging.marks import cells_of, says_nothing

if TYPE_CHECKING:
    from jaxtyping import Float

Label = Literal["supported", "weak", "contradicted"]


@dataclass(frozen=True)
class Verdict:
    """Whether a map is to be believed.

    Attributes:
        label: "supported", "weak" or "contradicted".
        support: from 0 to 1: the share of maps with figures like these that are true ones, where as many are not.
        evidence: the figures it rests on (see :func:`figures`).
        sentence: the same in words.
    """

    label: Label
    support: float
    evidence: dict[str, float]
    sentence: str

    def __str__(self) -> str:
        return self.sentence

    def record(self) -> dict[str, Any]:
        """JSON-ready; a figure that there is none of is None."""
        told = {name: None if math.isnan(value) else round(value, 4) for name, value in self.evidence.items()}
        return {**asdict(self), "support": round(self.support, 4), "evidence": told}


def judge(hearing: Hearing, heat: Float[Tensor, "height width"]) -> Verdict:
    """What the evidence says of one map: four passes beside those of the hearing.

    Args:
        hearing: of the picture and the question that the map is said to explain.
        heat: the map over the network's input, at any resolution; negative values speak against the target and are
            left out, as they are when a map is shown.

    Raises:
        InputError: the map is no finite (height, width).
    """
    if heat.ndim != 2 or not heat.numel():
        raise InputError(f"a map is (height, width), not {tuple(heat.shape)}")
    if not heat.isfinite().all():
        raise InputError("the map holds NaN or infinity, so it marks nothing that could be judged")
    cells = cells_of(heat.detach().to(hearing.image.device))
    if says_nothing(cells):
        return Verdict("contradicted", 0.0, {}, "contradicted: the map is the same everywhere, so it says nothing.")
    found = figures(hearing, cells)
    support = weighed(found)
    label = label_of(support)
    return Verdict(label, support, found, _sentence(label, support, found, hearing))


def figures(hearing: Hearing, cells: Float[Tensor, "rows columns"]) -> dict[str, float]:
    """What a map is judged by; none has a unit, so that they mean the same for any network.

    - ``margin``: by how much the score is higher with only what the map marks than without it, the mean over a quarter
      and half of the picture, as a share of the range of all scores seen.
    - ``over_centre``: for half of the picture, the same less that of the picture's middle.
    - ``agreement``: correlation with the network's own evidence (gradient times activation at its last grid).
    - ``over_mirrored``: that correlation less the mirrored map's, which has the same shape.
    - ``stability``: correlation of the map, turned over, with the evidence in the mirror image.
    - ``steadiness``: correlation of the evidence in the picture with that in its mirror image.
    - ``class_contrast``: the agreement less that with the evidence for the next classes.
    - ``probability``: what the network gives the class.

    NaN where the question is about no class. The scores are those of the target; of a class, above the mean of all.
    """
    kept, taken = hearing.tried(cells)
    scores = [hearing.score, *kept, *taken, *hearing.centre]
    breadth = max(max(scores) - min(scores), 1e-12)
    margins = [(with_it - without) / breadth for with_it, without in zip(kept, taken, strict=True)]
    middle = (hearing.centre[0] - hearing.centre[1]) / breadth
    agrees = agreement(cells, hearing)
    return {
        "margin": sum(margins) / len(margins),
        "over_centre": margins[SHARES.index(0.5)] - middle,
        "agreement": agrees,
        "over_mirrored": agrees - agreement(cells.flip(1), hearing),
        "stability": correlation(cells.flip(1), hearing.mirrored),
        "steadiness": hearing.steadiness,
        "class_contrast": math.nan if hearing.rivals is None else agrees - correlation(cells, hearing.rivals),
        "probability": hearing.probability,
    }


def weighed(found: Mapping[str, float]) -> float:
    """The figures as support: a logistic sum, in which a figure that there is none of counts as usual."""
    weights = fitted()["figures"]
    terms = ((found[name] - each["mean"]) / each["deviation"] * each["weight"] for name, each in weights.items())
    total = fitted()["bias"] + sum(term for term in terms if not math.isnan(term))
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))


def label_of(support: float) -> Label:
    """What support is called."""
    limits = fitted()["limits"]
    if support >= limits["supported"]:
        return "supported"
    return "weak" if support >= limits["weak"] else "contradicted"


@cache
def fitted() -> dict[str, Any]:
    """What was fitted, with where it comes from."""
    return json.loads(files("limelight.judging").joinpath("weights.json").read_text())


def _sentence(label: Label, support: float, found: Mapping[str, float], hearing: Hearing) -> str:
    parts = [
        f"with what the map marks the score is {found['margin']:+.0%} of its range above what it is without it, "
        f"{found['over_centre']:+.0%} against the middle of the picture",
        f"the map's correlation with the network's own evidence at '{hearing.layer}' is {found['agreement']:.2f} "
        f"({found['stability']:.2f} in the mirror image)",
    ]
    if not math.isnan(found["class_contrast"]):
        rival = found["agreement"] - found["class_contrast"]
        parts.append(f"with the evidence for the next classes it is {rival:.2f}")
    if not math.isnan(found["probability"]):
        parts.append(f"the network gives {hearing.asked.named[0].label} {found['probability']:.0%}")
    return f"{label} ({support:.2f}): {'; '.join(parts)}."
