"""Networks of torchvision: classifiers, segmenters, detectors.

``resnet50.IMAGENET1K_V1`` chooses among several published weights.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import nn

from limelight.errors import ModelError
from limelight.models.architecture import Architecture, State, as_is, fetched
from limelight.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

SOURCE = "torchvision"
SIDE = 800
"""A detector's input, to which most resize the shorter side."""
SIDES = {"ssd300": 300, "ssdlite320": 320, "large_320": 320}


def names() -> list[str]:
    """All classification, segmentation and detection networks, once for each of their published weights."""
    return [f"{name}.{entry.name}" for name in _kinds() for entry in _entries(name)]


def _kinds() -> dict[str, str]:
    """The builders, and what their networks are for."""
    from torchvision import models

    modules = {"classification": models, "segmentation": models.segmentation, "detection": models.detection}
    return {name: kind for kind, module in modules.items() for name in models.list_models(module=module)}


def find(name: str) -> Architecture | None:
    """The network of this name, if there is one; without a tag, the one torchvision prefers."""
    from torchvision import models

    builder, dot, tag = name.partition(".")
    if builder not in _kinds():
        return None
    wanted = tag if dot else models.get_model_weights(builder)["DEFAULT"].name
    return next((_architecture(builder, entry) for entry in _entries(builder) if entry.name == wanted), None)


def _entries(builder: str) -> list[WeightsEnum]:
    """Published weights of a whole classifier; torchvision also has some of a trunk alone."""
    from torchvision.models import get_model_weights

    return [entry for entry in get_model_weights(builder) if entry.meta["categories"]]


def _architecture(builder: str, entry: WeightsEnum) -> Architecture:
    from torchvision.models import get_model

    return Architecture(
        f"{builder}.{entry.name}",
        SOURCE,
        weights=entry.name,
        licence=entry.meta.get("license"),
        num_classes=len(entry.meta["categories"]),
        origin=entry.url,
        preprocessing=lambda: _preprocessing(entry),
        labels=lambda: tuple(entry.meta["categories"]),
        on_this_machine=lambda: fetched(entry.url).is_file(),
        published=lambda: get_model(builder, weights=entry),
        build=lambda num_classes, channels: _build(builder, entry, num_classes, channels),
        translate=_translate_densenet if builder.startswith("densenet") else as_is,
    )


def _preprocessing(entry: WeightsEnum) -> Preprocessing:
    transform = entry.transforms()
    if not hasattr(transform, "mean"):  # a detector scales and resizes for itself; a border keeps the proportions
        side = next((side for name, side in SIDES.items() if name in entry.url), SIDE)
        return Preprocessing((side, side), (0.0,) * 3, (1.0,) * 3, crop=1.0, crop_mode="border")
    if not hasattr(transform, "crop_size"):
        (side,) = transform.resize_size
        mean, std = tuple(transform.mean), tuple(transform.std)
        return Preprocessing((side, side), mean, std, transform.interpolation.value, 1.0)
    (crop,), (resize,) = transform.crop_size, transform.resize_size
    mean, std = tuple(transform.mean), tuple(transform.std)
    return Preprocessing((crop, crop), mean, std, transform.interpolation.value, crop / resize)


def _build(builder: str, entry: WeightsEnum, num_classes: int, channels: int) -> nn.Module:
    from torchvision.models import get_model

    if channels != 3:
        raise ModelError(f"torchvision's {builder} takes RGB pictures, not {channels} channel(s).")
    if _kinds()[builder] != "classification":
        return get_model(builder, weights=None, weights_backbone=None, num_classes=num_classes)
    return get_model(builder, weights=None, num_classes=num_classes, **_as_published(builder, entry))


def _as_published(builder: str, entry: WeightsEnum) -> dict[str, Any]:
    """What torchvision changes in a network for its published weights; a file of weights needs it as well."""
    if builder in ("googlenet", "inception_v3"):
        return {"transform_input": True, "init_weights": False}
    if builder.startswith("vit_"):
        return {"image_size": _preprocessing(entry).size[0]}
    return {}


def _translate_densenet(state: State, network: nn.Module) -> State:
    # The published files have a dot in "norm.1" and "conv.2", which a module's name may no longer have.
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.(?=\d)", r"\1", key): value for key, value in state.items()}
