"""What a network takes and returns: tensors, nested in tuples, lists and dictionaries."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from limelight.errors import LayerError


def _is_activation(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim > 1


def first_tensor(output: Any) -> Tensor | None:
    """The first floating tensor with more than one dimension in a (nested) output, or None."""
    return next(filter(_is_activation, pytree.tree_leaves(output)), None)


def with_first_tensor(output: Any, tensor: Tensor) -> Any:
    """The output with ``tensor`` in the place of its first floating tensor."""
    leaves, structure = pytree.tree_flatten(output)
    place = next(i for i, leaf in enumerate(leaves) if _is_activation(leaf))
    leaves[place] = tensor
    return pytree.tree_unflatten(leaves, structure)


def repeated(inputs: Any, batch: int) -> Any:
    """The inputs as often, block after block, as it takes to fill ``batch``."""
    given = len(leading) if (leading := first_tensor(inputs)) is not None else batch
    if batch == given:
        return inputs
    if batch % given:
        raise LayerError(f"altered activations for {batch} images do not divide among the {given} captured ones")

    def repeat(leaf: Any) -> Any:
        fits = isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) == given
        return leaf.repeat(batch // given, *[1] * (leaf.ndim - 1)) if fits else leaf

    return pytree.tree_map(repeat, inputs)


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
