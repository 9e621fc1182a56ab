"""Maps from many random coalitions of segments: variance and dependence of the score, and models fitted to it.

With ``stable`` in (0, 1), an image needs no more samples once its map is as stable as that (what stability is:
:mod:`limelight.methods.stable`), looked at every 64 coalitions, and every 8 samples of Sobol's design.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.cut import INPUT
from limelight.head import Head
from limelight.methods.perturbation import on_segments, segmentation
from limelight.methods.registry import register
from limelight.methods.stable import fitted

if TYPE_CHECKING:
    from jaxtyping import Float


@register(
    "sobol",
    title="Sobol attribution",
    source="Fel et al. 2021, arXiv 2111.04138, eq. 4 with Jansen's estimator",
    signed=False,
    passes="samples x (segments + 2)",
    layer=INPUT,
    same_replays=True,
)
def sobol(
    activations: Float[Tensor, "batch channels height width"],
    head: Head,
    *,
    samples: int = 32,
    segments: int | Tensor = 7,
    baseline: float = 0.0,
    seed: int = 0,
    stable: float | None = None,
) -> Float[Tensor, "batch height width"]:
    """Total Sobol indices: the share of the score's variance in which dimming a segment has a part (eq. 4).

    Segments are dimmed towards ``baseline`` by a quasi-random design of two independent samples, A and B; C is A with
    one segment's column of B (Jansen 1999). Never negative: it says that a segment matters, not which way.
    """
    labels = segmentation(activations, segments)
    d = int(labels.max()) + 1
    design = torch.quasirandom.SobolEngine(2 * d, scramble=True, seed=seed).draw(samples).to(activations)
    a, b = design[:, :d], design[:, d:]
    swapped = a.repeat(d, 1, 1)  # (segments, samples, segments)
    swapped.diagonal(dim1=0, dim2=2).copy_(b)
    designs = torch.cat([a[None], b[None], swapped]).transpose(0, 1)  # (samples, 2 + segments, segments)

    def ask(few: Tensor) -> Tensor:
        rows = designs[few].flatten(0, 1)
        return dimmed_scores(activations, head, labels, rows, baseline).unflatten(0, (len(few), -1)).flatten(1)

    def fit(some: Tensor, scores: Tensor) -> Tensor:
        scores = scores.unflatten(1, (d + 2, -1))  # (some, designs, batch)
        apart = (scores[:, :1] - scores[:, 2:]).square().mean(dim=0)
        variance = scores[:, :2].flatten(0, 1).var(dim=0).clamp(min=torch.finfo(scores.dtype).tiny)
        return on_segments(apart / (2 * variance), labels)

    return fitted(ask, fit, samples, 8, stable)


@register(
    "hsic",
    title="HSIC attribution",
    source="Novello et al. 2022, arXiv 2206.06219, eq. 4 and sec. 4",
    signed=False,
    passes="samples",
    layer=INPUT,
    same_replays=True,
)
def hsic(
    activations: Float[Tensor, "batch channels height width"],
    head: Head,
    *,
    samples: int = 512,
    segments: int | Tensor = 7,
    baseline: float = 0.0,
    seed: int = 0,
    stable: float | None = None,
) -> Float[Tensor, "batch height width"]:
    """How much the score depends on whether a segment is there, by the Hilbert-Schmidt independence criterion (eq. 4).

    The kernel of a segment's presence is 1/2 - (z - z')^2, of scores a Gaussian with the median distance as width. In
    expectation never negative, and zero for a segment the score does not depend on.
    """
    labels = segmentation(activations, segments)
    z = coalitions(samples, int(labels.max()) + 1, seed).to(activations)

    def fit(some: Tensor, scores: Tensor) -> Tensor:
        z_some = z[some]
        apart = (scores[:, None] - scores[None]).abs()  # (some, some, batch)
        width = apart.flatten(0, 1).median(dim=0).values.clamp(min=torch.finfo(scores.dtype).eps)
        gauss = torch.exp(-0.5 * (apart / width) ** 2)
        centred = gauss - gauss.mean(dim=0, keepdim=True)
        centred = centred - centred.mean(dim=1, keepdim=True)
        # tr(K H L H) with K = 1/2 - (z - z')^2 and z in {0, 1}: only its product 2 z z' outlives the centring.
        dependence = 2 * torch.einsum("ns,nmb,ms->sb", z_some, centred, z_some)
        return on_segments(dependence / max(len(some) - 1, 1) ** 2, labels)

    return fitted(lambda few: dimmed_scores(activations, head, labels, z[few], baseline), fit, samples, 64, stable, 2)


@register(
    "lime",
    title="LIME",
    source="Ribeiro et al. 2016, arXiv 1602.04938, eq. 2 and alg. 1",
    passes="samples",
    layer=INPUT,
    same_replays=True,
)
def lime(
    activations: Float[Tensor, "batch channels height width"],
    head: Head,
    *,
    samples: int = 512,
    segments: int | Tensor = 7,
    baseline: float = 0.0,
    width: float = 0.25,
    ridge: float = 1.0,
    seed: int = 0,
    stable: float | None = None,
) -> Float[Tensor, "batch height width"]:
    """The weights of a ridge regression from which segments are there to the score, near the whole picture. Signed.

    A sample weighs exp(-D^2 / width^2), D being the cosine distance to "all there", as in the authors' own code for
    images. Segments are a grid unless a segmentation is given.
    """
    labels = segmentation(activations, segments)
    z = coalitions(samples, int(labels.max()) + 1, seed).to(activations)
    distance = 1 - z.mean(dim=1).sqrt()  # of cosines: z.1 / (|z| |1|)
    weights = torch.exp(-((distance / width) ** 2))[:, None]

    def fit(some: Tensor, scores: Tensor) -> Tensor:
        near, there = weights[some], z[some]
        means = [
            (near * each).sum(dim=0) / near.sum() for each in (there, scores)
        ]  # the intercept, which is not shrunk
        there, scores = there - means[0], scores - means[1]
        normal = there.T @ (near * there) + ridge * torch.eye(there.shape[1], dtype=z.dtype, device=z.device)
        return on_segments(torch.linalg.solve(normal, there.T @ (near * scores)), labels)

    return fitted(lambda few: dimmed_scores(activations, head, labels, z[few], baseline), fit, samples, 64, stable, 2)


@register(
    "kernelshap",
    title="KernelSHAP",
    source="Lundberg & Lee 2017, arXiv 1705.07874, theorem 2",
    passes="samples",
    layer=INPUT,
    same_replays=True,
)
def kernel_shap(
    activations: Float[Tensor, "batch channels height width"],
    head: Head,
    *,
    samples: int = 512,
    segments: int | Tensor = 7,
    baseline: float = 0.0,
    seed: int = 0,
    stable: float | None = None,
) -> Float[Tensor, "batch height width"]:
    """Shapley values of the segments by a regression under the Shapley kernel (theorem 2). Signed.

    Coalitions are drawn from the kernel, each with its complement, so the regression itself is unweighted; where there
    are no more of them than ``samples`` (nine segments, by default), each is asked once and weighs what the kernel
    says: the values are then exact. That they sum to score minus baseline's score is imposed, not hoped for.
    """
    labels = segmentation(activations, segments)
    d = int(labels.max()) + 1
    few_enough = 1 < d < 20 and 2**d - 2 <= samples
    drawn, kernel = _every_coalition(d, seed) if few_enough else _by_shapley_kernel(max(samples // 2, d), d, seed)
    z, weights = drawn.to(activations), kernel.to(activations)
    ends = torch.stack([torch.ones_like(z[0]), torch.zeros_like(z[0])])
    whole, none = dimmed_scores(activations, head, labels, ends, baseline)

    def fit(some: Tensor, scores: Tensor) -> Tensor:
        last = z[some, -1:]  # its value is what the others leave of the sum
        free, rest = z[some, :-1] - last, scores - none - last * (whole - none)
        root = weights[some, None].sqrt()
        values = torch.linalg.pinv(root * free) @ (root * rest)  # a half may hold fewer coalitions than segments
        return on_segments(torch.cat([values, (whole - none - values.sum(dim=0))[None]]), labels)

    return fitted(lambda few: dimmed_scores(activations, head, labels, z[few], baseline), fit, len(z), 64, stable, 2)


def coalitions(samples: int, segments: int, seed: int) -> Float[Tensor, "samples segments"]:
    """Which segments are there: each with probability one half, every other sample the complement of the one before."""
    half = torch.rand(-(-samples // 2), segments, generator=torch.Generator().manual_seed(seed)) < 0.5
    return _with_complements(half)[:samples]


def dimmed_scores(
    activations: Tensor, head: Head, labels: Tensor, presence: Float[Tensor, "samples segments"], baseline: float
) -> Float[Tensor, "samples batch"]:
    """The scores when each segment is there to the given degree, and ``baseline`` takes the rest of its place."""

    def dim(few: Tensor) -> Tensor:
        there = presence[few][:, labels][:, :, None]  # (few, batch, 1, height, width)
        return torch.lerp(torch.full_like(activations, baseline), activations, there)

    return head.scores(dim, len(presence))


def _by_shapley_kernel(pairs: int, segments: int, seed: int) -> tuple[Tensor, Tensor]:
    """Coalitions ``(samples, segments)`` whose sizes follow the Shapley kernel, each with its complement; and ones."""
    random = torch.Generator().manual_seed(seed)
    sizes = torch.arange(1, max(segments, 2), dtype=torch.float64)
    kernel = 1 / (sizes * (segments - sizes).clamp(min=1))  # summed over the subsets of a size
    drawn = sizes[torch.multinomial(kernel, pairs, replacement=True, generator=random)]
    ranks = torch.rand(pairs, segments, generator=random).argsort(dim=1).argsort(dim=1)
    return _with_complements(ranks < drawn[:, None]), torch.ones(2 * pairs)


def _every_coalition(segments: int, seed: int) -> tuple[Tensor, Tensor]:
    """All coalitions but the empty and the full one, in random order, each with its complement; and their kernel."""
    numbers = torch.randperm(2 ** (segments - 1) - 1, generator=torch.Generator().manual_seed(seed))
    first = torch.ones(len(numbers), 1, dtype=torch.bool)
    others = numbers[:, None].bitwise_right_shift(torch.arange(segments - 1)) % 2 == 1
    z = _with_complements(torch.cat([first, others], dim=1))
    return z, torch.tensor(
        [1 / (math.comb(segments, size) * size * (segments - size)) for size in z.sum(dim=1).int().tolist()]
    )


def _with_complements(chosen: Tensor) -> Tensor:
    return torch.stack([chosen, ~chosen], dim=1).flatten(0, 1).float()
