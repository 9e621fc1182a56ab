"""What can be asked for, as JSON-ready facts: methods, networks, and the layers of a network."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from limelight import models, usefulness
from limelight.methods import REGISTRY
from limelight.nested import Inputs

MEASURES = ("receptive_field", "alive", "concentration", "stability", "deletion")
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
    model: str,
    size: int | None = None,
    photo: str | None = None,
    target: Any = None,
    *,
    weights: str = "default",
    every: bool = False,
) -> dict[str, Any]:
    """The layers of a network that have a grid, in the order they run, for its own size of input or another.

    With a photograph they are measured on it (:func:`limelight.layers`), which needs the network's weights.

    Raises:
        ModelError: there is no such network.
        LayerError: no layer has a grid.
        InputError: the photograph can't be read.
    """
    if photo is not None:
        loaded = models.load(model, weights=weights)
        found = usefulness.layers(loaded, photo, target, every=every)
        size_of = loaded.preprocessing.size if loaded.preprocessing else None
        why, best = found.why, found.best
    else:
        loaded = models.load(model, weights="default" if Path(model).exists() else "random")  # nothing is fetched
        preprocessing = loaded.preprocessing
        size_of = (size, size) if size else preprocessing.size if preprocessing else (224, 224)
        inputs = Inputs((torch.zeros(1, preprocessing.channels if preprocessing else 3, *size_of),))
        found = usefulness.listed(loaded.network, inputs)
        why, best = usefulness.why_default(loaded.network, inputs, found), None
    return {
        "model": loaded.name,
        "input": list(size_of or ()),
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
                **({} if photo is None else {fact: getattr(layer, fact) for fact in MEASURES}),
            }
            for layer in found
        ],
    }
