"""A map that was made elsewhere, held against the network that it is said to explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from limelight.errors import InputError
from limelight.heatmap import place
from limelight.judging import Hearing, Verdict, judge
from limelight.models import Model
from limelight.preparing import Prepare, parts_of, tensors_of
from limelight.preprocessing import Fit, View
from limelight.targets import Target, check

if TYPE_CHECKING:
    from jaxtyping import Float


def verdict(model: Model | nn.Module, image: Any, map: Any, target: Target = None, *, fit: Fit = "crop") -> Verdict:
    """Whether a map is to be believed, whoever made it: supported, weak or contradicted, and why. Eight passes.

    Args:
        model: what :func:`limelight.load` gives, or any ``nn.Module``. It leaves the call as it entered.
        image: one photograph (path, PIL image, uint8 array) for a loaded model, or a float tensor
            ``(1, channels, height, width)``, already preprocessed.
        map: ``(height, width)``, tensor or array: over the photograph where it is of the photograph's size, otherwise
            over what the network sees of it. Negative values speak against the target and are left out.
        target: what the map is said to explain: one target, as :func:`limelight.explain` takes it; None for the
            predicted class.
        fit: how a photograph becomes the network's input.

    Raises:
        InputError: more than one picture, or a map that is not finite or of another shape.
        ModelError, LayerError, TargetError: as for :func:`limelight.explain`.
    """
    network, labels, preprocessing = parts_of(model)
    check(target, 1, labels)
    prepared = Prepare(network, preprocessing, fit)(tensors_of(image, network) or [image])
    if not prepared.inputs.alone:
        raise InputError("a verdict is about a network that takes a picture and nothing else")
    heat = torch.as_tensor(map).detach().float()
    if heat.ndim != 2 or not heat.numel():
        raise InputError(f"a map is (height, width), not {tuple(heat.shape)}")
    hearing = Hearing.of(network, prepared.image, target, labels)
    return judge(hearing, _as_seen(heat, prepared.views[0]) if prepared.views else heat)


def _as_seen(heat: Float[Tensor, "height width"], view: View) -> Float[Tensor, "rows columns"]:
    """A map over a photograph as a map over the network's input; any other as it is."""
    (width, height), (rows, columns) = view.photo_size, view.input_size
    if heat.shape != (height, width):
        return heat
    (x0, y0), (x1, y1) = view.to_input(0.0, 0.0), view.to_input(float(width), float(height))
    return place(heat, (rows, columns), (x0, y0, x1, y1))
