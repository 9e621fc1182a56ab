"""Whether a graph answers as the network does: judged in double precision, by what single precision can tell.

Two right programs in single precision differ: they add in another order, and where an activation lies next to zero its
gradient switches on in one and off in the other, which a map of few cells shows. So the network's own answers are not
the measure. The answers in double precision are, and the allowance is how far the network itself is from those, as it
stands and with every weight moved by a unit in its last place, which single precision can't tell from the network
(backward error analysis: Higham, Accuracy and Stability of Numerical Algorithms, 2002, ch. 1.5). A wrong graph is
further off than that; rounding is not. A graph in bfloat16 is held to the same with units of its last place, which
allow much, and besides to maps that rank their cells as the network's do.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from limelight.borrow import twin
from limelight.cut import module_at
from limelight.errors import ModelError, ZeroMapWarning
from limelight.step import Answer, Step

FACTOR = 4.0
"""How many times as far as the network itself a graph may be from the answers in double precision..."""
SLACK, SCORE_SLACK = 1e-4, 1e-5
"""... besides this much of a map in [0, 1], and this share of the largest class score."""
NUDGES = 2
"""How many networks with moved weights are asked."""
RANK = 0.98
"""In bfloat16: the rank correlation of raw maps with the network's that the median image has at least."""


@dataclass(frozen=True)
class Distance:
    """How far answers are from those in double precision.

    Attributes:
        map: of maps in [0, 1], the largest difference on the median image.
        worst_map: the same on the worst image.
        scores: of class scores, as a share of the largest, on the worst image.
    """

    map: float
    worst_map: float
    scores: float

    def within(self, allowed: Distance) -> bool:
        """Whether this is as near as rounding leaves one, where ``allowed`` is what rounding did to the network."""
        maps = ((self.map, allowed.map), (self.worst_map, allowed.worst_map))
        near = all(own <= FACTOR * other + SLACK for own, other in maps)  # a NaN is near nothing
        return near and self.scores <= FACTOR * allowed.scores + SCORE_SLACK


@dataclass(frozen=True)
class Agreement:
    """How far a graph's answers are from the network's, over the images that were tried.

    Attributes:
        map: of maps in [0, 1], the largest difference from the network's own on the median image.
        worst_map: the same on the worst image.
        raw: of raw maps, as a share of the image's largest value, on the median image.
        scores: of class scores, as a share of the largest, on the worst image.
        classes: the share of maps that are about the same class.
        images: how many were compared.
        graph: how far the graph is from double precision; None where the network does not run in it.
        rounding: how far the network itself is from it, as its precision rounds it.
        rank: the rank correlation of raw maps with the network's (Spearman), on the median image.
        precision: what the graph computes in, "float32" or "bfloat16".
    """

    map: float
    worst_map: float
    raw: float
    scores: float
    classes: float
    images: int
    graph: Distance | None = None
    rounding: Distance | None = None
    rank: float = 1.0
    precision: str = "float32"

    @property
    def good(self) -> bool:
        """Whether the graph is as near to double precision as the network is; without that, whether it is near it."""
        same = self.classes == 1 and (self.precision == "float32" or self.rank >= RANK)
        if self.graph is None or self.rounding is None:
            return same and Distance(self.map, self.worst_map, self.scores).within(Distance(0, 0, 0))
        return same and self.graph.within(self.rounding)

    def __str__(self) -> str:
        said = (
            f"maps within {self.map:.0e} (worst image {self.worst_map:.0e}), scores within {self.scores:.0e} of the "
            f"largest, {self.classes:.0%} about the same class, on {self.images} images"
        )
        if self.precision != "float32":
            said = f"{self.precision}: rank correlation of maps {self.rank:.3f} (at least {RANK}), {said}"
        if self.graph is None or self.rounding is None:
            return said
        return (
            f"{said}; from double precision {self.graph.worst_map:.0e} at worst, where rounding alone makes "
            f"{self.rounding.worst_map:.0e}"
        )


def compared(
    step: Step,
    engine: Callable[..., dict[str, Tensor]],
    batches: Sequence[Sequence[Tensor]],
    precision: str = "float32",
) -> Agreement:
    """How far an engine's answers, the answer's tensors by name, are from the step's on some batches.

    A batch is ``(images[, classes])``; ``precision`` is what the engine computes in.

    Images on which that precision does not settle which class is predicted say nothing and are left out.

    Raises:
        ModelError: no image is left.
    """
    own = [_answer(step, batch) for batch in batches]
    found = [_like(answer, engine(*batch)) for answer, batch in zip(own, batches, strict=True)]
    unit = None if precision == "float32" else torch.finfo(torch.bfloat16).eps
    nudged = [asked_of(step, _nudged(step.network, seed, unit)) for seed in range(NUDGES)]
    single = [own, *([_answer(each, batch) for batch in batches] for each in nudged)]
    exact = _in_double(step, batches)
    settled = [_same(answer, others) for answer, *others in zip(*single, *([exact] if exact else []), strict=True)]
    if not any(rows.any() for rows in settled):
        raise ModelError("on no image of noise is it settled which class is predicted: say which class is meant")

    def off(answers: Sequence[Answer], others: Sequence[Answer]) -> dict[str, list[float]]:
        return _off(_rows(answers, settled), _rows(others, settled))

    if not any(answer.map.any() for answer in _rows(own, settled)):
        warnings.warn(
            "every map that the graph was held against is zero, so that their agreement says nothing: try another "
            "layer, or another target",
            ZeroMapWarning,
            stacklevel=2,
        )
    from_own = off(found, own)
    same = [_same(a, [b])[rows] for a, b, rows in zip(found, own, settled, strict=True)]
    return Agreement(
        map=median(from_own["map"]),
        worst_map=max(from_own["map"]),
        raw=median(from_own["raw"]),
        scores=max(from_own["scores"]),
        classes=torch.cat(same).double().mean().item(),
        images=len(from_own["map"]),
        graph=_distance([off(found, exact)]) if exact else None,
        rounding=_distance([off(each, exact) for each in single]) if exact else None,
        rank=median(
            rank_correlation(a, b)
            for a, b in zip(_raws(_rows(found, settled)), _raws(_rows(own, settled)), strict=True)
        ),
        precision=precision,
    )


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's, of two maps' cells."""
    ranks = torch.stack([a.flatten(), b.flatten()]).argsort().argsort().double()
    return torch.corrcoef(ranks)[0, 1].item()


def _raws(answers: Sequence[Answer]) -> list[Tensor]:
    """Every image's raw map of the first layer."""
    return [raw for answer in answers for raw in answer.raws[0]]


def _in_double(step: Step, batches: Sequence[Sequence[Tensor]]) -> list[Answer] | None:
    """The answers in double precision; None where the network insists on another."""
    double = asked_of(step, twin(step.network).double())
    try:
        return [_answer(double, (batch[0].double(), *batch[1:])) for batch in batches]
    except RuntimeError:  # torch's kind for tensors of two types where one was expected
        return None


def _answer(step: Step, batch: Sequence[Tensor]) -> Answer:
    """The answer, on the CPU, of a network that may be elsewhere."""
    device = next((each.device for each in step.network.parameters()), batch[0].device)
    answer = step(*(each.to(device) for each in batch))
    return Answer(answer.scores.cpu(), answer.classes.cpu(), tuple(raw.cpu() for raw in answer.raws), answer.map.cpu())


def asked_of(step: Step, network: nn.Module) -> Step:
    """The same question to a copy of the network."""
    sites = tuple(
        site if site.module is None else replace(site, module=module_at(network, site.name)) for site in step.cut.sites
    )
    return Step(replace(step.cut, network=network, sites=sites), step.layouts, step.method, step.target, step.fusion)


def _nudged(network: nn.Module, seed: int, unit: float | None = None) -> nn.Module:
    """A copy whose weights are moved, each by a unit (None: in its last place) of its size up or down, or not."""
    generator = torch.Generator().manual_seed(seed)
    copy = twin(network)
    with torch.no_grad():
        for weight in dict.fromkeys(
            [*copy.parameters(), *copy.buffers()]
        ):  # in their order: the draws are the same each time
            if weight.is_floating_point():
                steps = torch.randint(-1, 2, weight.shape, generator=generator)
                weight.mul_(1 + (unit or torch.finfo(weight.dtype).eps) * steps)
    return copy


def _like(answer: Answer, named: dict[str, Any]) -> Answer:
    """An engine's tensors as an answer of the same shape."""
    raws = tuple(named[name] for name in answer.named if name.startswith("raw"))
    return Answer(named["scores"], named["classes"], raws, named["map"])


def _same(answer: Answer, others: Sequence[Answer]) -> Tensor:
    """Which images ``(batch,)`` all answers give the same classes."""
    rows = [(answer.classes == other.classes).reshape(len(answer.classes), -1).all(dim=1) for other in others]
    return torch.stack(rows).all(dim=0)


def _rows(answers: Sequence[Answer], kept: Sequence[Tensor]) -> list[Answer]:
    """The answers about the images that are kept."""
    return [
        Answer(a.scores[rows], a.classes[rows], tuple(raw[rows] for raw in a.raws), a.map[rows])
        for a, rows in zip(answers, kept, strict=True)
    ]


def _off(answers: Sequence[Answer], others: Sequence[Answer]) -> dict[str, list[float]]:
    """The largest difference on each image: of maps, and of raw maps and scores as a share of the largest value."""
    off: dict[str, list[float]] = {"map": [], "raw": [], "scores": []}
    for answer, other in zip(answers, others, strict=True):
        for (name, got), want in zip(answer.named.items(), other.named.values(), strict=True):
            if name != "classes" and len(got):
                distance, size = (got - want).abs().flatten(1), want.abs().flatten(1)
                share = distance.amax(dim=1) / (1 if name == "map" else size.amax(dim=1).clamp(min=1e-12))
                off[name.partition("_")[0]] += share.tolist()
    return off


def _distance(offs: Sequence[dict[str, list[float]]]) -> Distance:
    maps = [value for off in offs for value in off["map"]]
    return Distance(median(maps), max(maps), max(value for off in offs for value in off["scores"]))
