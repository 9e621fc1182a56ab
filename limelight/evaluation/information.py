"""Performance information curves: how soon the network knows, as the information in the picture grows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limelight.evaluation.perturb import ranks
from limelight.evaluation.registry import register
from limelight.evaluation.scene import Scene

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

SHARES = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.13, 0.21, 0.34, 0.5, 0.75)
"""Shares of the pixels that are brought back (Kapishnikov et al. 2019, as published with the code)."""


def webp_bytes(images: Float[Tensor, "n channels rows columns"], low: Tensor, high: Tensor) -> Float[Tensor, " n"]:
    """The length of each picture as a lossless WebP file, its values from ``low`` to ``high`` on 256 levels.

    An estimate of how much information it holds (Kapishnikov et al. 2019).
    """
    from torchvision.transforms.functional import to_pil_image

    lengths = []
    pixels = ((images - low) / (high - low).clamp(min=1e-12)).clamp(0, 1).mul(255).round().byte().cpu()
    for each in pixels:
        buffer = io.BytesIO()
        to_pil_image(each if len(each) in (1, 3) else each[:1]).convert("RGB").save(
            buffer, "WEBP", lossless=True, quality=100
        )
        lengths.append(buffer.tell())
    return torch.tensor(lengths, dtype=torch.float64)


def known_at_first(size: tuple[int, int], share: float = 0.01, seed: int = 0) -> Bool[Tensor, "rows columns"]:
    """A few pixels at random that are always there."""
    return torch.rand(size, generator=torch.Generator().manual_seed(seed)) < share


def information_curve(
    answers: Float[Tensor, "shares"], lengths: Float[Tensor, "shares"], points: int = 1000
) -> Float[Tensor, ""]:
    """The area under answers over information, both from the emptiest picture (0) to the whole one (1).

    ``answers`` and ``lengths`` begin with the emptiest picture and end with the whole. Answers never fall: what the
    network knew once it has shown that it can know. 0 where the whole picture holds no more than the emptiest.
    """
    span = lengths[-1] - lengths[0]
    if span <= 0:
        return answers.new_zeros(())
    x = ((lengths - lengths[0]) / span).clamp(0, 1)
    x, order = x.sort(stable=True)
    y = answers.double()[order.to(answers.device)].cummax(dim=0).values.cpu()
    at = torch.linspace(0, 1, points + 1, dtype=torch.float64)
    right = torch.searchsorted(x, at).clamp(1, len(x) - 1)
    x0, x1, y0, y1 = x[right - 1], x[right], y[right - 1], y[right]
    along = torch.where(x1 > x0, (at - x0) / torch.where(x1 > x0, x1 - x0, 1), 1).clamp(0, 1)
    return torch.trapezoid(y0 + along * (y1 - y0), at).to(answers)


def _curves(maps: Tensor, scene: Scene, shares: Sequence[float], baseline: str, question: Any) -> Tensor:
    """``question``'s answers along the way, and the files' lengths: areas ``(batch,)``."""
    ranked = ranks(maps, scene.size)
    total, kept = ranked[0].numel(), known_at_first(scene.size).to(ranked.device)
    counts = torch.tensor([0, *(round(share * total) for share in shares), total], device=ranked.device)
    fill = scene.fill(baseline)

    def shown(few: Tensor) -> Tensor:
        return fill((ranked >= counts[few].view(-1, 1, 1, 1)) & ~kept)

    answers = question(shown, len(counts))
    low, high = (extreme(scene.images, dim=(1, 2, 3), keepdim=True) for extreme in (torch.amin, torch.amax))
    lengths = torch.stack([webp_bytes(shown(few)[0], low, high) for few in torch.arange(len(counts)).split(1)])
    return torch.stack([information_curve(a, n) for a, n in zip(answers.T, lengths.T, strict=True)])


@register(
    "sic",
    title="Softmax information curve (SIC)",
    source="Kapishnikov et al. 2019 (XRAI), arXiv 1906.02825",
    question="faithful",
    better="higher",
    range=(0.0, 1.0),
    passes="15",
)
def softmax_information(
    maps: Float[Tensor, "batch height width"],
    scene: Scene,
    *,
    shares: Sequence[float] = SHARES,
    baseline: str = "blur",
) -> Float[Tensor, "batch"]:
    """The area under the score, as a share of the whole picture's, while the most marked pixels come back.

    Over the information in the picture (bytes of a lossless file), not over the number of pixels: marking what is busy
    is no gain. The paper takes the median curve over pictures; this is each picture's own.
    """

    def question(shown: Any, count: int) -> Tensor:
        scores = scene.ask(shown, count)
        rise = scores[-1] - scores[0]
        return torch.where(rise > 0, (scores - scores[0]) / torch.where(rise > 0, rise, 1), 0).clamp(0, 1)

    return _curves(maps, scene, shares, baseline, question)


@register(
    "aic",
    title="Accuracy information curve (AIC)",
    source="Kapishnikov et al. 2019 (XRAI), arXiv 1906.02825",
    question="faithful",
    better="higher",
    range=(0.0, 1.0),
    passes="15",
)
def accuracy_information(
    maps: Float[Tensor, "batch height width"],
    scene: Scene,
    *,
    shares: Sequence[float] = SHARES,
    baseline: str = "blur",
) -> Float[Tensor, "batch"]:
    """The area under "the target is the predicted class" (1 or 0), over the information in the picture."""
    return _curves(maps, scene, shares, baseline, scene.predicted)
