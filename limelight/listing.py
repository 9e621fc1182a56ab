"""What can be asked for, as JSON-ready facts: methods, networks, and the layers of a network."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limelight import grid, models
from limelight.methods import REGISTRY

FACTS = ("name", "title", "needs", "per_target", "discriminative", "signed", "passes", "source")


def methods() -> list[dict[str, Any]]:
    """Every method, with what it needs and costs, and how much of its map was found on the photograph asked about."""
    return [
        {fact: getattr(method, fact) for fact in FACTS} | {"share": method.on_mosaics and method.on_mosaics.share}
        for method in REGISTRY.values()
    ]


def networks(filter: str = "") -> list[dict[str, Any]]:
    """The networks that can be loaded by name, those first whose weights are on this machine."""
    found = [asdict(each) for each in models.available(filter)]
    return sorted(found, key=lambda each: not each["on_this_machine"])


def layers(model: str, size: int | None = None) -> dict[str, Any]:
    """The layers of a network that have a grid, in the order they run, for its own size of input or another.

    Raises:
        ModelError: there is no such network.
        LayerError: no layer has a grid.
    """
    loaded = models.load(model, weights="default" if Path(model).exists() else "random")  # nothing is fetched to look
    preprocessing = loaded.preprocessing
    height, width = (size, size) if size else preprocessing.size if preprocessing else (224, 224)
    images = torch.zeros(1, preprocessing.channels if preprocessing else 3, height, width)
    default = grid.default_layer(loaded.network, images)
    found = grid.candidates(grid.remembered(loaded.network, (images,), {}))
    main = _main(loaded.network, [visit.name for _, visit in found])
    return {
        "model": loaded.name,
        "input": [height, width],
        "layers": [
            {
                "layer": address,
                "type": visit.kind,
                "channels": visit.channels,
                "grid": list(visit.grid),
                "layout": str(visit.layout),
                "main": visit.name in main or address == default,
                "default": address == default,
            }
            for address, visit in found
        ],
    }


def _main(network: nn.Module, names: list[str]) -> set[str]:
    """The layers worth reading first: those inside no other, and the steps of a sequence that is inside no other.

    For a ResNet the stem, the four stages and their blocks, without the convolutions in the blocks.
    """
    listed = set(names)
    around = {name: [outer for outer in _parents(name) if outer in listed] for name in names}
    return {
        name
        for name, outer in around.items()
        if not outer or (outer == _parents(name)[-1:] and isinstance(network.get_submodule(outer[0]), nn.Sequential))
    }


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]
