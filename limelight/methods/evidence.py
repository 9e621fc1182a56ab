"""What a method may ask for, worked out from a captured pass when it is asked, and only then."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from limelight.cut import Captured
from limelight.errors import MethodError
from limelight.grid import as_grid
from limelight.methods.registry import Method
from limelight.targets import Asked, logits_of

PROVIDED = ("activations", "gradients", "class_weights")
"""The names a method's positional parameters can have."""


class Evidence:
    """One target's evidence at every layer of a captured pass.

    Args:
        network: the network the pass was run on.
        captured: the pass.
        asked: the target.
        last: nothing else will be asked of this pass, so its graph need not be kept.
    """

    def __init__(self, network: nn.Module, captured: Captured, asked: Asked, last: bool = True):
        self.network = network
        self.captured = captured
        self.last = last
        with torch.enable_grad():
            self.scores = asked.score(captured.outputs)

    def raw_maps(self, method: Method) -> list[Tensor]:
        """The method's raw map ``(batch, *grid)`` at each layer.

        Raises:
            MethodError: the method asks for something that is not known, or that this network lacks.
        """
        if unknown := [need for need in method.needs if need not in PROVIDED]:
            raise MethodError(f"method '{method.name}' asks for {unknown}; what there is: {', '.join(PROVIDED)}")
        device = self.scores.device.type
        with torch.autocast(device, enabled=False):  # a caller's autocast is for the network, not for the map's sums
            return [
                method(**{need: getattr(self, need)[k] for need in method.needs})
                for k in range(len(self.captured.sites))
            ]

    @cached_property
    def activations(self) -> list[Tensor]:
        """Each layer's activations ``(batch, channels, *grid)``, at least in single precision."""
        return [self._grid(k, tensor.detach()) for k, tensor in enumerate(self.captured.activations)]

    @cached_property
    def gradients(self) -> list[Tensor]:
        """The gradient of the score with respect to each layer's activations, of the same shapes."""
        pulled = self.captured.pull_back(self.scores, keep=not self.last)
        return [self._grid(k, tensor) for k, tensor in enumerate(pulled)]

    @cached_property
    def class_weights(self) -> list[Tensor]:
        """The weight of each channel's mean for the score ``(batch, channels)``, at each layer.

        Raises:
            MethodError: the head is not global average pooling and one linear layer.
        """
        logits = logits_of(self.captured.outputs)
        if logits is None or not self.scores.requires_grad:
            raise MethodError("CAM needs class scores (batch, classes) as the network's outputs; use gradcam")
        # d score / d logits picks the class; through it any score of the logits has its weights, a logit its own row.
        (of_logits,) = torch.autograd.grad(self.scores, logits, torch.ones_like(self.scores), retain_graph=True)
        return [
            of_logits.to(weight.dtype) @ weight
            for weight in (_linear_head(self.network, each, logits, k) for k, each in self._named_activations())
        ]

    def _named_activations(self) -> list[tuple[str, Tensor]]:
        return [(str(site), each) for site, each in zip(self.captured.sites, self.activations, strict=True)]

    def _grid(self, k: int, tensor: Tensor) -> Tensor:
        tensor = as_grid(tensor, self.captured.sites[k])
        return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


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
