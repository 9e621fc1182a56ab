"""Path integrals of gradients: what integrated gradients and its relatives are made of.

An attribution is the integral of gradient times velocity along a path from a baseline to the images (or to a layer's
activations), so it sums to the difference of the scores at the two ends, whatever the path: completeness.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.head import Head

if TYPE_CHECKING:
    from jaxtyping import Float

    from limelight.methods.evidence import Evidence

Baseline = float | str | Tensor
"""Where a path starts: a number (0 is the mean colour in normalised space), "blur", or a tensor of one's own."""

Along = Callable[[Tensor], Tensor]
"""``(few,)`` indices of points on a path -> ``(few, batch, channels, *grid)`` (or a 1 where all are the same)."""


def baseline_of(
    images: Float[Tensor, "batch channels *grid"], baseline: Baseline
) -> Float[Tensor, "batch channels *grid"]:
    """The baseline of each image (or of a layer's activations).

    A number fills it; "blur" is the image itself out of focus, a twentieth of its longer side wide (Fong and Vedaldi
    2017, arXiv 1704.03296, sec. 4.1: about 10 pixels of 224); a tensor is broadcast over the batch.

    Raises:
        MethodError: it is none of these, or the tensor does not fit.
    """
    if isinstance(baseline, int | float):
        return torch.full_like(images, baseline)
    if isinstance(baseline, Tensor):
        try:
            return baseline.to(images).expand_as(images)
        except RuntimeError:
            shapes = f"{tuple(baseline.shape)}, which does not spread over {tuple(images.shape)}"
            raise MethodError(f"the baseline is of shape {shapes}") from None
    if baseline == "blur":
        width = max(images.shape[2:]) / 20
        return blurred(images, images.new_tensor([width]), width)[0]
    raise MethodError(f"baseline={baseline!r}: give a number, 'blur', or a tensor {tuple(images.shape)}")


def path_integral(
    head: Head, path: Along, velocity: Along, weights: Float[Tensor, " points"]
) -> Float[Tensor, "batch channels *grid"]:
    """The integral of gradient times velocity: the sum, over the points of ``path``, of both times the weight."""
    total: Tensor | float = 0.0
    left = torch.arange(len(weights), device=weights.device)
    for _, gradients, _ in head.gradients(path, len(weights)):
        here, left = left[: len(gradients)], left[len(gradients) :]
        total = total + (over(weights[here], gradients) * velocity(here) * gradients).sum(dim=0)
    assert isinstance(total, Tensor)
    return total


def straight(head: Head, start: Tensor, end: Tensor, steps: int) -> Float[Tensor, "batch channels *grid"]:
    """The integral along the straight line from ``start`` to ``end``, by Gauss and Legendre's rule."""
    nodes, weights = gauss_legendre(steps, like=end)
    return path_integral(head, line(start, end, nodes), lambda indices: end - start, weights)


def line(start: Tensor, end: Tensor, positions: Float[Tensor, " points"]) -> Along:
    """The points of the straight line that lie ``positions`` (in [0, 1]) of the way from ``start`` to ``end``."""
    return lambda indices: start + over(positions[indices], end[None]) * (end - start)


def gauss_legendre(steps: int, like: Tensor) -> tuple[Float[Tensor, " steps"], Float[Tensor, " steps"]]:
    """Nodes and weights of Gauss and Legendre's rule on [0, 1], from the Jacobi matrix (Golub and Welsch 1969).

    For a smooth network a few steps are exact to rounding; for one of ReLUs it is as good as any rule.
    """
    if steps < 1:
        raise MethodError(f"steps={steps}: a path needs at least one")
    k = torch.arange(1, steps, dtype=torch.float64)
    beside = torch.diag(k / (4 * k**2 - 1).sqrt(), diagonal=1)
    nodes, vectors = torch.linalg.eigh(beside + beside.T)
    return ((1 + nodes) / 2).to(like), vectors[0].square().to(like)


def blurred(
    images: Float[Tensor, "batch channels *grid"], sigmas: Float[Tensor, " few"], widest: float
) -> Float[Tensor, "few batch channels *grid"]:
    """Each image convolved with Gaussians of these widths in cells, none above ``widest``; zero beyond the border."""
    images = images.expand(len(sigmas), *images.shape)
    for axis in range(3, images.ndim):
        cells = torch.arange(images.shape[axis], device=images.device)
        reach = torch.arange(max(len(cells), int(8 * widest) + 1), device=images.device)
        falls = torch.exp(-(reach**2) / (2 * sigmas[:, None] ** 2))
        kernel = (falls / (2 * falls.sum(dim=1, keepdim=True) - 1))[:, (cells[:, None] - cells).abs()]
        images = torch.einsum("fmn,f...n->f...m", kernel, images.movedim(axis, -1)).movedim(-1, axis)
    return images


def normals(indices: Tensor, shape: Sequence[int], seed: int | str, like: Tensor) -> Float[Tensor, "few 1 *shape"]:
    """The standard normal draws of these indices, the same for every image of a batch.

    Each index has a generator of its own, so a draw depends on nothing but ``seed`` and index: not on the device, not
    on how many are drawn at once, not on anybody else's random numbers.
    """
    keys = [random.Random(f"{seed}, {index}").getrandbits(63) for index in indices.tolist()]
    draws = [torch.randn(tuple(shape), generator=torch.Generator().manual_seed(key)) for key in keys]
    return torch.stack(draws)[:, None].to(like)


def over(values: Float[Tensor, " few"], like: Float[Tensor, "few ..."]) -> Tensor:
    """One value for each entry, shaped to multiply ``like``."""
    return values.view(-1, *[1] * (like.ndim - 1))


def one_by_one(reruns: Iterator[Evidence], look: Callable[[Evidence], Tensor], batch: int) -> Iterator[Tensor]:
    """What ``look`` sees in each altered version of a batch, ``(batch, ...)``, however many ran at once."""
    for evidence in reruns:
        yield from look(evidence).split(batch)
