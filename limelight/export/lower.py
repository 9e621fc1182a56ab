"""A step -> one graph of plain operations, the pull-back included.

Recorded twice. First as autograd runs it, with the gradient's own operations; then functionalised, because networks
write in place and a graph for other engines must not, and with the few backward operations that no engine has put in
terms of ones that all have (:mod:`limelight.export.decompositions`). Sizes stay symbols, so the batch is free.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from limelight.borrow import borrowed
from limelight.errors import LimelightError, ModelError
from limelight.export.decompositions import DECOMPOSITIONS
from limelight.shell import line
from limelight.step import Step


def lower(step: Step, images: Tensor, classes: Tensor | None = None) -> GraphModule:
    """The step as a graph ``images[, classes] -> (scores, classes, *raws, map)``.

    Args:
        step: what is recorded.
        images: an example; a batch of at least two leaves the batch free.
        classes: an example, where the step takes them.

    Raises:
        ModelError: the network can't be recorded; the message says what it does that can't.
    """
    examples = (images,) if classes is None else (images, classes)

    def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(step(*tensors).named.values())

    try:
        with borrowed(step.network):
            recorded = _recorded(flat, examples)
            functional = torch.func.functionalize(recorded, remove="mutations")
            graph = _recorded(functional, examples, DECOMPOSITIONS)
    except LimelightError:
        raise
    except Exception as error:  # whatever a network does that can't be recorded has no common kind
        raise ModelError(
            f"{type(step.network).__name__} can't be recorded as one graph: {type(error).__name__}: {line(error)[:300]}"
        ) from error
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _recorded(
    function: Callable[..., tuple[Tensor, ...]], examples: tuple[Tensor, ...], decompositions: dict | None = None
) -> GraphModule:
    return make_fx(function, decompositions, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*examples)
