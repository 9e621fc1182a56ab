"""What a network takes and returns: tensors, nested in tuples, lists and dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from limelight.errors import LayerError


def _is_activation(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim > 1


def first_tensor(output: Any) -> Tensor | None:
    """The first floating tensor with more than one dimension in a (nested) output, or None."""
    return next(filter(_is_activation, pytree.tree_leaves(output)), None)


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


def one_image(inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The inputs of the first image alone."""
    leading = first_tensor((inputs, options))
    batch = None if leading is None else len(leading)
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
