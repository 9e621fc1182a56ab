"""What is being explained: a question to the network's outputs whose answer is one score for each image.

A question is a small value that can be printed. It is answered in two steps: :func:`ask` settles what every image of
a batch is asked (the predicted class is known only after the forward pass), and each :class:`Asked` then computes
scores from the outputs, differentiably.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.dense import Region, class_maps, commonest, part_of, region_scores
from limelight.errors import TargetError, closest
from limelight.nested import describe, first_tensor, main_output, map_leaves

Labels = Sequence[str] | None
Target = Any  # an index, a label, a callable, one of the values below, or a sequence of those: one for each image


class Named(NamedTuple):
    """What one map explains.

    Attributes:
        index: the class, or None for a question that is not about a class.
        label: the class's name, or the question in words.
    """

    index: int | None  # pyright: ignore[reportIncompatibleMethodOverride]
    label: str | None


@dataclass(frozen=True)
class Top:
    """The ``k`` best classes of each image: as many targets, best first."""

    k: int = 1


@dataclass(frozen=True)
class Each:
    """Several targets for every image."""

    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Scored:
    """A class target measured on another scale than logits."""

    target: Target
    scale: str


@dataclass(frozen=True)
class Counter:
    """A target turned round: what speaks against it."""

    target: Target


@dataclass(frozen=True)
class Contrast:
    """One target rather than another: the difference of their scores."""

    target: Target
    other: Target


def top(k: int) -> Top:
    """The ``k`` classes with the highest scores, best first: ``k`` targets for every image."""
    if k < 1:
        raise TargetError(f"top({k}): ask for at least one class")
    return Top(k)


def each(*targets: Target) -> Each:
    """Several targets for every image, sharing one forward pass: ``each("tabby", "espresso")``."""
    if not targets:
        raise TargetError("each() needs at least one target")
    return Each(targets)


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
    """What speaks *against* the target: the negated score (counterfactual maps, Selvaraju et al. 2017, sec. 3.4)."""
    return Counter(target)


def contrast(target: Target, other: Target) -> Contrast:
    """Why ``target`` rather than ``other``: the score of the first minus that of the second. None: the predicted class.

    In evaluation mode the difference of two logits is the logarithm of the odds between the two classes.

    Raises:
        TargetError: both are the same.
    """
    target, other = _plain(target), _plain(other)
    if type(target) is type(other) and target == other:
        raise TargetError(f"contrast({target!r}, {other!r}): a target can't be told from itself; give two")
    return Contrast(target, other)


@dataclass(frozen=True)
class Asked:
    """One target for each image of a batch, settled.

    Attributes:
        named: what each image is asked, for the reader.
        score: ``(outputs, repeats)`` -> ``(repeats * batch,)``, differentiable; the outputs are of the batch repeated
            as a block ``repeats`` times, as a replay gives them.
        classes: ``(batch,)`` indices, where it is classes that are asked about.
        scale: the scale that their scores are on.
    """

    named: tuple[Named, ...]
    score: Callable[..., Tensor]
    classes: Tensor | None = None
    scale: str = "logit"

    def repeated(self, times: int) -> Asked:
        """The same asked of the batch repeated as a block."""
        return Asked(self.named * times, lambda outputs, repeats=1: self.score(outputs, repeats * times))


def logits_of(outputs: Any) -> Tensor | None:
    """The class scores ``(batch, classes)`` in a network's outputs, or None if there are none.

    They are the outputs themselves, their ``logits`` (attribute or key), or the first of a tuple (auxiliary heads).
    """
    if isinstance(outputs, Mapping) and "logits" not in outputs:
        return None
    outputs = main_output(outputs)
    return outputs if isinstance(outputs, Tensor) and outputs.ndim == 2 else None


def probabilities_of(logits: Tensor) -> Tensor:
    """``(batch, classes)`` logits -> probabilities: softmax, or sigmoid where there is one output."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


def class_index(target: int | str, classes: int | None, labels: Labels) -> int:
    """The index of a class given by index or label.

    Raises:
        TargetError: out of range, unknown, ambiguous, or a label without labels to look it up in.
    """
    if isinstance(target, str):
        return _index_of_label(target, labels)
    index = int(target)
    if classes is not None and not -classes <= index < classes:
        raise TargetError(f"class {index} is out of range: the network has {classes} classes, 0 to {classes - 1}")
    return index % classes if classes else index


def _index_of_label(label: str, labels: Labels) -> int:
    if labels is None:
        raise TargetError(f"no labels to look {label!r} up in: give the class's index, or the network's labels=")
    exact = [i for i, known in enumerate(labels) if known == label]
    matches = exact or [i for i, known in enumerate(labels) if known.casefold() == label.strip().casefold()]
    if not matches:
        raise TargetError(f"no class is called {label!r}.{closest(label, labels)}")
    if len(matches) > 1:
        raise TargetError(f"{len(matches)} classes are called {label!r}: give an index, one of {matches}")
    return matches[0]


def label_of(index: int, labels: Labels) -> str:
    """The class's label, or "class 7" where there is none."""
    return str(labels[index]) if labels and index < len(labels) else f"class {index}"


def check(target: Target, batch: int, labels: Labels = None) -> None:
    """Find what is wrong with a target before the network runs: unknown labels, a list of the wrong length.

    Raises:
        TargetError: as said.
    """
    target = _plain(target)
    if _is_list(target):
        parts = _for_images(target, batch)
    elif isinstance(target, Each):
        parts = list(target.targets)
    elif isinstance(target, Scored | Counter):
        parts = [target.target]
    elif isinstance(target, Contrast):
        parts = [target.target, target.other]
    else:
        if isinstance(target, int | str):
            class_index(target, len(labels) if labels else None, labels)
        elif isinstance(target, Region):
            check(target.target, batch, labels)
        elif target is not None and not isinstance(target, Top) and not callable(target):
            raise TargetError(
                f"{target!r} is no target: give a class index, a label, a callable from outputs to (batch,) scores, "
                "limelight.each(...) or limelight.top(k), or a list with one of these for each image"
            )
        return
    for each_part in parts:
        check(each_part, batch, labels)


def ask(target: Target, outputs: Any, labels: Labels = None) -> list[Asked]:
    """Settle a target for a batch: one :class:`Asked` for each target, each about every image.

    Raises:
        TargetError: the target does not fit the outputs (range, number, no class scores among the outputs).
    """
    logits, target = logits_of(outputs), _plain(target)
    if _is_list(target):
        return _ask_by_image(target, outputs, logits, labels)
    if isinstance(target, Each):
        return [asked for one in target.targets for asked in ask(one, outputs, labels)]
    if isinstance(target, Counter):
        return [_against(asked) for asked in ask(target.target, outputs, labels)]
    if isinstance(target, Contrast):
        return _ask_contrast(ask(target.target, outputs, labels), ask(target.other, outputs, labels))
    scale = "logit"
    if isinstance(target, Scored):
        scale, target = target.scale, _plain(target.target)
        if not (target is None or isinstance(target, int | str | Top)):
            raise TargetError(f"{scale}: takes a class (index, label, top(k) or nothing), not {target!r}")
    if callable(target):
        return [_ask_callable(target, outputs)]  # pyright: ignore[reportArgumentType]: its answer is looked at
    maps = class_maps(outputs) if logits is None else None
    if isinstance(target, Region) or (maps is not None and scale == "logit" and not isinstance(target, Top)):
        return [_ask_region(target if isinstance(target, Region) else Region(target), maps, labels)]
    if logits is None:
        raise TargetError(
            f"the outputs are {describe(outputs)}, without class scores (batch, classes): "
            "give target= a callable from outputs to (batch,) scores"
        )
    if target is None or isinstance(target, Top):
        k = target.k if isinstance(target, Top) else 1
        if k > logits.shape[1]:
            raise TargetError(f"top({k}): the network has only {logits.shape[1]} classes")
        return [_ask_classes(ranked, scale, labels) for ranked in logits.detach().topk(k, dim=1).indices.T]
    index = class_index(target, logits.shape[1], labels)
    return [_ask_classes(torch.full((len(logits),), index, device=logits.device), scale, labels)]


def _ask_region(where: Region, maps: Tensor | None, labels: Labels) -> Asked:
    """A class in a part of the picture: the mean of its logits there."""
    if maps is None:
        raise TargetError("region() asks a network that gives class scores for every pixel, and this one does not")
    part = part_of(where, maps)
    if where.target is None:
        classes = commonest(maps, part)
    else:
        classes = torch.full((len(maps),), class_index(where.target, maps.shape[1], labels), device=maps.device)
    if part is None:
        predicted = maps.detach().argmax(dim=1)
        part = predicted == classes.view(-1, *[1] * (predicted.ndim - 1))
        if missing := (~part.flatten(1).any(dim=1)).nonzero().flatten().tolist():
            name = label_of(int(classes[missing[0]]), labels)
            raise TargetError(
                f"'{name}' is predicted nowhere in image {missing[0]}: ask about a part of the picture, with "
                "limelight.region(class, box=...), mask=... or point=..."
            )
    inside = part

    def score(outputs: Any, repeats: int = 1) -> Tensor:
        own = class_maps(outputs)
        assert own is not None, "they were maps when the target was settled"
        return region_scores(own, classes.repeat(repeats), inside.repeat(repeats, *[1] * (inside.ndim - 1)))

    indices = classes.tolist()
    return Asked(named=tuple(Named(i, f"{label_of(i, labels)} region") for i in indices), score=score)


def class_scores(logits: Tensor, classes: Tensor, scale: str = "logit") -> Tensor:
    """``(batch, classes)`` logits and ``(batch,)`` indices -> ``(batch,)`` scores on the given scale.

    The class is picked by a comparison mask, not ``gather``: its gradient is then a mask too, which every exporter has.
    """
    chosen = torch.arange(logits.shape[1], device=logits.device) == classes[:, None]
    if scale == "probability":
        logits = probabilities_of(logits)
    elif scale == "log probability":
        logits = _log_probabilities(logits)
    elif scale == "ReST":
        logits = logits + _log_probabilities(logits)
    return torch.where(chosen, logits, 0).sum(dim=1)


def _log_probabilities(logits: Tensor) -> Tensor:
    return F.logsigmoid(logits) if logits.shape[1] == 1 else logits.log_softmax(dim=1)


def _ask_classes(classes: Tensor, scale: str, labels: Labels) -> Asked:
    indices = classes.tolist()
    names = [label_of(i, labels) for i in indices]
    prefix = "" if scale == "logit" else f"{scale} of "
    return Asked(
        named=tuple(Named(i, prefix + name) for i, name in zip(indices, names, strict=True)),
        score=_score_classes(classes, scale),
        classes=classes,
        scale=scale,
    )


def _score_classes(classes: Tensor, scale: str) -> Callable[..., Tensor]:
    return lambda outputs, repeats=1: class_scores(_need(logits_of(outputs)), classes.repeat(repeats), scale)


def together(asked: Sequence[Asked]) -> Asked:
    """Several targets as one, of the batch repeated as a block, once for each."""
    named = tuple(name for one in asked for name in one.named)
    classes = [one.classes for one in asked if one.classes is not None]
    if len(classes) == len(asked) and len({one.scale for one in asked}) == 1:
        return Asked(named, _score_classes(torch.cat(classes), asked[0].scale))

    def score(outputs: Any, repeats: int = 1) -> Tensor:
        def of_target(number: int) -> Any:
            def own(leaf: Any) -> Any:
                blocks = isinstance(leaf, Tensor) and leaf.ndim
                return leaf.unflatten(0, (repeats, len(asked), -1))[:, number].flatten(0, 1) if blocks else leaf

            return map_leaves(own, outputs)

        scores = [one.score(of_target(number), repeats).unflatten(0, (repeats, -1)) for number, one in enumerate(asked)]
        return torch.stack(scores, dim=1).flatten()

    return Asked(named, score)


def _ask_callable(function: Callable[[Any], Tensor], outputs: Any) -> Asked:
    name = getattr(function, "__name__", type(function).__name__)
    batch = _batch_of(outputs)

    def score(outputs: Any, repeats: int = 1) -> Tensor:
        scores = function(outputs)
        if not isinstance(scores, Tensor) or scores.ndim != 1 or (batch is not None and len(scores) != batch * repeats):
            raise TargetError(
                f"target {name!r} gave {describe(scores)}: it must give one score an image, shape ({batch},)"
            )
        return scores

    return Asked(named=(Named(None, "score" if name == "<lambda>" else name),) * (batch or 1), score=score)


def _ask_by_image(targets: Any, outputs: Any, logits: Tensor | None, labels: Labels) -> list[Asked]:
    """One target for each image: ask each of the whole batch, keep its own image's answer."""
    batch = _batch_of(outputs)
    targets = _for_images(targets, batch)
    if logits is not None and all(isinstance(one, int | str) for one in targets):  # the common case, at no extra cost
        classes = [class_index(one, logits.shape[1], labels) for one in targets]
        return [_ask_classes(torch.tensor(classes, device=logits.device), "logit", labels)]
    asked = [ask(one, outputs, labels) for one in targets]
    if len(counts := {len(one) for one in asked}) > 1:
        raise TargetError(f"every image needs as many targets as the others, not {sorted(counts)}")
    return [_own_answers(column) for column in zip(*asked, strict=True)]


def _own_answers(column: Sequence[Asked]) -> Asked:
    return Asked(
        named=tuple(one.named[i] for i, one in enumerate(column)),
        score=lambda outputs, repeats=1: torch.stack(
            [one.score(outputs, repeats)[i :: len(column)] for i, one in enumerate(column)], dim=1
        ).flatten(),
    )


def _against(asked: Asked) -> Asked:
    return Asked(
        named=tuple(Named(index, f"not {label}") for index, label in asked.named),
        score=lambda outputs, repeats=1: -asked.score(outputs, repeats),
    )


def _ask_contrast(asked: Sequence[Asked], others: Sequence[Asked]) -> list[Asked]:
    if len(others) == 1:
        others = list(others) * len(asked)
    if len(asked) != len(others):
        raise TargetError(f"contrast(...) has {len(asked)} targets on one side and {len(others)} on the other")
    return [_rather_than(one, other) for one, other in zip(asked, others, strict=True)]


def _rather_than(asked: Asked, other: Asked) -> Asked:
    return Asked(
        named=tuple(
            Named(None, f"{one.label} rather than {rival.label}")
            for one, rival in zip(asked.named, other.named, strict=True)
        ),
        score=lambda outputs, repeats=1: asked.score(outputs, repeats) - other.score(outputs, repeats),
    )


def part(target: Target, start: int, stop: int) -> Target:
    """The target of images ``start`` to ``stop`` of a longer list."""
    return target[start:stop] if _is_list(target) else target


def questions(target: Target, start: int, stop: int) -> list[Target]:
    """What each of the images ``start`` to ``stop`` is asked."""
    return [target[i] if _is_list(target) else target for i in range(start, stop)]


def _is_list(target: Target) -> bool:
    return isinstance(target, list | tuple) or (hasattr(target, "tolist") and target.ndim > 0)


def _plain(target: Target) -> Target:
    """A scalar of numpy or torch as a number of Python's; anything else as it is."""
    return target.item() if hasattr(target, "tolist") and target.ndim == 0 else target


def _for_images(targets: Any, batch: int | None) -> list[Target]:
    targets = targets.tolist() if hasattr(targets, "tolist") else [_plain(one) for one in targets]
    if batch is not None and len(targets) != batch:
        raise TargetError(
            f"{len(targets)} targets for {batch} images: a list holds one target an image; "
            "for several targets of every image write limelight.each(...)"
        )
    return targets


def _batch_of(outputs: Any) -> int | None:
    tensor = logits_of(outputs)
    if tensor is None:
        tensor = outputs if isinstance(outputs, Tensor) else first_tensor(outputs)
    return len(tensor) if tensor is not None and tensor.ndim else None


def _need(logits: Tensor | None) -> Tensor:
    assert logits is not None, "checked when the target was settled"
    return logits
