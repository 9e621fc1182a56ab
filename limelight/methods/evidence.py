"""What a method may ask for, worked out from a captured pass when it is asked, and only then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from limelight.attention import attention_of
from limelight.cut import INPUT, Captured, Cut, LayerSpec, unreachable
from limelight.errors import MethodError
from limelight.grid import Visit, candidates, layout_of, remember, remembered
from limelight.head import Head, Turn, at_least_single, own_activations
from limelight.methods.registry import Method
from limelight.nested import Inputs, describe, image_of, repeated, with_image
from limelight.targets import Asked, logits_of


class Evidence:
    """One target's evidence at every layer of a captured pass.

    The public attributes are what a method's positional parameters can be named after; each holds one entry a layer.
    Those that are functions hold this object and so are not kept by it: a circle would keep the pass, and all that
    autograd stored for it, until the garbage collector comes by.

    Args:
        network: the network the pass was run on.
        captured: the pass.
        asked: the target.
        last: nothing else will be asked of this pass, so its graph need not be kept.
        turn: whose turn it is, where several targets are asked of the same replays.
    """

    _GRAPH = frozenset({"gradients", "class_weights", "taylor"})
    """What is pulled back through the pass's graph, which is freed after the last."""

    def __init__(
        self, network: nn.Module, captured: Captured, asked: Asked, last: bool = True, turn: Turn | None = None
    ):
        self._network = network
        self._captured = captured
        self._asked = asked
        self._last = last
        self._turn = turn

    @classmethod
    def known(cls) -> list[str]:
        """The names a method's positional parameters can have."""
        return sorted(name for name in vars(cls) if not name.startswith("_") and name not in ("known", "raw_maps"))

    def raw_maps(self, method: Method) -> list[Tensor]:
        """The method's raw map ``(batch, *grid)`` at each layer.

        Raises:
            MethodError: the method asks for something that is not known, or that this network lacks.
        """
        if unknown := [need for need in method.needs if need not in self.known()]:
            raise MethodError(f"method '{method.name}' asks for {unknown}; what there is: {', '.join(self.known())}")
        self._last = self._last and sum(need in self._GRAPH for need in method.needs) < 2
        with torch.autocast(self.scores[0].device.type, enabled=False):  # a caller's autocast is for the network alone
            layers = range(len(self._captured.sites))
            maps = [method.run({need: getattr(self, need)[k] for need in method.needs}) for k in layers]
        for k, raw in enumerate(maps):
            dimensions = len(layout_of(self._captured, k).dimensions)
            if not isinstance(raw, Tensor) or raw.ndim != dimensions + 1 or raw.shape[0] != self._captured.batch:
                shape = tuple(self._captured.activations[k].shape)
                raise MethodError(
                    f"method '{method.name}' gave {describe(raw)} for a layer of shape {shape}: "
                    "a raw map is (batch, *grid), without channels"
                )
        return maps

    def _read(self, tensor: Tensor, k: int) -> Tensor:
        """A gradient in layer ``k``'s own layout as ``(batch, channels, *grid)``, at least in single precision."""
        return at_least_single(layout_of(self._captured, k).read(tensor))

    @cached_property
    def scores(self) -> list[Tensor]:
        """The target's score ``(batch,)``, with its graph; the same for every layer."""
        with torch.enable_grad():
            return [self._asked.score(self._captured.outputs)] * len(self._captured.sites)

    @cached_property
    def activations(self) -> list[Tensor]:
        """Each layer's activations ``(batch, channels, *grid)``, at least in single precision."""
        return [own_activations(self._captured, k) for k in range(len(self._captured.sites))]

    @cached_property
    def gradients(self) -> list[Tensor]:
        """The gradient of the score with respect to each layer's activations, of the same shapes."""
        pulled = self._captured.pull_back(self.scores[0], keep=not self._last)
        return [self._read(each, k) for k, each in enumerate(pulled)]

    @cached_property
    def taylor(self) -> list[tuple[Tensor, Tensor]]:
        """The score's expansion at each layer's activations: the gradient, and the Hessian times the activations.

        Raises:
            MethodError: an operation of the head has no second derivative.
        """
        layers = self._captured.activations
        with torch.enable_grad():
            slopes = self._captured.pull_back(self.scores[0], keep=True, again=True)
            along = [(slope * layer.detach()).sum() for slope, layer in zip(slopes, layers, strict=True)]
        try:
            curvatures = [_derivative(one, layer) for one, layer in zip(along, layers, strict=True)]
        except RuntimeError as error:
            if "is not implemented" not in str(error):
                raise
            raise MethodError(f"this needs second derivatives, and {error}; use gradcam or hirescam") from None
        terms = enumerate(zip(slopes, curvatures, strict=True))
        return [(self._read(slope.detach(), k), self._read(curvature, k)) for k, (slope, curvature) in terms]

    @cached_property
    def head(self) -> list[Head]:
        """The network from each layer on: altered activations -> scores."""
        return [Head(self._captured, k, self._asked, turn=self._turn) for k in range(len(self._captured.sites))]

    @cached_property
    def images(self) -> list[Tensor]:
        """What the network was run on ``(batch, channels, height, width)``."""
        return [at_least_single(self._image)] * len(self._captured.sites)

    @property
    def _image(self) -> Tensor:
        image = image_of(self._captured.inputs)
        assert image is not None, "a layer with a grid came from an image"
        return image.detach()

    @cached_property
    def whole(self) -> list[Head]:
        """The whole network: altered images -> scores."""
        inputs, cut = self._captured.inputs, Cut.at(self._network, INPUT)
        pass_ = Captured(cut, inputs, (self._image,), self._captured.outputs, (1,), self._captured.autocast)
        return [Head(pass_, 0, self._asked, turn=self._turn)] * len(self._captured.sites)

    @property
    def recut(self) -> list[Callable[[LayerSpec], Evidence]]:
        """A function ``layers -> Evidence``: the same images and target in a new pass, cut elsewhere."""

        def recut(layer: LayerSpec) -> Evidence:
            inputs, options = self._captured.inputs
            with self._captured.precision():
                captured = Cut.at(self._network, layer).capture(*inputs, **options)
            return Evidence(self._network, captured, self._asked)

        return [recut] * len(self._captured.sites)

    @property
    def under(self) -> list[Callable[..., Evidence]]:
        """A function ``(watch, layer=..., images=...) -> Evidence``: the same target in a new pass, watched.

        What the context ``watch`` changes while the pass runs (:mod:`limelight.rules.watch`) holds when it is pulled
        back. At the same layer and on the same images unless told otherwise.
        """

        def under(
            k: int, watch: AbstractContextManager[Any], layer: LayerSpec | None = None, images: Tensor | None = None
        ) -> Evidence:
            given, whole = self._captured.inputs, self._captured.cut
            if images is not None and not Inputs(*given).alone:  # the other inputs are the whole batch's
                images = images.expand(len(self._image), *images.shape[1:])
            cut = Cut(whole.network, (whole.sites[k],)) if layer is None else Cut.at(self._network, layer)
            inputs, options = given if images is None else with_image(given, images.to(self._image.dtype))
            with self._captured.precision(), watch:
                captured = cut.capture(*inputs, **options)
            return Evidence(self._network, captured, self._asked)

        return [partial(under, k) for k in range(len(self._captured.sites))]

    @property
    def watched(self) -> list[Callable[..., tuple[Any, Evidence]]]:
        """A function ``watch -> (watching, Evidence)``: the pass at the input, run under what ``watch`` makes.

        It is this pass, where the method's registration had it run so, and another one otherwise.
        """

        def watched(
            watch: Callable[[nn.Module, Inputs], AbstractContextManager[Any]],
        ) -> tuple[Any, Evidence]:
            captured = self._captured
            if watch not in captured.remembered:
                watching = watch(self._network, Inputs(*captured.inputs))
                with captured.precision(), watching:
                    captured = Cut.at(self._network, INPUT).capture(*captured.inputs[0], **captured.inputs[1])
                return watching, Evidence(self._network, captured, self._asked)
            return captured.remembered[watch], Evidence(self._network, captured, self._asked, self._last)

        return [watched] * len(self._captured.sites)

    @property
    def backward(self) -> list[Callable[[Callable[[Any], AbstractContextManager[Any]]], Tensor]]:
        """A function ``change -> gradients``: pulled back to the layer while ``change`` is in force on the graph.

        ``change(node)`` is a context, given the node of autograd's graph that ends in the score.
        """

        def backward(k: int, change: Callable[[Any], AbstractContextManager[Any]]) -> Tensor:
            if not self.scores[k].requires_grad:
                raise unreachable(self._captured.sites[k])
            with change(self.scores[k].grad_fn):
                pulled = self._captured.pull_back(self.scores[k], keep=True)
            return self._read(pulled[k], k)

        return [partial(backward, k) for k in range(len(self._captured.sites))]

    @property
    def rerun(self) -> list[Callable[[Callable[[Tensor], Tensor], int], Iterator[Evidence]]]:
        """A function ``(alter, count)``: the same target at the same layer of altered images, in new passes.

        ``alter(indices) -> (few, batch, channels, height, width)`` is called for a few at a time, and each time there
        is an Evidence with one layer, of ``few * batch`` images, block after block.
        """

        def rerun(k: int, alter: Callable[[Tensor], Tensor], count: int) -> Iterator[Evidence]:
            cut = Cut(self._captured.cut.network, (self._captured.sites[k],))

            def look(few: Tensor) -> Evidence:
                altered = alter(few).flatten(0, 1).to(self._image.dtype)
                inputs, options = with_image(repeated(self._captured.inputs, len(altered)), altered)
                with self._captured.precision():
                    captured = cut.capture(*inputs, **options)
                return Evidence(self._network, captured, self._asked.repeated(len(few)))

            return self.whole[k].in_parts(look, count)

        return [partial(rerun, k) for k in range(len(self._captured.sites))]

    @property
    def reask(self) -> list[Callable[[Tensor], Evidence]]:
        """A function ``weights -> Evidence`` with one layer: the same pass, asked for another sum of the class scores.

        The weights are ``(batch, classes)``.
        """

        def reask(k: int, weights: Tensor) -> Evidence:
            def score(outputs: Any, repeats: int = 1) -> Tensor:
                logits = logits_of(outputs)
                assert logits is not None, "the weights were made for class scores"
                return (logits * weights.to(logits.dtype).repeat(repeats, 1)).sum(dim=1)

            whole, site = self._captured, self._captured.sites[k]
            alone = replace(
                whole,
                cut=Cut(whole.cut.network, (site,)),
                activations=(whole.activations[k],),
                calls=(whole.calls[k],),
                remembered={},
            )
            remember(alone, [layout_of(whole, k)])
            return Evidence(self._network, alone, Asked(self._asked.named, score), last=False)

        return [partial(reask, k) for k in range(len(self._captured.sites))]

    @cached_property
    def attention(self) -> list[tuple[Tensor, ...]]:
        """Every block's attention ``(batch, heads, tokens, tokens)``, by one more pass; the same for every layer.

        Raises:
            MethodError: the network has no attention between the patches of the whole picture.
        """
        return [attention_of(self._captured).weights] * len(self._captured.sites)

    @cached_property
    def attention_gradients(self) -> list[tuple[Tensor, ...]]:
        """The gradient of the score with respect to every block's attention, of the same shapes."""
        return [attention_of(self._captured).gradients(self._asked)] * len(self._captured.sites)

    @cached_property
    def block_gradients(self) -> list[tuple[Tensor, ...]]:
        """The gradient, to every block's attention, of the score that the block's own tokens would get."""
        return [attention_of(self._captured).of_each_block(self._asked)] * len(self._captured.sites)

    @cached_property
    def readout(self) -> list[Tensor]:
        """From which tokens the score is read ``(batch, tokens)``, in shares: the class token, or all."""
        return [attention_of(self._captured).readout(self._asked)] * len(self._captured.sites)

    @cached_property
    def patches(self) -> list[Callable[[Tensor], Tensor]]:
        """A function from tokens' values ``(batch, tokens)`` to those of the patches ``(batch, rows, columns)``."""
        return [attention_of(self._captured).patches] * len(self._captured.sites)

    @cached_property
    def stages(self) -> list[list[str]]:
        """The last layer of each resolution up to each layer, finest first."""
        inputs, options = self._captured.inputs
        visits = candidates(remembered(self._network, inputs, options))
        return [_stages(visits, str(site)) for site in self._captured.sites]

    @cached_property
    def logits(self) -> list[Tensor]:
        """The class scores ``(batch, classes)``, without a graph; the same for every layer.

        Raises:
            MethodError: the network's outputs hold none.
        """
        return [at_least_single(self._class_scores.detach())] * len(self._captured.sites)

    @cached_property
    def of_logits(self) -> list[Tensor]:
        """The gradient of the score with respect to the class scores ``(batch, classes)``: it picks the class.

        Raises:
            MethodError: the network's outputs hold no class scores, or the score does not depend on them.
        """
        logits, score = self._class_scores, self.scores[0]
        if not score.requires_grad:
            raise MethodError("the score does not depend on the class scores by a gradient; use gradcam")
        return [at_least_single(_derivative(score, logits))] * len(self._captured.sites)

    @property
    def _class_scores(self) -> Tensor:
        logits = logits_of(self._captured.outputs)
        if logits is None:
            raise MethodError("this method needs class scores (batch, classes) as the network's outputs; use gradcam")
        return logits

    @cached_property
    def class_weights(self) -> list[Tensor]:
        """The weight of each channel's mean for the score ``(batch, channels)``, at each layer.

        Raises:
            MethodError: the head is not global average pooling and one linear layer.
        """
        logits, of_logits = self._class_scores, self.of_logits[0]
        # Through the score's gradient any score of the logits has its weights; a logit has its own row.
        named = zip(self._captured.sites, self.activations, strict=True)
        weights = [_linear_head(self._network, activations, logits, str(site)) for site, activations in named]
        return [of_logits.to(weight.dtype) @ weight for weight in weights]


def _derivative(of: Tensor, by: Tensor) -> Tensor:
    """Zero where the one does not depend on the other."""
    if not of.requires_grad:
        return torch.zeros_like(by)
    ones = torch.ones_like(of)
    return torch.autograd.grad(of, by, ones, retain_graph=True, allow_unused=True, materialize_grads=True)[0]


def _stages(visits: list[tuple[str, Visit]], layer: str) -> list[str]:
    names = [name for name, _ in visits]
    upto = visits[: names.index(layer) + 1] if layer in names else visits
    return list({visit.grid: name for name, visit in upto}.values())


def _linear_head(network: nn.Module, activations: Tensor, logits: Tensor, layer: str) -> Tensor:
    """The weight ``(classes, channels)`` of the head, shown to be pooling and one linear layer on this very input."""
    pooled = activations.flatten(2).mean(dim=2)
    tolerance = 1e-2 if logits.dtype in (torch.float16, torch.bfloat16) else 1e-3
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if not isinstance(module, nn.Linear | nn.Conv2d) or not isinstance(weight, Tensor):
            continue
        if weight.numel() != logits.shape[1] * pooled.shape[1] or len(weight) != logits.shape[1]:
            continue
        weight = weight.detach().flatten(1).to(pooled.dtype)
        bias = 0 if module.bias is None else module.bias.detach().to(pooled.dtype)
        if torch.allclose(pooled @ weight.T + bias, logits.detach().to(pooled.dtype), rtol=tolerance, atol=tolerance):
            return weight
    raise MethodError(
        f"CAM needs a head of global average pooling and one linear layer right after the layer, and '{layer}' of this "
        f"{type(network).__name__} has none; use gradcam, which is CAM's generalisation to any head"
    )
