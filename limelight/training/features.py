"""What a frozen body says of every picture: computed once, then minutes become seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from limelight.errors import ModelError
from limelight.models import Model
from limelight.training.augment import Augmentation
from limelight.training.networks import example, head
from limelight.training.pictures import Pictures

BATCH = 32


def linear_head(model: Model) -> nn.Linear:
    """The head, if the network's outputs are a linear map of features and nothing else.

    Checked by running it. Raises ``ModelError`` where the head is anything else: such a network can't be frozen.
    """
    _, module = head(model)
    x = example(model)
    x += torch.linspace(-1, 1, x.numel(), device=x.device, dtype=x.dtype).view_as(x)
    given, outputs = _with_input(model, module, x)
    flat = isinstance(module, nn.Linear) and given.ndim == 2 and isinstance(outputs, Tensor)
    with torch.inference_mode():
        if not flat or not torch.allclose(module(given), outputs, rtol=1e-3, atol=1e-4):
            raise ModelError(f"The head of {model.name} is not one linear layer, so its body's features can't be kept.")
    return module


def features(
    model: Model,
    pictures: Pictures,
    numbers: Sequence[int],
    how: Augmentation | None = None,
    seed: Sequence[int] = (),
) -> Iterator[Tensor]:
    """The inputs of the head, (batch, features) float32 on the CPU, batch after batch of these pictures.

    The network runs in evaluation mode. With ``how`` the pictures are varied, see :meth:`Pictures.batches`.
    """
    module, parameter = linear_head(model), next(model.network.parameters())
    for batch in pictures.batches(numbers, BATCH, how, seed):
        x = batch.to(parameter.device, parameter.dtype, memory_format=torch.channels_last)
        yield _with_input(model, module, x)[0].float().cpu()


def _with_input(model: Model, module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What ``module`` is given when the network sees ``x``, and the network's outputs."""
    seen: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        with torch.no_grad():
            outputs = model.network.eval()(x)
    finally:
        hook.remove()
    return seen[-1], outputs
