"""A step -> one graph of plain operations, the pull-back included.

Recorded twice. First as autograd runs it, with the gradient's own operations; then functionalised, because networks
write in place and a graph for other engines must not, and with the few backward operations that no engine has put in
terms of ones that all have (:mod:`limelight.export.decompositions`). The batch's size stays a symbol, so it is free.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.nn.attention import SDPBackend, sdpa_kernel

from limelight.borrow import borrowed
from limelight.errors import LimelightError, ModelError, one_line
from limelight.export.decompositions import DECOMPOSITIONS
from limelight.step import Step


def lower(step: Step, images: Tensor, classes: Tensor | None = None, *, any_size: bool = False) -> GraphModule:
    """The step as a graph ``images[, classes] -> (scores, classes, *raws, map)``.

    Args:
        step: what is recorded.
        images: an example; a batch of at least two leaves the batch free.
        classes: an example, where the step takes them.
        any_size: leave the images' height and width free too.

    Raises:
        ModelError: the network can't be recorded; the message says what it does that can't.
    """
    examples = (images,) if classes is None else (images, classes)

    def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(step(*tensors).named.values())

    fake = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    symbols = tuple(fake.from_tensor(each, symbolic_context=_free(each, any_size)) for each in examples)
    try:
        with borrowed(step.network), _attention_in_the_open(), fake, enable_python_dispatcher():
            recorded = make_fx(flat, _allow_non_fake_inputs=True)(*symbols)
            functional = torch.func.functionalize(recorded, remove="mutations")
            graph = make_fx(functional, DECOMPOSITIONS, _allow_non_fake_inputs=True)(*symbols)
    except LimelightError:
        raise
    except Exception as error:  # whatever a network does that can't be recorded has no common kind
        said = f"{type(error).__name__}: {one_line(error, 300)}"
        raise ModelError(f"{type(step.network).__name__} can't be recorded as one graph: {said}") from error
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


@contextmanager
def _attention_in_the_open() -> Iterator[None]:
    """Attention as matrix products and a softmax: its fused forms have no form elsewhere."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _free(tensor: Tensor, any_size: bool) -> StatelessSymbolicContext[Any, Any]:
    """Of a tensor's sizes the first is a symbol, unless it is one; of images, the height and width too if wished."""
    free = {0, 2, 3} if any_size else {0}
    return StatelessSymbolicContext(
        [DimDynamic.DYNAMIC if axis in free else DimDynamic.STATIC for axis in range(tensor.ndim)]
    )
