"""A checkpoint is a folder: ``model.safetensors`` with the weights, ``card.json`` with all else that is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from limelight.errors import ModelError
from limelight.files import write_whole
from limelight.models.catalogue import find
from limelight.models.model import Model

WEIGHTS, CARD = "model.safetensors", "card.json"
FORMAT = 1
# pyright: reportMissingTypeArgument=false
KINDS = {"architecture": str, "preprocessing": dict | None, "labels": list | None}


def save(model: Model, folder: str | Path, **card: Any) -> Path:
    """Write ``model`` to ``folder``, which is made if need be, and give the folder back.

    ``card`` holds further fields for the card: anything JSON has. Each of the two files is written aside and then put
    in its place, so a reader never meets half a file, and what stood there before stays if writing fails.
    Raises ``ModelError`` for a network that can't be found again by its name, ``InputError`` where it can't be written.
    """
    from safetensors.torch import save as as_bytes

    folder = Path(folder)
    architecture = find(model.name)
    fields = {
        "limelight": FORMAT,
        "architecture": f"{architecture.source}/{architecture.name}",
        "num_classes": model.num_classes,
        "weights": model.weights,
        "preprocessing": model.preprocessing.as_dict() if model.preprocessing else None,
        "labels": model.labels,
    }
    text = json.dumps(fields | card, indent=1)
    # As bytes: safetensors' own writing to a file hides why the system refused it.
    write_whole(folder / WEIGHTS, as_bytes(own_copies(model.network.state_dict())))
    write_whole(folder / CARD, text)
    return folder


def own_copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy each, on the CPU: safetensors refuses tensors that share their memory, as tied weights do."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}


def read_card(path: str | Path) -> dict[str, Any]:
    """The card of a checkpoint, given its folder or the file of weights in it.

    Raises ``ModelError`` when there is none, or none that this version reads.
    """
    path = Path(path)
    file = (path if path.is_dir() else path.parent) / CARD
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise ModelError(
            f"{path} is no checkpoint: it has no {CARD}. For weights alone, name the network: load(NAME, weights=FILE)."
        ) from None
    except ValueError as error:
        raise ModelError(f"{file} is damaged: {error}.") from None
    if not isinstance(card, dict) or card.get("limelight") != FORMAT:
        raise ModelError(f"{file} is not a card this version of limelight reads (format {FORMAT}).")
    wrong = [name for name, kind in KINDS.items() if not isinstance(card.get(name), kind)]
    if wrong:
        raise ModelError(f"{file} is damaged: {', '.join(wrong)}.")
    return card


def weights_file(path: Path) -> Path:
    """The file of weights of a checkpoint, given its folder or that file."""
    return path / WEIGHTS if path.is_dir() else path
