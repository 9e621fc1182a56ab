"""A view of a detector: its own modules, under their own names, and a forward pass that gives the candidates.

Nothing of the network is changed. The view shares its modules, runs its forward pass with hooks that live for the pass,
and reads the candidates off what they heard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from limelight.borrow import borrowed, unwrap
from limelight.cut import hooked
from limelight.errors import ModelError, TargetError
from limelight.nested import describe, image_of, leaves_of, own_copies
from limelight.targets import Candidates
from limelight.views import view


@dataclass
class Heard:
    """What the hooks of one pass heard.

    Attributes:
        given: by a module's name, the positional arguments of each of its calls.
        gave: by a module's name, what each of its calls returned.
        outputs: what the network returned.
        image: the pictures ``(batch, channels, height, width)`` that it was given.
    """

    image: Tensor
    given: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    gave: dict[str, list[Any]] = field(default_factory=dict)
    outputs: Any = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures."""
        return self.image.shape[-2], self.image.shape[-1]


@dataclass(frozen=True)
class Reader:
    """How a kind of detector is read.

    Attributes:
        read: what was heard in a pass -> the candidates; the network comes first.
        hear: the names of the modules to listen to.
        pyramid: the name of the module that gives the feature maps, one for each level, that the heads read.
    """

    read: Callable[[nn.Module, Heard], Candidates]
    hear: Callable[[nn.Module], list[str]] = lambda network: []
    pyramid: str | None = None


class View:
    """What is put before a detector's own class: its forward pass gives the candidates."""

    limelight_reader: Reader

    def forward(self, *args: Any, **options: Any) -> Candidates:
        """The network's own forward pass, and the candidates in it."""
        image = image_of((args, options))
        if image is None or image.ndim != 4:
            raise TargetError("a detector takes pictures (batch, channels, height, width), or a list of them")
        heard = Heard(image.detach())

        def listen(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, given: tuple[Any, ...], gave: Any) -> None:
                heard.given.setdefault(name, []).append(given)
                heard.gave.setdefault(name, []).append(gave)

            return hook

        names = self.limelight_reader.hear(self)  # pyright: ignore[reportArgumentType]: it is a module too
        with hooked((self.get_submodule(name), listen(name)) for name in names):  # type: ignore[attr-defined]
            heard.outputs = super().forward(*args, **options)  # type: ignore[misc]
        return self.limelight_reader.read(self, heard)  # pyright: ignore[reportArgumentType]


_levels: WeakKeyDictionary[nn.Module, list[str]] = WeakKeyDictionary()


def seen_by(network: nn.Module, reader: Reader) -> nn.Module:
    """The network seen through a reader."""
    return view(network, View, limelight_reader=reader)


def detector(network: nn.Module, read: str | Callable[[Any], tuple[Tensor, Tensor]]) -> nn.Module:
    """A detector that is not recognised, with where its boxes are; explain it like any network.

    Args:
        network: any ``nn.Module``, which stays as it is.
        read: its outputs -> ``(boxes, probabilities)``: ``(batch, n, 4)`` x0, y0, x1, y1 in the input's pixels, and
            ``(batch, n, classes)`` in [0, 1], before any threshold and non-maximum suppression. For a YOLO-like head
            its layout: "batch boxes (box object classes)", "batch boxes (box classes)" or "batch (box classes) boxes"
            (:func:`limelight.detectors.raw.yolo`).

    Raises:
        ModelError: it is no network.
        TargetError: there is no such layout.
    """
    from limelight.detectors.raw import reader_of, yolo

    if not isinstance(network, nn.Module):
        raise ModelError(f"{describe(network)} is no network: give an nn.Module")
    return seen_by(unwrap(network), reader_of(yolo(read) if isinstance(read, str) else read))


def levels_of(network: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> list[str] | None:
    """The layers of a view that give the levels of its feature pyramid, finest first; None where it has none.

    Found by running it once: the modules whose tensors are those that the pyramid hands on. Remembered, weakly.
    """
    if not isinstance(network, View) or (pyramid := network.limelight_reader.pyramid) is None:
        return None
    if network not in _levels:
        _levels[network] = _find_levels(network, pyramid, args, options)
    return _levels[network] or None


def _find_levels(network: nn.Module, pyramid: str, args: tuple[Any, ...], options: dict[str, Any]) -> list[str]:
    made: dict[int, tuple[str, Tensor]] = {}
    levels: list[Tensor] = []

    def listen(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, gave: Any) -> None:
            if isinstance(gave, Tensor):
                made[id(gave)] = name, gave  # the outermost module that gives it has the last word
            elif name == pyramid:
                levels.extend(leaf for leaf in leaves_of(gave) if isinstance(leaf, Tensor))

        return hook

    inside = ((name, module) for name, module in network.named_modules() if name.startswith(pyramid))
    with borrowed(network), hooked((module, listen(name)) for name, module in inside):
        args, options = own_copies((args, options))
        network(*args, **options)
    return [name for level in levels if (name := _maker(level, made)) is not None]


def _maker(level: Tensor, made: dict[int, tuple[str, Tensor]]) -> str | None:
    """The module that gives a level; the last that gives its shape, where it is scaled on the way (SSD's first)."""
    if id(level) in made:
        return made[id(level)][0]
    alike = [name for name, tensor in made.values() if tensor.shape == level.shape]
    return alike[-1] if alike else None
