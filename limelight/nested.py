"""What a network takes and returns: tensors, nested in tuples, lists and dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from limelight.errors import LayerError


def _is_activation(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim > 1


def first_tensor(output: Any) -> Tensor | None:
    """The first floating tensor with more than one dimension in a (nested) output, or None."""
    return next(filter(_is_activation, leaves_of(output)), None)


def leaves_of(value: Any) -> Iterator[Any]:
    """What a nested value holds in the end, also in dataclasses and in mappings that are no plain dictionaries."""
    for leaf in pytree.tree_leaves(value):
        if is_dataclass(leaf) and not isinstance(leaf, type):
            yield from leaves_of([getattr(leaf, field.name) for field in fields(leaf)])
        elif isinstance(leaf, Mapping):
            yield from leaves_of(list(leaf.values()))
        else:
            yield leaf


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """The nested value with ``function`` of each of what :func:`leaves_of` finds, in copies of what holds it."""

    def of(leaf: Any) -> Any:
        if is_dataclass(leaf) and not isinstance(leaf, type):
            own = copy(leaf)
            for each in fields(leaf):
                object.__setattr__(own, each.name, map_leaves(function, getattr(leaf, each.name)))
            return own
        if isinstance(leaf, Mapping):
            own = copy(leaf)
            for key in leaf:
                own[key] = map_leaves(function, leaf[key])  # type: ignore[index]
            return own
        return function(leaf)

    return pytree.tree_map(of, value)


@dataclass(frozen=True)
class Inputs:
    """What a network is called with: ``network(*args, **options)``. All tensors hold as many images.

    The first floating tensor with a grid (three dimensions and more) is the image: what is perturbed, and what overlays
    are drawn on. Whatever else there is (whole numbers, text, masks, settings) is handed on untouched.
    """

    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def image(self) -> Tensor | None:
        """The image ``(batch, channels, *grid)``, or None if there is none."""
        return image_of((self.args, self.options))

    @property
    def alone(self) -> bool:
        """Whether the image is all that the network takes."""
        return len(self.args) == 1 and not self.options and self.args[0] is self.image

    def __len__(self) -> int:
        return batch_of((self.args, self.options)) or 0

    def __getitem__(self, some: slice) -> Inputs:
        batch = len(self)

        def part(leaf: Any) -> Any:
            return leaf[some] if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == batch else leaf

        return Inputs(*pytree.tree_map(part, (self.args, self.options)))


def image_of(inputs: Any) -> Tensor | None:
    """The first floating tensor with three dimensions and more in nested inputs; without one, with two."""
    place = _place_of_image(pytree.tree_leaves(inputs))
    return None if place is None else pytree.tree_leaves(inputs)[place]


def with_image(inputs: Any, image: Tensor) -> Any:
    """The inputs with another image."""
    leaves, structure = pytree.tree_flatten(inputs)
    place = _place_of_image(leaves)
    assert place is not None, "there was an image to be replaced"
    leaves[place] = image
    return pytree.tree_unflatten(leaves, structure)


def _place_of_image(leaves: Sequence[Any]) -> int | None:
    floating = [i for i, leaf in enumerate(leaves) if _is_activation(leaf)]
    return next((i for i in floating if leaves[i].ndim > 2), floating[0] if floating else None)


def batch_of(inputs: Any) -> int | None:
    """How many images nested inputs hold."""
    image = image_of(inputs)
    return None if image is None else image.shape[0]  # which is a symbol while a pass is recorded


def main_output(outputs: Any) -> Any:
    """What a network answers with, where it returns more than that.

    Its ``logits`` (attribute or key), its ``"out"``, or the first of a tuple or dictionary: auxiliary heads come after.
    """
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, Mapping):
        for key in ("logits", "out"):
            if key in outputs:
                return outputs[key]
        return next(iter(outputs.values()), None)
    if hasattr(outputs, "logits"):
        return outputs.logits
    return outputs[0] if isinstance(outputs, tuple | list) and outputs else None


def with_first_tensor(output: Any, tensor: Tensor) -> Any:
    """The output with ``tensor`` in the place of its first floating tensor."""
    leaves, structure = pytree.tree_flatten(output)
    place = next(i for i, leaf in enumerate(leaves) if first_tensor(leaf) is not None)
    leaves[place] = tensor if _is_activation(leaves[place]) else _with_inside(leaves[place], tensor)
    return pytree.tree_unflatten(leaves, structure)


def _with_inside(holder: Any, tensor: Tensor) -> Any:
    """A copy of a dataclass or mapping, with ``tensor`` in the place of its first floating tensor."""
    own = copy(holder)
    if isinstance(holder, Mapping):
        key = next(key for key, value in holder.items() if first_tensor(value) is not None)
        own[key] = with_first_tensor(holder[key], tensor)  # type: ignore[index]
    else:
        name = next(each.name for each in fields(holder) if first_tensor(getattr(holder, each.name)) is not None)
        object.__setattr__(own, name, with_first_tensor(getattr(holder, name), tensor))
    return own


def repeated(inputs: Any, batch: int) -> Any:
    """The inputs as often, block after block, as it takes to fill ``batch``."""
    given = batch_of(inputs) or batch
    if batch == given:
        return inputs
    if batch % given:
        raise LayerError(f"altered activations for {batch} images do not divide among the {given} captured ones")

    def repeat(leaf: Any) -> Any:
        fits = isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) == given
        if not fits:
            return leaf
        return (
            leaf.expand(batch, *leaf.shape[1:]) if given == 1 else leaf.repeat(batch // given, *[1] * (leaf.ndim - 1))
        )

    return pytree.tree_map(repeat, inputs)


def one_image(inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The inputs of the first image alone."""
    batch = batch_of((inputs, options))
    return pytree.tree_map(
        lambda leaf: leaf[:1] if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == batch else leaf,
        (inputs, options),
    )


def own_copies(inputs: Any) -> Any:
    """The inputs with tensors of their own: some networks change theirs in place, and the caller's must stay."""
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, inputs)


def describe(value: Any) -> str:
    """What a value is, for a message: "a tensor of shape (1, 3)", "a dict with keys ['out', 'aux']"."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, dict):
        return f"a {type(value).__name__} with keys {list(value)}"
    return f"a {type(value).__name__}"
