"""Maps that are masks, optimised until little of the picture decides the score."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.cut import INPUT
from limelight.head import Head
from limelight.methods.registry import register
from limelight.telling import told

if TYPE_CHECKING:
    from jaxtyping import Float


@register(
    "meaningfulperturbation",
    title="Meaningful perturbation",
    source="Fong & Vedaldi 2017, arXiv 1704.03296, eq. 6",
    signed=False,
    passes="3 x steps",
    layer=INPUT,
)
def meaningful_perturbation(
    activations: Float[Tensor, "batch channels height width"],
    head: Head,
    scores: Float[Tensor, "batch"],
    *,
    steps: int = 200,
    cells: int = 28,
    rate: float = 0.1,
    sparsity: float = 0.5,
    smoothness: float = 0.2,
    jitter: int = 4,
    seed: int = 0,
) -> Float[Tensor, "batch height width"]:
    """The smallest smooth region whose blurring makes the score fall (the deletion game, eq. 6): 1 where blurred.

    The mask is ``cells`` wide, enlarged bilinearly; its mean and its total variation (to the third power) cost
    ``sparsity`` and ``smoothness``; the picture is shifted by up to ``jitter`` pixels in each step, against artefacts.
    The score is measured in units of what blurring everything takes away, so that the costs mean the same for logits
    and probabilities.
    """
    height, width = activations.shape[-2:]
    blurred = _blur(activations, min(height, width) / 22)
    unit = _taken_away(head, scores, blurred)
    side = min(cells, height, width)
    random = torch.Generator().manual_seed(seed)

    def cost(mask: Tensor, progress: float) -> Tensor:
        shift = torch.randint(-jitter, jitter + 1, (2,), generator=random).tolist()
        mixed = torch.lerp(activations, blurred, _enlarged(mask, (height, width))).roll(shift, dims=(-2, -1))
        rows, columns = (mask.diff(dim=d).abs().pow(3).sum() for d in (-2, -1))
        return (
            _linearised(head, mixed, 1 / unit)
            + sparsity * mask.flatten(1).mean(dim=1).sum()
            + smoothness * (rows + columns)
        )

    mask = _optimised(activations.new_full((len(activations), 1, side, side), 0.5), cost, steps, rate)
    return _enlarged(mask, (height, width))[:, 0]


@register(
    "extremalperturbation",
    title="Extremal perturbation",
    source="Fong et al. 2019, arXiv 1910.08485, eq. 4 and sec. 3",
    signed=False,
    passes="3 x steps x areas",
    layer=INPUT,
)
def extremal_perturbation(
    activations: Float[Tensor, "batch channels height width"],
    head: Head,
    scores: Float[Tensor, "batch"],
    *,
    areas: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4),
    steps: int = 150,
    cells: int = 28,
    rate: float = 0.05,
) -> Float[Tensor, "batch height width"]:
    """For each area, the region of that size which keeps the score highest when all else is blurred; summed over areas.

    The area is held by comparing the mask's sorted values with a step (eq. 4), at a cost that grows through the steps.
    A pixel counts for as many areas as contain it, so what is needed first is highest.
    The mask is kept in one piece by a smooth maximum over each cell's surroundings (its eq. 6).
    """
    height, width = activations.shape[-2:]
    blurred = _blur(activations, min(height, width) / 11)
    unit = _taken_away(head, scores, blurred)
    side = min(cells, height, width)
    total = torch.zeros_like(activations[:, 0])
    for area in areas:
        step = (torch.arange(side * side, device=activations.device) >= (1 - area) * side * side).to(activations.dtype)

        def cost(mask: Tensor, progress: float, step: Tensor = step) -> Tensor:
            mask = _grown(mask)
            mixed = torch.lerp(blurred, activations, _enlarged(mask, (height, width)))
            # Ranked by rounded values: cells that differ by rounding errors alone must not be told apart by them.
            ranked = mask.flatten(1).gather(1, mask.detach().flatten(1).mul(1e3).round().argsort(dim=1, stable=True))
            held = (ranked - step).square().mean(dim=1).sum()
            # The first fifth is for the score alone, so that the picture, not the cells' order, says who starts ahead.
            return 300 * max(progress - 0.2, 0) * held - _linearised(head, mixed, 1 / unit)

        mask = _optimised(activations.new_full((len(activations), 1, side, side), 0.5), cost, steps, rate)
        total += _enlarged(_grown(mask), (height, width))[:, 0] / len(areas)
    return total


def _optimised(mask: Tensor, cost: Callable[[Tensor, float], Tensor], steps: int, rate: float) -> Tensor:
    """The mask after ``steps`` of Adam down the cost, kept in [0, 1]; the cost is told how far along it is, in (0, 1].

    The cost is a sum over images and Adam scales each cell on its own, so an image's mask does not depend on its batch.
    """
    mask = mask.requires_grad_()
    # eps is far above rounding errors, which Adam would otherwise enlarge to whole steps.
    optimiser = torch.optim.Adam([mask], lr=rate, eps=1e-5)
    for number in told(steps):
        with torch.enable_grad():
            (mask.grad,) = torch.autograd.grad(cost(mask, number / steps), mask)
        optimiser.step()
        mask.data.clamp_(0, 1)
    return mask.detach()


def _taken_away(head: Head, scores: Tensor, blurred: Tensor) -> Float[Tensor, "batch"]:
    """What blurring the whole picture takes from its score: the unit that costs are measured in."""
    gone = head.scores(lambda few: blurred.expand(len(few), *blurred.shape), 1)[0]
    return (scores.detach() - gone).abs().clamp(min=1e-6)


def _linearised(head: Head, images: Tensor, weights: Tensor) -> Tensor:
    """A number whose gradient is that of the weighted sum of the scores of ``images`` ``(batch, ...)``.

    The head gives gradients, not graphs; the product of the images with their gradient, held fixed, has just that one.
    """
    ((_, gradients, _),) = head.gradients(lambda few: images.detach().expand(len(few), *images.shape), 1)
    return (gradients[0] * weights.view(-1, 1, 1, 1) * images).sum()


def _grown(mask: Tensor, reach: int = 3, sharpness: float = 20.0) -> Tensor:
    """Each cell the smooth maximum of the cells around it, the nearer the more: a mask of specks can't be (eq. 6)."""
    offsets = torch.arange(-reach, reach + 1, device=mask.device, dtype=mask.dtype)
    near = torch.exp(-0.5 * ((offsets[:, None] ** 2 + offsets**2) / (reach / 2) ** 2)).flatten()
    around = F.unfold(F.pad(mask, [reach] * 4, mode="replicate"), 2 * reach + 1) * near[:, None]
    return (around * torch.softmax(sharpness * around, dim=1)).sum(dim=1).view_as(mask)


def _enlarged(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(mask, size, mode="bilinear", align_corners=False)


def _blur(images: Tensor, sigma: float) -> Tensor:
    """Each channel blurred by a Gaussian, its border continued."""
    for dim in (-2, -1):
        reach = min(max(1, round(3 * sigma)), images.shape[dim] - 1)
        offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        kernel = torch.softmax(-0.5 * (offsets / sigma) ** 2, dim=0)
        along = dim == -2
        padding = (0, 0, reach, reach) if along else (reach, reach, 0, 0)
        flat = F.pad(images.flatten(0, 1)[:, None], padding, mode="replicate")
        blurred = F.conv2d(flat, kernel.view((1, 1, -1, 1) if along else (1, 1, 1, -1)))
        images = blurred[:, 0].unflatten(0, images.shape[:2])
    return images
