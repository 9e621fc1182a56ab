"""What was found of a network, remembered; and the layout of a captured layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limelight.borrow import unwrap
from limelight.cut import Captured
from limelight.errors import LayerError
from limelight.grid.layout import Layout
from limelight.grid.possible import Grids, channels_first, dimensions_of, unfolded
from limelight.grid.walking import Outline, Visit, Walk, channel_axis_of, outlined, settled
from limelight.nested import image_of, one_image


@dataclass
class Known:
    """What was found of a network for inputs of one shape.

    Attributes:
        outline: what the shapes tell.
        walk: the layouts, once they were asked for.
        default: the default layer, once it was asked for.
    """

    outline: Outline
    walk: Walk | None = None
    default: str | None = None


_known: WeakKeyDictionary[nn.Module, dict[Any, Known]] = WeakKeyDictionary()


def remembered(network: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> Walk:
    """The layers of the network for inputs of this shape: found now, with the first image, if not before."""
    known = outline_of(network, inputs, options)
    if known.walk is None:
        first, named = one_image(inputs, options)
        known.walk = settled(network, known.outline, first, named)
    return known.walk


def outline_of(network: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> Known:
    """What is known of the network for inputs of this shape, its outline at least."""
    network = unwrap(network)
    known = _known.setdefault(network, {})
    key = tuple(_facts(leaf) for leaf in pytree.tree_leaves((inputs, options)))
    if key not in known:
        first, named = one_image(inputs, options)
        known[key] = Known(outlined(network, first, named))
    return known[key]


def forget(network: nn.Module) -> None:
    """Look again when next asked: the network was changed."""
    _known.pop(unwrap(network), None)


def _facts(leaf: Any) -> Any:
    return (*leaf.shape[1:], leaf.dtype) if isinstance(leaf, Tensor) else repr(leaf)


def layout_of(captured: Captured, k: int) -> Layout:
    """How layer ``k`` of a captured pass is laid out.

    As the caller told it (``Site.layout``); otherwise from the tensor's own shape where that can be read in one way
    only, and from a walk through the network where it can't.

    Raises:
        LayerError: it has no grid of more than one cell, or the cells can't be told apart; the message names the
            layer, its shape, and the line to write.
    """
    key = (Layout, k)
    if key not in captured.remembered:
        captured.remembered[key] = _layout_of(captured, k)
    return captured.remembered[key]


def remember(captured: Captured, layouts: Sequence[Layout]) -> None:
    """Let a captured pass know how its layers are laid out, from an earlier pass like it, so that it need not look."""
    captured.remembered.update({(Layout, k): layout for k, layout in enumerate(layouts)})


def _layout_of(captured: Captured, k: int) -> Layout:
    site, tensor = captured.sites[k], captured.activations[k]
    inputs, options = captured.inputs
    images = image_of(captured.inputs)
    size = tuple(images.shape[2:]) if images is not None else ()
    batch = len(images) if images is not None else len(tensor)
    names = dimensions_of(size)
    if site.layout is not None:
        told = _as_told(site.layout, tensor, str(site), batch, size)
        if site.module is not None and channel_axis_of(site.module) == 1 and not told.has_channels(1):
            raise LayerError(
                f"layout {site.layout!r} can't be that of layer '{site}', a {type(site.module).__name__}: its channels "
                f"are the second axis of {tuple(tensor.shape)}"
            )
        return told
    first = len(tensor.shape) == len(names) + 2 and len(tensor) == batch and bool(names)
    if first and (site.module is None or channel_axis_of(site.module) == 1):
        if math.prod(tensor.shape[2:]) > 1:
            return channels_first(tensor.shape, names)
        raise no_grid(str(site), tensor.shape)
    if first and [layout.plain for layout in unfolded(tensor.shape, size)] == [True]:
        return channels_first(tensor.shape, names)
    if math.prod(tensor.shape[2:]) < 2 and (tensor.ndim != 3 or 1 in tensor.shape[1:]):
        raise no_grid(str(site), tensor.shape)
    walked = remembered(captured.cut.network, inputs, options)
    call = (site.name, site.call or 1)
    found = walked.layouts.get(call)
    if found is not None:
        return found
    raise _unclear(str(site), tensor.shape, size, walked.likeliest.get(call))


def _as_told(text: str, tensor: Tensor, layer: str, batch: int, size: tuple[int, ...]) -> Layout:
    layout = Layout.parse(text)
    names = layout.dimensions
    grids = Grids(size, []).strided if len(size) == len(names) else []
    fitted = layout.fit(tensor.shape, batch, grids)
    if fitted is None:
        sizes = " ".join(f"{name}=..." for name in names)
        raise LayerError(
            f"layout {text!r} does not fit layer '{layer}', which gives shape {tuple(tensor.shape)} for {batch} "
            f"image{'s' * (batch != 1)} of {' x '.join(map(str, size))}; if the grid can't be worked out, give its "
            f"sizes: {sizes}"
        )
    return fitted


def no_grid(layer: str, shape: Any) -> LayerError:
    """A layer that can't be drawn on."""
    return LayerError(
        f"layer '{layer}' gives shape {tuple(shape)}, which has no grid to draw on: "
        "choose a layer before the pooling or flattening, or a method of the picture itself, which needs no layer: "
        "saliency, integratedgradients, occlusion"
    )


def _unclear(layer: str, shape: Any, size: tuple[int, ...], likeliest: Layout | None) -> LayerError:
    names = " ".join(dimensions_of(size)) or "height width"
    if likeliest is None:
        return LayerError(
            f"layer '{layer}' gives shape {tuple(shape)}, in which no grid of the input's {' x '.join(map(str, size))} "
            "is found: choose another layer (`limelight layers` lists them), or say how it is laid out with layout=, "
            f"such as 'batch {names} channels'"
        )
    return LayerError(
        f"layer '{layer}' gives shape {tuple(shape)}, and it can't be told where its cells lie: choose another layer "
        f"(`limelight layers` lists them), or say it, such as layout='{likeliest.line}'"
    )


class Tokens(NamedTuple):
    """What a layer's tokens are.

    Attributes:
        prefix: how many class, register or distillation tokens stand before the cells.
        grid: the cells' shape, ``(height, width)``, in the tokens' order.
        suffix: how many extra tokens stand after the cells.
    """

    prefix: int
    grid: tuple[int, ...]
    suffix: int


def tokens(network: nn.Module, count: int, *inputs: Any, **options: Any) -> Tokens:
    """What ``count`` tokens of a network are: how many before the cells, the cells' grid, how many after.

    For methods that read attention matrices ``(batch, heads, count, count)``, whose rows and columns are tokens. The
    grid comes from the layers of the network that have ``count`` tokens, as a walk on these inputs finds them (the
    patch embedding's own grid, where the cells are as many), never from a square root; the walk is remembered for the
    network and the inputs' shape. ``count`` is for one image: windows are not meant here.

    Args:
        network: any ``nn.Module``.
        count: how many tokens there are.
        *inputs: what the network is run on; only the first image is.
        **options: the same, by keyword.

    Raises:
        LayerError: no layer of the network has so many tokens, or it can't be told which are cells.
    """
    for visit in remembered(network, inputs, options).visits:
        if (found := _tokens_of(visit, count)) is not None:
            return found
    raise LayerError(
        f"no layer of this {type(unwrap(network)).__name__} has {count} tokens whose grid is known; "
        "use a method that needs no attention, such as gradcam"
    )


def _tokens_of(visit: Visit, count: int) -> Tokens | None:
    """The tokens of a layer, if all its cells lie in one axis of ``count``, beside batch and channels."""
    layout = visit.layout
    if layout is None:
        return None
    for axis, size in zip(layout.axes, visit.shape, strict=True):
        if size == count and axis.factors == layout.dimensions:
            return Tokens(axis.before, layout.grid, axis.after)
    return None
