"""Which layer is explained unless one is named: found by running the network, never from a list of names."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from limelight.borrow import unwrap
from limelight.cut import Cut, module_at, resolve
from limelight.errors import LayerError
from limelight.grid.known import Known, forget, outline_of, remembered
from limelight.grid.possible import is_grid_of
from limelight.grid.reach import MOST, Reach
from limelight.grid.walking import Visit, Walk
from limelight.nested import image_of, main_output, one_image

TRIES = 24
"""How many layers, from the last on, are tried for one that everything passes."""


def candidates(visits: Walk | list[Visit]) -> list[tuple[str, Visit]]:
    """The layers of a walk that have a grid, in the order they ran, each under the name that :func:`resolve` takes."""
    listed = visits.visits if isinstance(visits, Walk) else visits
    return [(visit.address, visit) for visit in listed if visit.has_grid]


def default_layer(network: nn.Module, *inputs: Any, **options: Any) -> str:
    """The name of the layer that is explained unless one is named, for these inputs.

    For a network of convolutions that gives class scores, or one number an image, it is the last layer, in the order of
    running, that still has a grid of more than one cell. Otherwise the outputs are asked what they depend on, and it is
    the last layer that they depend on at every cell and that all of it passes: in a transformer with a class token the
    normalised tokens before the last attention, not those after it, of which only the class token is read. Where the
    outputs are a map themselves (segmentation), it is the widest layer: the end of the encoder.

    Found by running the network on the first image and remembered, weakly, for the network and the inputs' shape.

    Raises:
        LayerError: no layer has a grid, or the outputs depend on none.
    """
    network = unwrap(network)
    known = outline_of(network, inputs, options)
    if known.default is not None and module_at(network, known.default.partition("@")[0]) is None:
        forget(network)
        known = outline_of(network, inputs, options)
    if known.default is None:
        known.default = _choose(network, known, inputs, options)
    return known.default


def _choose(network: nn.Module, known: Known, inputs: tuple[Any, ...], options: dict[str, Any]) -> str:
    if _scores_only(known.outline.outputs) and (last := known.outline.last_gridded):
        return last
    walked = remembered(network, inputs, options)
    found = candidates(walked)
    if not found:
        if not walked.visits:
            raise LayerError(
                f"no layer of this {type(network).__name__} has a grid, for it calls no module that could be looked "
                "at: methods that only run it explain it, such as occlusion or rise; a verdict needs a layer"
            )
        seen = ", ".join(f"{visit.name} {visit.shape}" for visit in walked.visits[-3:])
        raise LayerError(
            f"no layer of this {type(network).__name__} has a grid of more than one cell (last: {seen}); "
            "a tensor whose cells can't be told is explained with layer= and layout="
        )
    return _reached(network, found, *one_image(inputs, options))


def _scores_only(outputs: tuple[tuple[int, ...], ...]) -> bool:
    """Whether one image is answered by a vector of scores, or by one number that has no axis of its own.

    A map of a single cell is such a vector.
    """
    return len(outputs) == 1 and (
        len(outputs[0]) == 2 or outputs[0] in ((1,), ()) or (len(outputs[0]) > 3 and math.prod(outputs[0][2:]) == 1)
    )


def _reached(
    network: nn.Module, found: list[tuple[str, Visit]], inputs: tuple[Any, ...], options: dict[str, Any]
) -> str:
    names = [name for name, _ in found]
    layouts = [visit.layout for _, visit in found]
    captured = Cut(network, resolve(network, names)).capture(*inputs, **options)
    outputs = main_output(captured.outputs)
    reach = Reach(captured, layouts, outputs)  # pyright: ignore[reportArgumentType]: candidates have a layout
    shares = {k: share for k, share in enumerate(reach.shares()) if share and not _widened(found, k)}
    # Where nothing is read at every cell, a maximum over all of them stands at the end: it read what it found best.
    alive = [k for k, share in shares.items() if share >= MOST] or list(shares)
    if not alive:
        raise LayerError(
            f"the outputs of this {type(network).__name__} depend on no layer with a grid by a gradient; choose a "
            "layer (`limelight layers` lists them), or a method without gradients, such as scorecam or rise"
        )
    images = image_of((inputs, options))
    if images is not None and isinstance(outputs, torch.Tensor) and is_grid_of(outputs.shape[2:], images.shape[2:]):
        return names[max(alive, key=lambda k: (found[k][1].channels, -math.prod(found[k][1].grid), k))]
    for place in range(len(alive) - 1, max(len(alive) - 1 - TRIES, 0), -1):
        if reach.without(alive[place], alive[place - 1]) == 0:
            return names[alive[place]]
    return names[alive[-1]]


def _widened(found: list[tuple[str, Visit]], k: int) -> bool:
    """Whether a layer of tokens only spreads those before it over more channels: an MLP's inside, queries and keys."""
    visit = found[k][1]
    folded = visit.layout is not None and any(len(axis.factors) > 1 for axis in visit.layout.axes)
    return folded and k > 0 and visit.channels > found[k - 1][1].channels and visit.grid == found[k - 1][1].grid
