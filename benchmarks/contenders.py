"""What is measured: a plain forward pass, limelight, and the peers, each as its users call it.

A contender is a context manager around ``(network, layer, images, target)``: what it sets up once is not measured, the
callable it gives is.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import limelight as ll

Contender = Callable[[nn.Module, str, Tensor, int], AbstractContextManager[Callable[[], Any]]]

NETWORKS = (
    "resnet50",
    "vgg16",
    "mobilenet_v3_large",
    "densenet121",
    "convnext_tiny",
    "efficientnet_b0",
    "regnet_y_400mf",
    "inception_v3",
)


@contextmanager
def plain(network: nn.Module, layer: str, images: Tensor, target: int) -> Iterator[Callable[[], Any]]:
    """The yardstick: the network's scores and nothing else."""

    def run() -> Tensor:
        with torch.inference_mode():
            return network(images)

    yield run


@contextmanager
def limelight(network: nn.Module, layer: str, images: Tensor, target: int) -> Iterator[Callable[[], Any]]:
    """The core: scores, probabilities, predictions and raw maps. The layer is its own default, which is ``layer``."""
    yield lambda: ll.explain(network, images, target).raw


@contextmanager
def grad_cam(network: nn.Module, layer: str, images: Tensor, target: int) -> Iterator[Callable[[], Any]]:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets: list[Any] = [ClassifierOutputTarget(target) for _ in images]
    with GradCAM(network, [network.get_submodule(layer)]) as cam:
        yield lambda: cam(images, targets)
    network.zero_grad()  # it leaves a gradient with every parameter


@contextmanager
def torchcam(network: nn.Module, layer: str, images: Tensor, target: int) -> Iterator[Callable[[], Any]]:
    from torchcam.methods import GradCAM

    with GradCAM(network, layer) as extractor:
        yield lambda: extractor(target, network(images))


@contextmanager
def captum(network: nn.Module, layer: str, images: Tensor, target: int) -> Iterator[Callable[[], Any]]:
    from captum.attr import LayerGradCam

    attribution = LayerGradCam(network, network.get_submodule(layer))
    yield lambda: attribution.attribute(images, target, relu_attributions=True)


@contextmanager
def full_backward(network: nn.Module, layer: str, images: Tensor, target: int) -> Iterator[Callable[[], Any]]:
    """What tutorials and tf-keras-vis do: hooks at the layer, and back through the whole network, its weights too."""
    seen: dict[str, Tensor] = {}

    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        seen["activations"] = output
        output.register_hook(lambda gradient: seen.update(gradients=gradient))

    def run() -> Tensor:
        network.zero_grad()
        network(images)[:, target].sum().backward()
        weights = seen["gradients"].mean(dim=(2, 3), keepdim=True)
        return (weights * seen["activations"]).sum(dim=1).relu().detach()

    hook = network.get_submodule(layer).register_forward_hook(keep)
    try:
        yield run
    finally:
        hook.remove()
        network.zero_grad()


CONTENDERS: dict[str, Contender] = {
    "plain": plain,
    "limelight": limelight,
    "grad-cam": grad_cam,
    "torchcam": torchcam,
    "captum": captum,
    "full back-propagation": full_backward,
}
"""By the name of the distribution, where there is one; the first is what the others are measured against."""


def question(network: nn.Module, images: Tensor) -> tuple[str, int]:
    """What every contender is asked: limelight's default layer, and a class."""
    seen = ll.explain(network, images[:1])
    return seen.layer, seen.predictions[0][0].index


def present() -> list[str]:
    """The contenders that are installed here."""
    modules = {"grad-cam": "pytorch_grad_cam", "torchcam": "torchcam", "captum": "captum"}
    return [name for name in CONTENDERS if name not in modules or find_spec(modules[name])]


def machine() -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: version(name) for name in present() if name not in ("plain", "full back-propagation")},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def describe(facts: dict[str, Any]) -> str:
    """The machine in one line."""
    return ", ".join(f"{key} {value}" for key, value in facts.items() if value is not None)
