"""Two pictures: why a network finds them alike, with a map on either side."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limelight.borrow import borrowed, unwrap
from limelight.cut import LayerSpec
from limelight.errors import InputError
from limelight.explainer import explain
from limelight.explanation import Explanation
from limelight.methods.registry import Method
from limelight.models import Model
from limelight.nested import own_copies
from limelight.preparing import Prepare, parts_of, photos_of, tensors_of
from limelight.preprocessing import Fit
from limelight.targets.similarity import embedding_of, similar
from limelight.towers import text_embedding


class Alike(NamedTuple):
    """Both sides of a pair.

    Attributes:
        first: where the first pictures are like the second; its scores are the cosines.
        second: where the second are like the first.
    """

    first: Explanation
    second: Explanation


def embed(model: Model | nn.Module, what: Any, *, fit: Fit = "crop") -> Tensor:
    """The embedding ``(batch, features)`` of pictures, or of text where the network has a side for it.

    Args:
        model: a network that gives an embedding, such as a timm model with ``num_classes=0``, a CLIP of transformers or
            of open_clip, a DINO.
        what: pictures as for :func:`limelight.explain`; or text's tokens, a tensor of whole numbers ``(texts,
            positions)`` or what a tokenizer of transformers returns.
        fit: how a photograph becomes the network's input.

    Raises:
        InputError, ModelError, TargetError: it can't be read, the network embeds no text, or gives no embedding.
    """
    network, _, preprocessing = parts_of(model)
    tokens = isinstance(what, Tensor) and not what.is_floating_point() and what.ndim == 2
    with borrowed(unwrap(network)), torch.no_grad():
        if tokens or (hasattr(what, "keys") and "input_ids" in what and "pixel_values" not in what):
            return text_embedding(network, what)
        source = tensors_of(what, network)
        source = photos_of(what) if source is None else source
        inputs = Prepare(network, preprocessing, fit)(source[0 : len(source)]).inputs
        args, options = own_copies((inputs.args, inputs.options))
        return embedding_of(network(*args, **options))


def alike(
    model: Model | nn.Module,
    first: Any,
    second: Any,
    *,
    method: str | Method = "gradcam",
    layer: LayerSpec | None = None,
    fit: Fit = "crop",
) -> Alike:
    """Why two pictures are alike to a network: a map on either, for the cosine of their embeddings.

    Args:
        model: as for :func:`embed`.
        first: pictures, as for :func:`limelight.explain`.
        second: as many, each beside its partner.
        method: as for :func:`limelight.explain`.
        layer: as for :func:`limelight.explain`.
        fit: how a photograph becomes the network's input.

    Raises:
        InputError: there are more on one side than on the other; and what :func:`limelight.explain` raises.
    """
    ours, theirs = (embed(model, each, fit=fit) for each in (first, second))
    if len(ours) != len(theirs):
        raise InputError(f"alike(): {len(ours)} pictures on one side and {len(theirs)} on the other: give pairs")
    sides = (first, theirs), (second, ours)
    return Alike(
        *(explain(model, images, similar(other), method, layer, fit=fit) for images, other in sides)  # type: ignore[arg-type]
    )
