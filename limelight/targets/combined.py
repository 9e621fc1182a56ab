"""Targets made of targets: several, negated, subtracted, on another scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.targets.asked import Asked, Labels, Named, Question, Target, on_logits_only
from limelight.targets.asking import ask, check, part, plain
from limelight.targets.scores import class_index, label_of, logits_of, probabilities_of, scores_of


@dataclass(frozen=True)
class Each(Question):
    """Several targets for every image."""

    targets: tuple[Target, ...]

    def check(self, batch: int, labels: Labels) -> None:
        """Each of them."""
        for target in self.targets:
            check(target, batch, labels)

    def part(self, start: int, stop: int, total: int) -> Each:
        """Of some of the images."""
        return Each(tuple(part(target, start, stop, total) for target in self.targets))

    def ask(self, outputs: Any, labels: Labels, scale: str) -> list[Asked]:
        """All of them, in their order."""
        on_logits_only(self, scale)
        return [asked for target in self.targets for asked in ask(target, outputs, labels)]


@dataclass(frozen=True)
class Scored(Question):
    """A class target measured on another scale than logits."""

    target: Target
    scale: str

    def check(self, batch: int, labels: Labels) -> None:
        """The class's."""
        check(self.target, batch, labels)

    def part(self, start: int, stop: int, total: int) -> Scored:
        """Of some of the images."""
        return Scored(part(self.target, start, stop, total), self.scale)

    def ask(self, outputs: Any, labels: Labels, scale: str) -> list[Asked]:
        """The same on this scale."""
        on_logits_only(self, scale)
        return ask(self.target, outputs, labels, self.scale)


@dataclass(frozen=True)
class Counter(Question):
    """A target turned round: what speaks against it."""

    target: Target

    def check(self, batch: int, labels: Labels) -> None:
        """The target's."""
        check(self.target, batch, labels)

    def part(self, start: int, stop: int, total: int) -> Counter:
        """Of some of the images."""
        return Counter(part(self.target, start, stop, total))

    def ask(self, outputs: Any, labels: Labels, scale: str) -> list[Asked]:
        """The negated score."""
        on_logits_only(self, scale)
        return [_against(asked) for asked in ask(self.target, outputs, labels)]


@dataclass(frozen=True)
class Contrast(Question):
    """One target rather than another: the difference of their scores."""

    target: Target
    other: Target

    def check(self, batch: int, labels: Labels) -> None:
        """Both."""
        check(self.target, batch, labels)
        check(self.other, batch, labels)

    def part(self, start: int, stop: int, total: int) -> Contrast:
        """Of some of the images."""
        return Contrast(part(self.target, start, stop, total), part(self.other, start, stop, total))

    def ask(self, outputs: Any, labels: Labels, scale: str) -> list[Asked]:
        """The difference."""
        on_logits_only(self, scale)
        asked, others = ask(self.target, outputs, labels), ask(self.other, outputs, labels)
        if len(others) == 1:
            others = list(others) * len(asked)
        if len(asked) != len(others):
            raise TargetError(f"contrast(...) has {len(asked)} targets on one side and {len(others)} on the other")
        return [_rather_than(one, other) for one, other in zip(asked, others, strict=True)]


@dataclass(frozen=True)
class Classes(Question):
    """Several classes, named or all above a threshold (see :func:`classes`)."""

    which: tuple[int | str, ...] = ()
    above: float | None = None
    together: bool = False
    independent: bool = False

    def check(self, batch: int, labels: Labels) -> None:
        """Each class that is named."""
        for one in self.which:
            check(one, batch, labels)

    def ask(self, outputs: Any, labels: Labels, scale: str) -> list[Asked]:
        """One target a class, or one for all of them."""
        on_logits_only(self, scale)
        chosen = self._chosen(scores_of(outputs), labels)
        if self.together:
            return [_any_of(chosen, labels)]
        counts = sorted(set(map(len, chosen)))
        if len(counts) > 1:
            raise TargetError(
                f"classes(above={self.above}): the images have between {counts[0]} and {counts[-1]} such classes, and "
                "every image needs as many maps as the others: explain them one by one, or ask for one map of all the "
                "classes with together=True"
            )
        return [found for column in zip(*chosen, strict=True) for found in ask(list(column), outputs, labels)]

    def _chosen(self, logits: Tensor, labels: Labels) -> list[list[int]]:
        """Each image's classes, the most probable first where they were not named."""
        if self.above is None:
            own = [class_index(one, probabilities_of(logits, labels).shape[1], labels) for one in self.which]
            return [own] * len(logits)
        scores = logits.detach().float()
        probabilities = scores.sigmoid() if self.independent else probabilities_of(scores, labels)
        best = probabilities.sort(dim=1, descending=True)
        counts = (best.values > self.above).sum(dim=1).tolist()
        if 0 in counts:
            i = counts.index(0)
            name = label_of(int(best.indices[i, 0]), labels)
            raise TargetError(
                f"classes(above={self.above}): no class of image {i} is above it; the best is {name!r} with "
                f"{float(best.values[i, 0]):.3g}"
            )
        return [order[:count] for order, count in zip(best.indices.tolist(), counts, strict=True)]


def each(*targets: Target) -> Each:
    """Several targets for every image, sharing one forward pass: ``each("tabby", "espresso")``."""
    if not targets:
        raise TargetError("each() needs at least one target")
    return Each(targets)


def classes(
    *which: int | str, above: float | None = None, together: bool = False, independent: bool = False
) -> Classes:
    """Several classes of every image: those named, or all whose probability is above a threshold.

    Args:
        *which: indices or labels.
        above: instead of them, the probability in (0, 1) from which a class counts; the most probable first. Every
            image of a batch must then have as many.
        together: one map for all of them: the score is the logarithm of the sum of their exponentiated logits, which
            is, but for a constant, the logarithm of the probability of *any* of them.
        independent: for a network with many labels: the probabilities are each logit's sigmoid, not the softmax.

    Raises:
        TargetError: neither or both are given; and, when the network has run, if no class is above the threshold.
    """
    if bool(which) == (above is not None):
        raise TargetError('classes(): name classes, as in classes("tabby", 7), or give above=0.5 for all above that')
    if above is not None and not 0 < above < 1:
        raise TargetError(f"classes(above={above}): a probability between 0 and 1")
    return Classes(which, above, together, independent)


def probability(target: Target = None) -> Scored:
    """The class's probability (softmax; sigmoid for a single output), not its logit. None: the predicted class."""
    return Scored(target, "probability")


def log_probability(target: Target = None) -> Scored:
    """The logarithm of the class's probability instead of its logit. None: the predicted class."""
    return Scored(target, "log probability")


def rest(target: Target = None) -> Scored:
    """The class's logit plus the logarithm of its probability: the "ReST" score (Cai 2025, arXiv 2501.06261).

    It has the logit's gradient, which does not fade when the network is sure, and the softmax's, which knows the other
    classes. What grad-cam calls ``ClassifierOutputReST``. None: the predicted class.
    """
    return Scored(target, "ReST")


def counter(target: Target = None) -> Counter:
    """What speaks *against* the target: the negated score (counterfactual maps, Selvaraju et al. 2017, sec. 3.4).

    So it is also what speaks for the *absence* of a class, and, of a detector, for there being no such box.
    """
    return Counter(target)


def contrast(target: Target, other: Target) -> Contrast:
    """Why ``target`` rather than ``other``: the score of the first minus that of the second. None: the predicted class.

    In evaluation mode the difference of two logits is the logarithm of the odds between the two classes.

    Raises:
        TargetError: both are the same.
    """
    target, other = plain(target), plain(other)
    if type(target) is type(other) and target == other:
        raise TargetError(f"contrast({target!r}, {other!r}): a target can't be told from itself; give two")
    return Contrast(target, other)


def _against(asked: Asked) -> Asked:
    return Asked(
        named=tuple(Named(index, f"not {label}", box) for index, label, box in asked.named),
        score=lambda outputs, repeats=1: -asked.score(outputs, repeats),
        probabilities=asked.probabilities,
    )


def _rather_than(asked: Asked, other: Asked) -> Asked:
    return Asked(
        named=tuple(
            Named(None, f"{one.label} rather than {rival.label}", one.box)
            for one, rival in zip(asked.named, other.named, strict=True)
        ),
        score=lambda outputs, repeats=1: asked.score(outputs, repeats) - other.score(outputs, repeats),
    )


def _any_of(chosen: Sequence[Sequence[int]], labels: Labels) -> Asked:
    """One score for each image's classes together."""

    def score(outputs: Any, repeats: int = 1) -> Tensor:
        logits = logits_of(outputs)
        assert logits is not None, "there were class scores when the target was settled"
        rows = zip(logits, list(chosen) * repeats, strict=True)
        return torch.stack([row[list(own)].logsumexp(dim=0) for row, own in rows])

    return Asked(tuple(Named(None, " or ".join(label_of(i, labels) for i in own)) for own in chosen), score)
