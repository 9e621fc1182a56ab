"""A layer's output <-> ``(batch, channels, *grid)``, and which layers have a grid at all.

Conv maps, channels first, are what is read here now. Another layout (channels last, tokens) is another case of
:func:`as_grid`: nothing outside this file knows how a layer lays its cells out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from limelight.borrow import borrowed, unwrap
from limelight.cut import hooked, module_at
from limelight.errors import LayerError
from limelight.nested import first_tensor, own_copies

HANDS_ON = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Dropout3d)
"""Modules that, in evaluation mode, give what they were given."""


def has_grid(output: Any) -> bool:
    """Whether a layer's output is ``(batch, channels, height, width)`` with more than one cell."""
    tensor = first_tensor(output)
    return tensor is not None and tensor.ndim == 4 and math.prod(tensor.shape[2:]) > 1


def as_grid(output: Tensor, layer: object) -> Tensor:
    """A layer's output, or its gradient, as ``(batch, channels, height, width)``.

    Raises:
        LayerError: it has no grid of more than one cell; the message names ``layer`` and the shape.
    """
    if has_grid(output):
        return output
    shape = f"'{layer}' gives shape {tuple(output.shape)}"
    if output.ndim == 3:
        raise LayerError(f"layer {shape}, perhaps tokens: only maps (batch, channels, height, width) are read so far")
    raise LayerError(f"layer {shape}, which has no grid to draw on: choose a layer before the pooling or flattening")


@dataclass(frozen=True)
class Visit:
    """One call of one module in a pass: its name, type, which call of how many it was, and the shape it gave."""

    name: str
    kind: str
    call: int
    calls: int
    shape: tuple[int, ...]
    has_grid: bool

    @property
    def address(self) -> str:
        """What :func:`limelight.cut.resolve` finds it by: the name, with the call where there are several."""
        return f"{self.name}@{self.call}" if self.calls > 1 else self.name


def walk(network: nn.Module, *inputs: Any, **options: Any) -> list[Visit]:
    """Run the network once and list the calls of its modules in the order they finished.

    Calls that only hand on a tensor are left out: an identity, a dropout in evaluation mode. Where a container gives
    its last child's tensor itself, only the container is listed: they are the same layer, under its shortest name.
    """
    visits: list[Visit] = []
    counts: dict[str, int] = {}
    last: list[tuple[Tensor, int]] = []  # the newest listed tensor, and its version: in-place operations make a new one

    def listen(name: str):
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            counts[name] = counts.get(name, 0) + 1
            tensor = first_tensor(output)
            if tensor is None:
                return
            unchanged = bool(last) and tensor is last[0][0] and _version(tensor) == last[0][1]
            if isinstance(module, HANDS_ON) or (unchanged and any(arg is tensor for arg in args)):
                return
            if unchanged:
                visits.pop()
            last[:] = [(tensor, _version(tensor))]
            visits.append(Visit(name, type(module).__name__, counts[name], 1, tuple(tensor.shape), has_grid(tensor)))

        return hook

    network = unwrap(network)
    with borrowed(network), hooked((module, listen(name)) for name, module in network.named_modules() if name):
        inputs, options = own_copies((inputs, options))
        network(*inputs, **options)
    return [replace(visit, calls=counts[visit.name]) for visit in visits]


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # a caller's inference tensor counts no versions


_defaults: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], str]] = WeakKeyDictionary()


def default_layer(network: nn.Module, images: Tensor) -> str:
    """The name of the last layer, in the order of running, that still has a grid of more than one cell.

    Found by running the network once on the first image and remembered, weakly, for the network and the image's shape.

    Raises:
        LayerError: no layer has a grid.
    """
    network = unwrap(network)
    known = _defaults.setdefault(network, {})
    shape = tuple(images.shape[1:])
    if shape not in known or module_at(network, known[shape].partition("@")[0]) is None:
        visits = walk(network, images[:1])
        gridded = candidates(visits)
        if not gridded:
            seen = ", ".join(f"{visit.name} {visit.shape}" for visit in visits[-3:]) or "no module was called"
            raise LayerError(
                f"no layer of this {type(network).__name__} has a grid of more than one cell (last: {seen})"
            )
        known[shape] = gridded[-1][0]
    return known[shape]


def candidates(visits: list[Visit]) -> list[tuple[str, Visit]]:
    """The layers of a walk that have a grid, in the order they ran, each under the name that :func:`resolve` takes."""
    return [(visit.address, visit) for visit in visits if visit.has_grid]
