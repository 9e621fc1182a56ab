"""A view of a network: its own modules under their own names, and another forward pass. Nothing of it is changed."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

_views: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


def view(network: nn.Module, how: type, **facts: Any) -> nn.Module:
    """The network with the forward pass of ``how``, a class that is put before its own.

    The same view as before where there is one, so that what was found of it is remembered; it follows the network.

    Args:
        network: the network.
        how: a class without state of its own, whose ``forward`` may call the network's with ``super()``.
        **facts: attributes that ``how`` reads.
    """
    known = _views.get(network)
    if known is None or not isinstance(known, how):
        kind = type(type(network).__name__, (how, type(network)), {"__module__": type(network).__module__})
        known = _views[network] = kind.__new__(kind)
    object.__setattr__(known, "__dict__", {**network.__dict__, **facts})  # as it is now; threads see either, whole
    return known
