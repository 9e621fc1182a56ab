"""The calls of a network's modules in one pass, and how the output of each is laid out."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from limelight.borrow import borrowed, unwrap
from limelight.cut import hooked
from limelight.grid.impulse import Answer, Question, answers
from limelight.grid.layout import Layout
from limelight.grid.possible import Grid, channels_first, dimensions_of, folded, layouts
from limelight.nested import first_tensor, image_of, one_image, own_copies

HANDS_ON = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Dropout3d)
"""Modules that, in evaluation mode, give what they were given."""
CHANNELS_SECOND = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.GroupNorm,
)
"""Modules that take and give their channels in the second axis."""


@dataclass(frozen=True)
class Visit:
    """One call of one module in a pass.

    Attributes:
        name: the module's.
        kind: the module's type.
        call: which call of the module it was, counted from 1.
        calls: how many there were.
        shape: of its output, for one image.
        layout: how that is laid out; None where it has no grid of more than one cell, or none was found.
    """

    name: str
    kind: str
    call: int
    calls: int
    shape: tuple[int, ...]
    layout: Layout | None = None

    @property
    def address(self) -> str:
        """What :func:`limelight.cut.resolve` finds it by: the name, with the call where there are several."""
        return f"{self.name}@{self.call}" if self.calls > 1 else self.name

    @property
    def has_grid(self) -> bool:
        """Whether a map can be drawn at it."""
        return self.layout is not None

    @property
    def grid(self) -> Grid:
        """The grid's shape; empty where there is none."""
        return self.layout.grid if self.layout else ()

    @property
    def channels(self) -> int:
        """How many channels a cell has."""
        return self.layout.channels if self.layout else 0


@dataclass(frozen=True)
class Walk:
    """What one pass of one image showed.

    Attributes:
        visits: the calls in the order they finished. Calls that only hand on a tensor are left out: an identity, a
            dropout in evaluation mode. Where a container gives its last child's tensor itself, only the container is
            listed: they are the same layer, under its shortest name.
        layouts: of every call, listed or not, by name and number of the call.
        likeliest: of the calls whose layout was not found, the layout that their shape would allow first.
        outputs: what the network gave, told by shape: those of its floating tensors.
    """

    visits: tuple[Visit, ...]
    layouts: dict[tuple[str, int], Layout | None]
    likeliest: dict[tuple[str, int], Layout]
    outputs: tuple[tuple[int, ...], ...]


@dataclass
class _Call:
    """One call, as it was seen."""

    name: str
    kind: str
    call: int
    shape: tuple[int, ...]
    listed: bool
    same_as: int | None  # the earlier call that gave this very tensor
    channel_axis: int | None  # where the modules that made or took it have their channels

    @property
    def key(self) -> tuple[str, int]:
        return self.name, self.call


@dataclass(frozen=True)
class Outline:
    """What the shapes of one pass tell: for each call the layouts that it may have.

    Attributes:
        calls: all of them, in the order they finished.
        possible: the layouts of each.
        sure: of each, whether its one layout, or none, can be read off the shapes: each dimension has an axis of its
            own, and either the modules around say where the channels are, or a grid like it came before. Heads and
            tokens have axes of their own as well.
        outputs: the shapes of the network's floating outputs.
    """

    calls: list[_Call]
    possible: list[list[Layout]]
    sure: list[bool]
    outputs: tuple[tuple[int, ...], ...]

    @property
    def last_gridded(self) -> str | None:
        """The last listed call with a grid, if that can be read off its shape alone, under its address.

        Not where there may be class tokens: a map beside them need not be what the outputs are made of.
        """
        if any(possible and possible[0].extra for possible in self.possible):
            return None
        for number in reversed(range(len(self.calls))):
            call, sure = self.calls[number], self.sure[number]
            if call.listed and self.possible[number]:
                several = sum(other.name == call.name for other in self.calls) > 1
                return (f"{call.name}@{call.call}" if several else call.name) if sure else None
        return None


def walk(network: nn.Module, *inputs: Any, **options: Any) -> Walk:
    """Run the network once, on the first image, and find how each output is laid out.

    What the shapes leave open is settled by planting impulses in the image, in one more pass
    (:mod:`limelight.grid.impulse`).
    """
    inputs, options = one_image(inputs, options)
    return settled(network, outlined(network, inputs, options), inputs, options)


def outlined(network: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> Outline:
    """Run the network once on one image and find what the shapes tell."""
    network = unwrap(network)
    calls, outputs = _listen(network, inputs, options)
    images = image_of((inputs, options))
    size = tuple(images.shape[2:]) if images is not None else ()
    found: dict[int, list[Layout]] = {}
    seen: list[Grid] = []
    sure: list[bool] = []
    for number, call in enumerate(calls):
        known = found.get(call.same_as) if call.same_as is not None else None
        found[number] = some = _possible(call, size, seen) if known is None else known
        sure.append(len(some) < 2 and all(each.unfolded and _backed(call, each, size, seen) for each in some))
        if some and sure[-1]:
            seen.insert(0, some[0].grid)
    return Outline(calls, [found[number] for number in range(len(calls))], sure, outputs)


def settled(network: nn.Module, outline: Outline, inputs: tuple[Any, ...], options: dict[str, Any]) -> Walk:
    """One layout for each call, or none."""
    layouts = _settle(unwrap(network), outline, inputs, options)
    counts = {call.name: call.call for call in outline.calls}  # the last call's number stays
    visits = [
        Visit(call.name, call.kind, call.call, counts[call.name], call.shape, layouts[call.key])
        for call in outline.calls
        if call.listed
    ]
    some = zip(outline.calls, outline.possible, strict=True)
    likeliest = {call.key: possible[0] for call, possible in some if possible and layouts[call.key] is None}
    return Walk(tuple(visits), layouts, likeliest, outline.outputs)


def _listen(network: nn.Module, inputs: Any, options: Any) -> tuple[list[_Call], tuple[tuple[int, ...], ...]]:
    calls: list[_Call] = []
    counts: dict[str, int] = {}
    last: list[tuple[Tensor, int]] = []  # the newest listed tensor, and its version: in-place operations make a new one
    made: dict[int, tuple[Any, int]] = {}  # by id: the tensor, weakly, and the call that gave it

    def given_by(tensor: Tensor) -> int | None:
        reference, number = made.get(id(tensor), (lambda: None, -1))
        return number if reference() is tensor else None

    def listen(name: str):
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            counts[name] = counts.get(name, 0) + 1
            taken = channel_axis_of(module)
            for arg in args if taken else ():
                if isinstance(arg, Tensor) and (number := given_by(arg)) is not None:
                    calls[number].channel_axis = calls[number].channel_axis or taken
            tensor = first_tensor(output)
            if tensor is None:
                return
            unchanged = bool(last) and tensor is last[0][0] and _version(tensor) == last[0][1]
            hands_on = isinstance(module, HANDS_ON) or (unchanged and any(arg is tensor for arg in args))
            same_as = given_by(tensor)
            if unchanged and not hands_on:
                next(call for call in reversed(calls) if call.listed).listed = False
            call = _Call(name, type(module).__name__, counts[name], tuple(tensor.shape), not hands_on, same_as, taken)
            calls.append(call)
            if same_as is None:
                made[id(tensor)] = weakref.ref(tensor), len(calls) - 1
            if not hands_on:
                last[:] = [(tensor, _version(tensor))]

        return hook

    with borrowed(network), hooked((module, listen(name)) for name, module in network.named_modules() if name):
        inputs, options = own_copies((inputs, options))
        outputs = network(*inputs, **options)
    return calls, shapes_of(outputs)


def shapes_of(outputs: Any) -> tuple[tuple[int, ...], ...]:
    """The shapes of the floating tensors among a network's outputs."""
    from torch.utils import _pytree as pytree

    leaves = pytree.tree_leaves(outputs)
    return tuple(tuple(leaf.shape) for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point())


def channel_axis_of(module: nn.Module) -> int | None:
    """Where a module has its channels: 1 for a convolution's kin, -1 for a plain layer norm; None if it doesn't say.

    A linear layer does not say: mixers run it over the tokens.
    """
    if isinstance(module, CHANNELS_SECOND) or getattr(module, "channels_second", False):
        return 1
    return -1 if type(module) is nn.LayerNorm and len(module.normalized_shape) == 1 else None


def _possible(call: _Call, size: Grid, seen: list[Grid]) -> list[Layout]:
    """The layouts that a call's shape allows, less those that the modules around it rule out."""
    names, shape = dimensions_of(size), call.shape
    if call.channel_axis == 1 and len(shape) == len(names) + 2 and shape[0] == 1 and names:
        first = channels_first(shape, names)
        return [first] if _cells(first) > 1 else []
    allowed = layouts(shape, size, seen)
    if allowed and all(each.unfolded and not _backed(call, each, size, seen) for each in allowed):
        allowed = allowed + folded(shape, size, seen)
    if call.channel_axis is None:
        return allowed
    plain = [layout for layout in allowed if _channel_axis(layout) == call.channel_axis]
    return plain or [layout for layout in allowed if layout.has_channels(call.channel_axis)]


def _channel_axis(layout: Layout) -> int | None:
    places = [i for i, axis in enumerate(layout.axes) if any(name.startswith("channels") for name in axis.factors)]
    if len(places) != 1:
        return None
    return -1 if places[0] == len(layout.axes) - 1 else places[0]


def _backed(call: _Call, layout: Layout, size: Grid, seen: list[Grid]) -> bool:
    """Whether more than its shape says that a tensor is a grid."""
    return call.channel_axis is not None or layout.grid == size or layout.grid in seen


def _cells(layout: Layout) -> int:
    cells = 1
    for side in layout.grid:
        cells *= side
    return cells


def _settle(network: nn.Module, outline: Outline, inputs: Any, options: Any) -> dict[tuple[str, int], Layout | None]:
    settled: dict[tuple[str, int], Layout | None] = {}
    questions: dict[int, Question] = {}  # by the call that made the tensor: those that hand it on are not asked again
    asked: dict[tuple[str, int], int] = {}
    for number, (call, some) in enumerate(zip(outline.calls, outline.possible, strict=True)):
        if outline.sure[number]:
            settled[call.key] = some[0] if some else None
            continue
        made = call.same_as if call.same_as is not None else number
        questions.setdefault(made, Question(call.name, call.call, tuple(some)))
        asked[call.key] = made
    if questions:
        told = answers(network, list(questions.values()), inputs, options)
        settled |= _believed(outline, settled, {key: told[questions[made]] for key, made in asked.items()})
    return settled


def _believed(
    outline: Outline, settled: dict[tuple[str, int], Layout | None], told: dict[tuple[str, int], Answer]
) -> dict[tuple[str, int], Layout | None]:
    """The answers that can be relied on: shown by impulses, or of a grid that came before in the pass.

    Nine states of a recurrence are no grid of 3 x 3, although the input could be reduced to one.
    """
    known: set[Grid] = set()
    believed: dict[tuple[str, int], Layout | None] = {}
    for call in outline.calls:
        layout = settled.get(call.key)
        if call.key in told:
            layout, shown = told[call.key]
            believed[call.key] = layout = layout if layout and (shown or layout.grid in known) else None
        known |= {layout.grid} if layout else set()
    return believed


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # a caller's inference tensor counts no versions
