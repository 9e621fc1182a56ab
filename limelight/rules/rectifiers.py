"""What a rectifier hands back, changed on the graph that a pass has left behind.

Every rectifier of the pass is a node of autograd's graph, whether a module, ``F.relu`` or ``x.relu_()`` made it. A hook
on the node changes what goes into it and what comes out of it, for one pull-back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from limelight.errors import MethodError

Gradients = tuple[Tensor | None, ...]
Rule = Callable[[Any, Gradients, Gradients], Gradients]
"""``(node, to its inputs, from its output)`` -> to its inputs."""

RECTIFIERS = (
    "Relu",
    "LeakyRelu",
    "PreluKernel",
    "RreluWithNoise",
    "Elu",
    "Celu",
    "Gelu",
    "Silu",
    "Mish",
    "Hardswish",
    "Softplus",
)
"""Operations that let the positive side through and (nearly) stop the negative one, as autograd calls their nodes."""
FROM_ZERO = {
    "Hardtanh": "_saved_min_val",
    "Threshold": "_saved_threshold",
    "Clamp": "_saved_min",
    "ClampMin": "_saved_min",
}
"""Operations that are rectifiers when they begin at zero: ``relu6``, ``clamp(min=0)``."""


@contextmanager
def rectifying(end: Any, rule: Rule) -> Iterator[None]:
    """The rule in force at each rectifier of the graph that ends in the node ``end``.

    Raises:
        MethodError: there is no rectifier, so that the method would be the plain gradient.
    """
    nodes = [node for node in graph(end) if _is_rectifier(node)]
    if not nodes:
        raise MethodError(
            "no ReLU, nor anything like it (GELU, SiLU, Hardswish, ...), lies between the layer and the score, so "
            "there is no backward pass to modify; use saliency or integratedgradients, or an earlier layer"
        )
    with ExitStack() as hooks:
        for node in nodes:
            hooks.callback(node.register_hook(lambda to, given, node=node: rule(node, to, given)).remove)
        yield


def graph(end: Any) -> Iterator[Any]:
    """Every node of autograd's graph that leads to ``end``.

    Raises:
        MethodError: a part of the graph is hidden and made only when it is pulled back.
    """
    seen, left = set(), [end]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        if node.name() == "CheckpointFunctionBackward":
            raise MethodError(
                "the network hides a part of its backward pass in torch.utils.checkpoint(use_reentrant=True), where no "
                "rule can reach it; set use_reentrant=False, or use gradcam"
            )
        seen.add(node)
        yield node
        left.extend(before for before, _ in node.next_functions)


def _is_rectifier(node: Any) -> bool:
    kind = node.name().rstrip("0123456789").removesuffix("Backward")
    return kind in RECTIFIERS or (kind in FROM_ZERO and getattr(node, FROM_ZERO[kind]) == 0)


def deconvolution(node: Any, to_inputs: Gradients, from_output: Gradients) -> Gradients:
    """What comes back is rectified, wherever the input was positive (Zeiler and Fergus 2013, sec. 2.1)."""
    return (_positive(from_output[0]), *to_inputs[1:])


def guided(node: Any, to_inputs: Gradients, from_output: Gradients) -> Gradients:
    """Only where both the input and what comes back are positive (Springenberg et al. 2014, sec. 3.4).

    A rectifier that is not a ReLU keeps its own slope there.
    """
    back, coming = to_inputs[0], from_output[0]
    if back is None or coming is None:
        return to_inputs
    inside = coming > 0
    if not node.name().startswith(
        "ReluBackward"
    ):  # a ReLU's own gradient is zero already where its input is not positive
        inside &= (node._saved_self if hasattr(node, "_saved_self") else node._saved_result) > 0
    return (back * inside, *to_inputs[1:])


def _positive(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.clamp(min=0)
