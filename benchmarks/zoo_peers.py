"""What the peers make of the zoo's networks, each with its own default.

torchcam chooses a layer itself (``GradCAM(model, input_shape=...)``). grad-cam has no default: it is given the last
``Conv2d`` that its own ``find_layer_types_recursive`` finds, and no ``reshape_transform``, as its documentation has it
for networks it says nothing about. Each map is held against Grad-CAM under full autograd at the layer that was chosen,
read as the layer is laid out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.zoo import SECONDS, build, how_to_read, line, logits, reference, within

CLOSE = 0.02
"""How far a map in [0, 1] may be from the reference: grad-cam keeps 8 bits less than that, and resizes twice."""


def record(name: str) -> dict[str, Any]:
    """For each peer what came of a network: "right", "wrong", "blank" (nothing but one value, or NaN) or "error"."""
    found: dict[str, Any] = {"name": name}
    began = time.perf_counter()
    try:
        with within(SECONDS):
            network, images = build(name)
    except Exception as error:
        return found | {"error": f"not built: {line(error)}", "built": False}
    with torch.no_grad():
        index = int(logits(network(images)).sum(dim=0).argmax())
    for peer, run in PEERS.items():
        try:
            with within(SECONDS):
                found[peer] = judged(network, images, index, *run(network, images, index))
        except Exception as error:
            found[peer] = {"came": "error", "said": line(error)}
    return found | {"seconds": round(time.perf_counter() - began, 1)}


def judged(network: nn.Module, images: Tensor, index: int, layer: str, maps: Tensor) -> dict[str, Any]:
    """A peer's maps ``(batch, *any)`` in [0, 1] beside the reference at the same layer."""
    flat = maps.flatten(1).float()
    if not bool(flat.isfinite().all()) or bool((flat.amax(1) == flat.amin(1)).all()):
        return {"came": "blank", "layer": layer}
    axes, _ = how_to_read(network, images, layer, ())
    ((truth, _),) = reference(network, images, {layer: axes}, [index]).values()
    truth = stretched(truth[:, 0].clamp(min=0))
    if truth.ndim == 3 and maps.ndim == 3 and truth.shape != maps.shape:  # a peer that gives maps at the input's size
        truth = nn.functional.interpolate(truth[:, None], maps.shape[1:], mode="bilinear")[:, 0]
        truth = stretched(truth)
    same = truth.shape == maps.shape and float((truth - maps).abs().max()) <= CLOSE
    return {"came": "right" if same else "wrong", "layer": layer, "shape": list(maps.shape[1:])}


def stretched(maps: Tensor) -> Tensor:
    """Each map from its minimum to its maximum, as both peers do it."""
    sides = [1] * (maps.ndim - 1)
    low, high = maps.flatten(1).amin(dim=1).view(-1, *sides), maps.flatten(1).amax(dim=1).view(-1, *sides)
    return (maps - low) / (high - low).clamp(min=1e-30)


def torchcam(network: nn.Module, images: Tensor, index: int) -> tuple[str, Tensor]:
    """torchcam's Grad-CAM at the layer it finds."""
    from torchcam.methods import GradCAM

    with GradCAM(network, input_shape=tuple(images.shape[1:])) as extractor:
        scores = logits(network(images.clone().requires_grad_()))
        maps = extractor([index] * len(images), scores)
        return extractor.target_names[0], maps[0].detach()


def grad_cam(network: nn.Module, images: Tensor, index: int) -> tuple[str, Tensor]:
    """grad-cam's Grad-CAM at the last convolution, as it gives it: at the input's size."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.find_layers import find_layer_types_recursive
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    layers = find_layer_types_recursive(network, [nn.Conv2d])
    if not layers:
        raise LookupError("there is no Conv2d to give it")
    (name,) = (name for name, module in network.named_modules() if module is layers[-1])
    with GradCAM(network, [layers[-1]]) as extractor:
        maps = extractor(images, [ClassifierOutputTarget(index)] * len(images))
    return name, torch.from_numpy(maps)


PEERS: dict[str, Callable[[nn.Module, Tensor, int], tuple[str, Tensor]]] = {"torchcam": torchcam, "grad-cam": grad_cam}
