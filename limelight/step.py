"""The whole step as one function of tensors: images in, scores, classes, raw maps and the shown map out.

It is what :func:`limelight.explain` does with a batch, less what is said about it in words, so it can be recorded as
one graph, the pull-back included: no number is taken out of a tensor and no branch depends on a value. The cut, the
evidence, the methods and the shown map are the same functions that ``explain`` calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limelight.borrow import borrowed, unwrap
from limelight.cut import AUTO, Cut, LayerSpec
from limelight.errors import LayerError, MethodError, TargetError
from limelight.foreign import opened
from limelight.grid import Layout, default_layer, layout_of, remember
from limelight.heatmap import check_fusion, shown
from limelight.methods.evidence import Evidence
from limelight.methods.registry import Method
from limelight.nested import Inputs, describe
from limelight.targets import Asked, Counter, Labels, Scored, Target, Top, class_index, class_scores, logits_of

AT_HAND = frozenset({"activations", "gradients", "taylor", "scores", "logits", "of_logits", "reask"})
"""What a method may need for its map to be had from one recorded pass."""


@dataclass(frozen=True)
class Given:
    """A target that is said with each batch: a class index an image, where -1 stands for the predicted class."""


GIVEN = Given()


class Answer(NamedTuple):
    """What a step says about a batch; with ``top(k)``, everything but the scores has a dimension of k after the batch.

    Attributes:
        scores: ``(batch, classes)``, the network's own class scores.
        classes: ``(batch[, k])``, the classes that the maps are about.
        raws: one raw, signed map ``(batch[, k], *grid)`` a layer.
        map: ``(batch[, k], height, width)`` in [0, 1], at the input's size.
    """

    scores: Tensor
    classes: Tensor
    raws: tuple[Tensor, ...]
    map: Tensor

    @property
    def named(self) -> dict[str, Tensor]:
        """The tensors by the names that an exported graph's outputs have."""
        raws = {f"raw_{number}": raw for number, raw in enumerate(self.raws, start=1)}
        raws = raws if len(raws) > 1 else {"raw": self.raws[0]}
        return {"scores": self.scores, "classes": self.classes, **raws, "map": self.map}


@dataclass(frozen=True)
class Step:
    """One question to one network, asked in one way; calling it answers for a batch. Build it with :func:`step_of`.

    Attributes:
        cut: the network, and where it is cut.
        layouts: how each layer is laid out, found before, because that can take a walk through the network.
        method: how the maps are made.
        target: None, ``top(k)``, a class index, :data:`GIVEN`, or ``probability``, ``log_probability`` and ``counter``
            of one of those.
        fusion: how the maps of several layers become one.
    """

    cut: Cut
    layouts: tuple[Layout, ...]
    method: Method
    target: Target
    fusion: str = "mean"
    network: nn.Module = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "network", self.cut.network)

    @property
    def asks(self) -> bool:
        """Whether the classes are an input."""
        return _inner(self.target) == GIVEN

    def __call__(self, images: Tensor, classes: Tensor | None = None) -> Answer:
        """Answer for ``images`` (batch, channels, height, width); ``classes`` (batch,) where the target is GIVEN."""
        with borrowed(self.network):
            captured = self.cut.capture(images)
            remember(captured, [at(*each) for each in zip(self.layouts, captured.activations, strict=True)])
            logits = logits_of(captured.outputs)
            if logits is None:
                raise TargetError(
                    f"the outputs are {describe(captured.outputs)}, without class scores (batch, classes): a compiled "
                    "explanation is of a class; wrap the network so that it returns them"
                )
            columns = settle(self.target, logits, classes)
            several = len(columns) > 1
            evidence = [Evidence(self.network, captured, asked, last=not several) for asked in columns]
            maps = list(zip(*(one.raw_maps(self.method) for one in evidence), strict=True))
            raws = tuple(torch.stack(each, dim=1) if several else each[0] for each in maps)
            chosen = [asked.classes for asked in columns if asked.classes is not None]
            return Answer(
                scores=logits.detach(),
                classes=torch.stack(chosen, dim=1) if several else chosen[0],
                raws=tuple(raw.detach() for raw in raws),
                map=shown([raw.detach() for raw in raws], (images.shape[-2], images.shape[-1]), how=self.fusion),
            )


def at(layout: Layout, tensor: Tensor) -> Layout:
    """The layout with the sizes of this tensor, where each of its axes is one thing; otherwise as it was found."""
    if layout.extra or any(len(axis.factors) != 1 for axis in layout.axes):
        return layout
    sizes = {axis.factors[0]: size for axis, size in zip(layout.axes, tensor.shape, strict=True)}
    del sizes["batch"]
    return replace(layout, sizes=tuple(sizes.items()))


def step_of(
    network: nn.Module,
    images: Tensor,
    method: Method,
    layer: LayerSpec | None,
    target: Target,
    labels: Labels = None,
    fusion: str = "mean",
) -> Step:
    """The step for a network on inputs like ``images``, with the layer found and labels looked up.

    Raises:
        LayerError: no such layer, or one that only images could settle.
        MethodError: the method needs more than one pass of the network.
        TargetError: no such class, or a target that is not about a class.
    """
    if missing := [need for need in method.needs if need not in AT_HAND]:
        raise MethodError(
            f"method '{method.name}' needs {', '.join(missing)}, which one recorded pass can't give: a method of "
            "activations and gradients can be compiled, such as gradcam, layercam or hirescam"
        )
    check_fusion(fusion)
    if layer == AUTO:
        raise LayerError(
            "layer 'auto' is settled by images, and this is made before it sees any: name a layer; `limelight layers "
            "NAME --on PHOTO` says which are worth most"
        )
    network = unwrap(opened(network, Inputs((images,))))
    place = layer if layer is not None else method.layer
    cut = Cut.at(network, default_layer(network, images) if place is None else place)
    captured = cut.capture(images)
    layouts = tuple(layout_of(captured, k) for k in range(len(captured.sites)))
    return Step(replace(cut, sites=captured.sites), layouts, method, _with_index(target, labels), fusion)


def _with_index(target: Target, labels: Labels) -> Target:
    """The target with its label as an index.

    Raises:
        TargetError: it is not about one class, or about the k best.
    """
    if isinstance(target, Scored):
        return Scored(_with_index(target.target, labels), target.scale)
    if isinstance(target, Counter):
        return Counter(_with_index(target.target, labels))
    if target is None or isinstance(target, Top | Given):
        return target
    if isinstance(target, int | str):
        return class_index(target, len(labels) if labels else None, labels)
    raise TargetError(
        f"{target!r} can't be compiled: ask for the predicted class (None), a class's index or label, top(k), or GIVEN "
        "for a class that is said with each batch, also inside probability(...) or counter(...)"
    )


def _inner(target: Target) -> Target:
    while isinstance(target, Scored | Counter):
        target = target.target
    return target


def settle(target: Target, logits: Tensor, given: Tensor | None) -> list[Asked]:
    """As :func:`limelight.targets.ask`, of class scores, with tensors in place of names."""
    if isinstance(target, Counter):
        asked = settle(target.target, logits, given)
        return [_asked(one.classes, lambda outputs, own=one: -own.score(outputs)) for one in asked]
    scale = target.scale if isinstance(target, Scored) else "logit"
    return [
        _asked(classes, lambda outputs, own=classes: class_scores(_logits(outputs), own, scale))
        for classes in _classes(_inner(target), logits.detach(), given)
    ]


def _classes(target: Target, logits: Tensor, given: Tensor | None) -> Sequence[Tensor]:
    """The classes ``(batch,)`` that the target is about, best first."""
    if target == GIVEN:
        if given is None:
            raise TargetError("the target is given with each batch: give the classes, one index an image")
        return [torch.where(given < 0, logits.argmax(dim=1), given)]
    if target is None:
        return [logits.argmax(dim=1)]
    if isinstance(target, Top):
        if target.k > logits.shape[1]:
            raise TargetError(f"top({target.k}): the network has only {logits.shape[1]} classes")
        return logits.topk(target.k, dim=1).indices.unbind(dim=1)
    index = class_index(target, logits.shape[1], None)
    return [torch.full_like(logits[:, 0], index, dtype=torch.int64)]


def _asked(classes: Tensor | None, score: Callable[[Any], Tensor]) -> Asked:
    return Asked((), lambda outputs, repeats=1: score(outputs), classes)


def _logits(outputs: Any) -> Tensor:
    logits = logits_of(outputs)
    assert logits is not None, "looked for before the classes were settled"
    return logits
