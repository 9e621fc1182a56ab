"""What can be asked for, as JSON-ready facts: methods, networks, and the layers of a network."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from limelight import models, usefulness
from limelight.foreign import opened
from limelight.methods import REGISTRY
from limelight.nested import Inputs
from limelight.preparing import channels_of

MEASURES = ("alive", "concentration", "stability", "deletion")
FACTS = ("name", "title", "needs", "per_target", "discriminative", "signed", "passes", "source")


def methods() -> list[dict[str, Any]]:
    """Every method, with what it needs and costs, and how much of its map was found on the photograph asked about."""
    return [
        {fact: getattr(method, fact) for fact in FACTS}
        | {"on_mosaics": None if method.on_mosaics is None else method.on_mosaics._asdict()}
        for method in REGISTRY.values()
    ]


def networks(filter: str = "") -> list[dict[str, Any]]:
    """The networks that can be loaded by name, those first whose weights are on this machine."""
    found = [asdict(each) for each in models.available(filter)]
    return sorted(found, key=lambda each: not each["on_this_machine"])


def layers(
    loaded: models.Model, photo: str | None = None, target: Any = None, *, every: bool = False
) -> dict[str, Any]:
    """The layers of a network that have a grid, in the order they run, for its own size of input.

    With a photograph they are measured on it (:func:`limelight.layers`); without one noise shows what their cells see.
    What is measured, is of the main ones, or of ``every``.

    Raises:
        LayerError: no layer has a grid.
        InputError: the photograph can't be read.
    """
    preprocessing = loaded.preprocessing
    size = preprocessing.size if preprocessing else (224, 224)
    if photo is not None:
        found = usefulness.layers(loaded, photo, target, every=every)
        why, best = found.why, found.best
    else:
        noise = torch.randn(
            1, preprocessing.channels if preprocessing else channels_of(loaded.network), *size, generator=_random()
        )
        like = next((each for each in loaded.network.parameters() if each.is_floating_point()), noise)
        inputs = Inputs((noise.to(like),))
        network = opened(loaded.network, inputs)
        found = usefulness.seen(network, inputs, every=every)
        why, best = usefulness.why_default(network, inputs, found), None
    return {
        "model": loaded.name,
        "input": list(size),
        "photo": photo,
        "why": why,
        "best": best,
        "layers": [
            {
                "layer": layer.name,
                "type": layer.kind,
                "channels": layer.channels,
                "grid": list(layer.grid),
                "layout": layer.layout,
                "main": layer.main,
                "default": layer.default,
                "receptive_field": layer.receptive_field,
                **({} if photo is None else {fact: getattr(layer, fact) for fact in MEASURES}),
            }
            for layer in found
        ],
    }


def _random() -> torch.Generator:
    return torch.Generator().manual_seed(0)
