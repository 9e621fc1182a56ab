"""Attacks: a picture changed so little that nobody would see it, until the network says something else.

A change is measured in steps of an 8-bit pixel, and every attacked picture is a picture: its values are whole steps, so
that what is reported is what a saved file would do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.borrow import borrowed, unwrap
from limelight.errors import InputError
from limelight.models import Model
from limelight.targets import logits_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    Pixels = Float[Tensor, "batch channels height width"]

LEVELS = 255
PGD_STEPS = 7
CERTAIN = 0.99
"""The probability at which a targeted attack is done."""


@dataclass(frozen=True, eq=False)
class Scores:
    """A network as a function of pixels in [0, 1], wherever it lies; the scores come back to where the pixels are."""

    model: Model

    def __call__(self, pixels: Pixels) -> Float[Tensor, "batch classes"]:
        """The class scores.

        Raises:
            InputError: there are not two of them.
        """
        logits = logits_of(self.model.network(self.inputs(pixels)))
        if logits is None or logits.shape[1] < 2:
            raise InputError("attacks need a score for each of two classes or more")
        return logits.float().to(pixels.device)

    def inputs(self, pixels: Pixels) -> Tensor:
        """Pixels as the network takes them."""
        assert self.model.preprocessing is not None
        like = next(self.model.network.parameters(), pixels)
        mean, std = (
            pixels.new_tensor(values)[:, None, None]
            for values in (self.model.preprocessing.mean, self.model.preprocessing.std)
        )
        return ((pixels - mean) / std).to(like.device, like.dtype)

    def probabilities(self, pixels: Pixels) -> Float[Tensor, "batch classes"]:
        """What it says."""
        with borrowed(unwrap(self.model.network)):
            return self(pixels).softmax(dim=1)

    def slope(self, pixels: Pixels, loss: Callable[[Tensor], Tensor]) -> Pixels:
        """The gradient of a loss of the scores with respect to the pixels; no parameter's is computed."""
        with borrowed(unwrap(self.model.network)), torch.enable_grad():
            leaf = pixels.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(self(leaf)), leaf)
        return gradient


def doubt(logits: Float[Tensor, "batch classes"], classes: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """The log-odds against a class. Its gradient has the direction of the cross-entropy's, and none is lost.

    The cross-entropy is ``log(1 + exp(doubt))``: where the network is very sure, its own gradient vanishes in float32,
    and an attack by it would find the network robust that is merely sure.
    """
    chosen = torch.arange(logits.shape[1], device=logits.device) == classes[:, None]
    others = logits.masked_fill(chosen, -torch.inf).logsumexp(dim=1)
    return others - torch.where(chosen, logits, 0).sum(dim=1)


def fgsm(scores: Scores, pixels: Pixels, labels: Int[Tensor, " batch"], strength: int) -> Pixels:
    """One step of the full size along the sign of the loss's gradient (Goodfellow et al. 2015, arXiv 1412.6572).

    Args:
        scores: the network.
        pixels: in [0, 1], whole steps of 1/255.
        labels: the true classes, from which it is driven away.
        strength: the most that a value changes, in steps of 1/255.
    """
    slope = scores.slope(pixels, lambda logits: doubt(logits, labels).sum())
    return picture(pixels + strength / LEVELS * slope.sign(), pixels, strength)


def pgd(scores: Scores, pixels: Pixels, labels: Int[Tensor, " batch"], strength: int, steps: int = PGD_STEPS) -> Pixels:
    """Many small steps, each put back into the permitted range (Madry et al. 2018, arXiv 1706.06083); no restarts.

    The arguments are those of :func:`fgsm`.
    """
    size = 2.5 * strength / LEVELS / steps
    at = pixels
    for _ in range(steps):
        slope = scores.slope(at, lambda logits: doubt(logits, labels).sum())
        at = _within(at + size * slope.sign(), pixels, strength)
    return picture(at, pixels, strength)


def towards(
    scores: Scores, pixels: Pixels, targets: Int[Tensor, " batch"], strength: int, steps: int, certain: float = CERTAIN
) -> Pixels:
    """Steps of one level towards a class of one's choice; a picture is left alone once that class is nearly certain.

    Selvaraju et al. 2017 (section 5.3) drive a class that is not in the picture above 0.9999, and look at the maps of
    those that are.
    """
    at = pixels
    for _ in range(steps):
        reached = scores.probabilities(picture(at, pixels, strength)).gather(1, targets[:, None])[:, 0]
        if bool((reached >= certain).all()):
            break
        slope = scores.slope(at, lambda logits: doubt(logits, targets).sum())
        moved = _within(at - slope.sign() / LEVELS, pixels, strength)
        at = torch.where((reached >= certain)[:, None, None, None], at, moved)
    return picture(at, pixels, strength)


def noise(pixels: Pixels, strength: int, seeds: list[int]) -> Pixels:
    """Every value changed by the full size, up or down by chance: as large as an attack, and meant for nothing.

    Each picture has a seed of its own.
    """
    signs = [
        torch.randint(0, 2, pixels.shape[1:], generator=torch.Generator().manual_seed(seed)) * 2 - 1 for seed in seeds
    ]
    return picture(pixels + strength / LEVELS * torch.stack(signs).to(pixels.device), pixels, strength)


def picture(changed: Pixels, pixels: Pixels, strength: int) -> Pixels:
    """The nearest picture of whole levels that differs from ``pixels`` by no more than ``strength`` levels."""
    return (_within(changed, pixels, strength) * LEVELS).round() / LEVELS


def _within(changed: Pixels, pixels: Pixels, strength: int) -> Pixels:
    reach = strength / LEVELS
    return changed.maximum(pixels - reach).minimum(pixels + reach).clamp(0, 1)
