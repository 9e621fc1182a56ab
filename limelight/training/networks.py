"""A network to train: by name, with a head for the classes at hand, and where that head begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from limelight.errors import ModelError
from limelight.models import Model, load
from limelight.models.catalogue import find
from limelight.models.loading import is_path

DEFAULT = "efficientnet_lite0"
MODES: dict[str, str] = {"crop": "center", "whole": "squash", "pad": "border"}
"""The crop mode of a preprocessing that always fits pictures so."""


def start(
    name: str,
    weights: str,
    classes: Sequence[str],
    size: int | None = None,
    device: torch.device | str = "cpu",
    fit: str | None = None,
) -> Model:
    """The network ``name`` (or a checkpoint) with ``weights`` and a new head for ``classes``.

    ``weights`` are "default" (the published ones; random where none are), "random" or a file. ``size`` is the side of
    its input, instead of the one its weights were made for, ``fit`` ("crop", "whole", "pad") how pictures are fitted
    into it, instead of the way they were for its weights. A crop is of all that a square holds of a picture: the margin
    that ImageNet's evaluation cuts away may hold what matters here. Raises ``ModelError`` for a network that can't be
    had, or that doesn't take this size.
    """
    if weights == "default" and not is_path(name) and find(name).weights is None:
        weights = "random"
    model = load(name, weights, num_classes=len(classes), labels=classes, device=device)
    shown = model.preprocessing
    if shown is None:
        raise ModelError(f"{name} says nothing of the pictures it takes, so it can't be trained on any.")
    shown = replace(
        shown,
        crop=max(shown.crop, 1.0),
        crop_mode=MODES[fit] if fit else shown.crop_mode,
        size=(size, size) if size else shown.size,
    )
    model = replace(model, preprocessing=shown)
    module = head(model)[1]
    module.reset_parameters()  # also where the weights happen to have as many classes
    return model


def published_head(name: str, weights: str) -> Tensor | None:
    """(classes, features) The head that the weights came with, if it is linear and tells most of the features apart."""
    if weights == "default" and not is_path(name) and find(name).weights is None:
        return None
    module = head(load(name, weights))[1]
    known = module.weight.detach()
    return known if known.ndim == 2 and 2 * known.shape[0] >= known.shape[1] else None


def example(model: Model, count: int = 1) -> Tensor:
    """Inputs (count, channels, *size) of nothing, of the kind the network takes."""
    assert model.preprocessing is not None
    parameter = next(model.network.parameters())
    shape = (count, model.preprocessing.channels, *model.preprocessing.size)
    return torch.zeros(shape, device=parameter.device, dtype=parameter.dtype)


def head(model: Model) -> tuple[str, Any]:
    """The name and the module of the last linear map (Linear or Conv2d) to as many outputs as there are classes.

    Raises ``ModelError`` where the network has none, or can't be run on its input's size.
    """
    ran: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
        for name, module in model.network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and _outputs(module) == model.num_classes
    ]
    try:
        with torch.inference_mode():
            model.network.eval()(example(model))
    except (RuntimeError, AssertionError, ValueError) as error:
        height, width = model.preprocessing.size if model.preprocessing else ("", "")
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{model.name} can't be run on pictures of {height}x{width}: {said}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not ran:
        raise ModelError(f"{model.name} has no linear head for {model.num_classes} classes that could be trained.")
    return ran[-1], model.network.get_submodule(ran[-1])


def _outputs(module: nn.Linear | nn.Conv2d) -> int:
    return module.out_features if isinstance(module, nn.Linear) else module.out_channels
