"""What a method may ask for, worked out from a captured pass when it is asked, and only then."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from limelight.cut import INPUT, Captured, Cut, LayerSpec
from limelight.errors import MethodError
from limelight.grid import as_grid
from limelight.head import Head, at_least_single, own_activations
from limelight.methods.registry import Method
from limelight.targets import Asked, logits_of


class Evidence:
    """One target's evidence at every layer of a captured pass.

    The public attributes are what a method's positional parameters can be named after; each holds one entry a layer.

    Args:
        network: the network the pass was run on.
        captured: the pass.
        asked: the target.
        last: nothing else will be asked of this pass, so its graph need not be kept.
    """

    def __init__(self, network: nn.Module, captured: Captured, asked: Asked, last: bool = True):
        self._network = network
        self._captured = captured
        self._asked = asked
        self._last = last

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
        with torch.autocast(self.scores[0].device.type, enabled=False):  # a caller's autocast is for the network alone
            layers = range(len(self._captured.sites))
            return [method.run({need: getattr(self, need)[k] for need in method.needs}) for k in layers]

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
        return [at_least_single(as_grid(each, site)) for each, site in zip(pulled, self._captured.sites, strict=True)]

    @cached_property
    def head(self) -> list[Head]:
        """The network from each layer on: altered activations -> scores."""
        return [Head(self._captured, k, self._asked) for k in range(len(self._captured.sites))]

    @cached_property
    def images(self) -> list[Tensor]:
        """What the network was run on ``(batch, channels, height, width)``."""
        inputs, _ = self._captured.inputs
        return [at_least_single(inputs[0].detach())] * len(self._captured.sites)

    @cached_property
    def whole(self) -> list[Head]:
        """The whole network: altered images -> scores."""
        (inputs, _), cut = self._captured.inputs, Cut.at(self._network, INPUT)
        pass_ = Captured(cut, self._captured.inputs, (inputs[0].detach(),), self._captured.outputs, (1,))
        return [Head(pass_, 0, self._asked)] * len(self._captured.sites)

    @cached_property
    def recut(self) -> list[Callable[[LayerSpec], Evidence]]:
        """A function ``layers -> Evidence``: the same images and target in a new pass, cut elsewhere."""

        def recut(layer: LayerSpec) -> Evidence:
            inputs, options = self._captured.inputs
            captured = Cut.at(self._network, layer).capture(*inputs, **options)
            return Evidence(self._network, captured, self._asked)

        return [recut] * len(self._captured.sites)

    @cached_property
    def class_weights(self) -> list[Tensor]:
        """The weight of each channel's mean for the score ``(batch, channels)``, at each layer.

        Raises:
            MethodError: the head is not global average pooling and one linear layer.
        """
        logits, score = logits_of(self._captured.outputs), self.scores[0]
        if logits is None or not score.requires_grad:
            raise MethodError("CAM needs class scores (batch, classes) as the network's outputs; use gradcam")
        # d score / d logits picks the class; through it any score of the logits has its weights, a logit its own row.
        (of_logits,) = torch.autograd.grad(score, logits, torch.ones_like(score), retain_graph=True)
        named = zip(self._captured.sites, self.activations, strict=True)
        weights = [_linear_head(self._network, activations, logits, str(site)) for site, activations in named]
        return [of_logits.to(weight.dtype) @ weight for weight in weights]


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
