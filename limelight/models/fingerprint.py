"""Whether two networks hold the same weights, told by a short word."""

from __future__ import annotations

import hashlib

import torch

from limelight.models.model import Model


def fingerprint(model: Model) -> str:
    """A short word for the weights: the same weights give the same."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.network.state_dict().items()):
        found.update(name.encode())
        if isinstance(tensor, torch.Tensor):
            found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
