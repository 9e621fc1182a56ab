"""Does the map say how much each part counts, not only which comes first? Against the network's own answers.

The picture is cut into a grid of cells, the network is asked about it without some of them, and what is lost is
compared with what the map says of them. The subsets are the same for every map of a picture and are asked about once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.evaluation.faithfulness import area, evenly
from limelight.evaluation.registry import register
from limelight.evaluation.removal import Removal
from limelight.evaluation.scene import Scene
from limelight.evaluation.segments import segment_ranks
from limelight.evaluation.similarity import pearson, spearman
from limelight.evaluation.subsets import Dropped

if TYPE_CHECKING:
    from jaxtyping import Float

Portions = Callable[[int], Tensor]
"""``side -> (batch, cells)``: the map's sum over each cell of a grid of ``side`` x ``side``."""
Subsets = Callable[..., Dropped]
"""``(samples, side, share, baseline, seed)`` -> random subsets of the cells and what is lost without them."""
Singles = Callable[[int, str], Dropped]
"""``(side, baseline)`` -> each cell alone and what is lost without it."""


def _said(portions: Tensor, gone: Tensor) -> Float[Tensor, "batch subsets"]:
    """What the map says of each subset: its sum."""
    return portions @ gone.to(portions.dtype).T


@register(
    "faithfulness_correlation",
    title="Faithfulness correlation",
    source="Bhatt et al. 2020, arXiv 2005.00631, mu_F, over cells",
    question="faithful",
    better="higher",
    range=(-1.0, 1.0),
    passes="samples",
)
def faithfulness_correlation(
    portions: Portions,
    subsets: Subsets,
    *,
    samples: int = 200,
    side: int = 14,
    share: float = 0.1,
    baseline: str = "mean",
    seed: int = 0,
) -> Float[Tensor, "batch"]:
    """Pearson's correlation of what random subsets hold of the map with what the score loses without them."""
    asked = subsets(samples, side, share, baseline, seed)
    return pearson(_said(portions(side), asked.gone), asked.drops.T)


@register(
    "mufidelity",
    title="MuFidelity",
    source="Bhatt et al. 2020, arXiv 2005.00631, mu_F, by ranks as Xplique has it",
    question="faithful",
    better="higher",
    range=(-1.0, 1.0),
    passes="samples",
)
def mu_fidelity(
    portions: Portions,
    subsets: Subsets,
    *,
    samples: int = 200,
    side: int = 9,
    share: float = 0.2,
    baseline: str = "mean",
    seed: int = 0,
) -> Float[Tensor, "batch"]:
    """Faithfulness correlation on a grid of 9 x 9 cells, by Spearman's rank correlation."""
    asked = subsets(samples, side, share, baseline, seed)
    return spearman(_said(portions(side), asked.gone), asked.drops.T)


@register(
    "faithfulness_estimate",
    title="Faithfulness estimate",
    source="Alvarez-Melis & Jaakkola 2018, arXiv 1806.07538, faithfulness",
    question="faithful",
    better="higher",
    range=(-1.0, 1.0),
    passes="cells",
)
def faithfulness_estimate(
    portions: Portions, singles: Singles, *, side: int = 14, baseline: str = "mean"
) -> Float[Tensor, "batch"]:
    """Pearson's correlation of what each cell holds of the map with what the score loses without that cell alone."""
    return pearson(portions(side), singles(side, baseline).drops.T)


@register(
    "sensitivity_n",
    title="Sensitivity-n",
    source="Ancona et al. 2018, arXiv 1711.06104, sec. 4",
    question="faithful",
    better="higher",
    range=(-1.0, 1.0),
    passes="samples x shares",
)
def sensitivity_n(
    portions: Portions,
    subsets: Subsets,
    *,
    samples: int = 50,
    side: int = 14,
    shares: Sequence[float] = (0.01, 0.05, 0.1, 0.25, 0.5, 0.8),
    baseline: str = "zero",
    seed: int = 0,
) -> Float[Tensor, "batch"]:
    """The faithfulness correlation for subsets of n cells, averaged over n from few cells to most of them."""
    found = [
        faithfulness_correlation(
            portions, subsets, samples=samples, side=side, share=share, baseline=baseline, seed=seed
        )
        for share in shares
    ]
    return torch.stack(found).mean(dim=0)


@register(
    "infidelity",
    title="Infidelity",
    source="Yeh et al. 2019, arXiv 1901.09392, def. 2.1, removing random squares; scaled as captum does",
    question="faithful",
    better="lower",
    range=(0.0, math.inf),
    passes="samples",
)
def infidelity(
    portions: Portions,
    subsets: Subsets,
    *,
    samples: int = 200,
    side: int = 14,
    share: float = 0.1,
    baseline: str = "mean",
    scaled: bool = True,
    seed: int = 0,
) -> Float[Tensor, "batch"]:
    """The mean squared difference between what subsets hold of the map and what the score loses without them.

    A pixel's value in the map is taken for what it adds to the score. With ``scaled``, the map is first multiplied by
    the factor that serves it best, since most maps have no scale of their own; a map of zeros loses all there is.
    """
    asked = subsets(samples, side, share, baseline, seed)
    said, lost = _said(portions(side), asked.gone), asked.drops.T
    if scaled:
        best = (said * lost).mean(dim=1) / said.square().mean(dim=1).clamp(min=torch.finfo(said.dtype).tiny)
        said = best[:, None] * said
    return (said - lost).square().mean(dim=1)


@register(
    "monotonicity",
    title="Monotonicity",
    source="Arya et al. 2019 (AIX360), arXiv 1909.03012; Luss et al. 2019, arXiv 1905.12698",
    question="faithful",
    better="higher",
    range=(0.0, 1.0),
    passes="steps",
)
def monotonicity(
    removal: Removal, *, steps: int = 20, baseline: str = "mean", every: bool = False
) -> Float[Tensor, "batch"]:
    """The share of steps in which the score does not fall while pixels come back, the least marked first.

    With ``every``, 1 where that holds for every step and 0 otherwise: the papers' own, which few maps of a deep network
    ever reach.
    """
    curve = removal(evenly(steps), baseline).flip(0)
    rises = (curve.diff(dim=0) >= 0).to(curve.dtype)
    return rises.amin(dim=0) if every else rises.mean(dim=0)


@register(
    "monotonicity_correlation",
    title="Monotonicity (correlation)",
    source="Nguyen & Martinez 2020, arXiv 2007.07584",
    question="faithful",
    better="higher",
    range=(-1.0, 1.0),
    passes="cells x samples",
)
def monotonicity_correlation(
    portions: Portions, scene: Scene, *, side: int = 7, samples: int = 5, seed: int = 0
) -> Float[Tensor, "batch"]:
    """Spearman's correlation of each cell's magnitude in the map with how much the score varies when the cell does.

    The cell's pixels are drawn anew, each with its channel's mean and deviation in that picture.
    """
    return spearman(portions(side).abs(), scene.variations(side, samples, seed).T)


@register(
    "selectivity",
    title="Selectivity",
    source="Montavon et al. 2018, arXiv 1706.07979, sec. 4.2",
    question="faithful",
    better="lower",
    range=(0.0, math.inf),
    passes="steps",
)
def selectivity(
    removal: Removal, *, steps: int = 50, baseline: str = "zero", region: int = 8
) -> Float[Tensor, "batch"]:
    """The area under the score while the most marked squares go first, as a share of the score at the start."""
    curve = removal(evenly(steps), baseline, region)
    return area(curve) / curve[0]


@register(
    "irof",
    title="IROF",
    source="Rieger & Hansen 2020, arXiv 2003.08747",
    question="faithful",
    better="higher",
    passes="segments",
)
def irof(
    maps: Float[Tensor, "batch height width"], scene: Scene, *, segments: int = 60, baseline: str = "mean"
) -> Float[Tensor, "batch"]:
    """The area over the score, as a share of the score at the start, while superpixels go by their mean in the map.

    1 where the score is gone at once, 0 where it stays, negative where it rises. Superpixels are SLIC's.

    Raises:
        MissingExtra: scikit-image is not installed.
    """
    ranked = segment_ranks(maps, scene.segments(segments))
    counts = ranked.flatten(1).amax(dim=1) + 1
    fill, most = scene.fill(baseline), int(counts.max())
    scores = scene.ask(lambda few: fill(ranked < few.view(-1, 1, 1, 1) + 1), most)
    curve = torch.cat([scene.scores[None], scores]) / scene.scores
    steps = (
        torch.arange(most, device=curve.device)[:, None] < counts
    )  # from one removal to the next, while there is one
    heights = (curve[:-1] + curve[1:]) / 2
    return 1 - (heights * steps).sum(dim=0) / counts


@register(
    "completeness",
    title="Completeness",
    source="Sundararajan et al. 2017, arXiv 1703.01365, prop. 1 (axiom), as a relative error",
    question="faithful",
    better="lower",
    range=(0.0, math.inf),
    passes="1",
)
def completeness(
    maps: Float[Tensor, "batch height width"],
    scene: Scene,
    scores: Float[Tensor, "batch"],
    *,
    baseline: str = "zero",
) -> Float[Tensor, "batch"]:
    """How far the map's sum is from the score less the score of the baseline, as a share of the latter.

    A promise of path methods (integrated gradients, DeepLIFT, Shapley values) on the scale they explain, usually the
    logit: measure it with ``scale="logit"``. Others never made it.
    """
    difference = scores - scene.without(baseline)
    gap = (maps.flatten(1).sum(dim=1) - difference).abs()
    return gap / difference.abs().clamp(min=torch.finfo(gap.dtype).eps)


@register(
    "non_sensitivity",
    title="Non-sensitivity",
    source="Nguyen & Martinez 2020, arXiv 2007.07584, as a share of the cells",
    question="faithful",
    better="lower",
    range=(0.0, 1.0),
    passes="cells",
)
def non_sensitivity(
    portions: Portions, singles: Singles, *, side: int = 14, baseline: str = "mean", threshold: float = 1e-3
) -> Float[Tensor, "batch"]:
    """The share of cells of which only one is true: the map holds nothing there, the score does not depend on it.

    "Nothing" is less than ``threshold`` of the largest magnitude, for the map and for the score alike.
    """
    empty, idle = (
        values.abs() <= threshold * values.abs().amax(dim=1, keepdim=True)
        for values in (portions(side), singles(side, baseline).drops.T)
    )
    return (empty ^ idle).to(torch.get_default_dtype()).mean(dim=1)


@register(
    "occlusion_correlation",
    title="Rank correlation with occlusion",
    source="Selvaraju et al. 2017, arXiv 1610.02391, sec. 5.3",
    question="faithful",
    better="higher",
    range=(-1.0, 1.0),
    passes="windows",
)
def occlusion_correlation(
    maps: Float[Tensor, "batch height width"],
    occlusion: Callable[[int], Tensor],
    *,
    side: int = 14,
    window: int = 7,
) -> Float[Tensor, "batch"]:
    """Spearman's correlation of the map with the map of what the score loses when a grey window covers each place.

    The window is a ``window``-th of the shorter side; both maps are compared on a grid of ``side`` x ``side``.
    """
    covered = F.adaptive_avg_pool2d(occlusion(window)[:, None], side).flatten(1)
    own = F.adaptive_avg_pool2d(_enlarged(maps, side)[:, None], side).flatten(1)
    return spearman(own, covered)


def _enlarged(maps: Tensor, side: int) -> Tensor:
    """A map coarser than the grid, interpolated to it."""
    size = (max(maps.shape[1], side), max(maps.shape[2], side))
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
