"""Channel weights from the head run again with channels taken out.

Each map is the layer's channels, summed by weights that say what a channel is worth to the score.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.head import Head
from limelight.methods.registry import register
from limelight.methods.stable import Estimate, until_stable
from limelight.methods.weighting import weighted
from limelight.rules.rescale import multipliers

if TYPE_CHECKING:
    from jaxtyping import Float


@register(
    "ablationcam",
    title="Ablation-CAM",
    source="Desai and Ramaswamy 2020, doi 10.1109/WACV45572.2020.9093360, eq. 5 and 6",
    passes="channels, of the head alone",
    same_replays=True,
)
def ablation_cam(
    activations: Float[Tensor, "batch channels *grid"], head: Head, scores: Float[Tensor, " batch"]
) -> Float[Tensor, "batch *grid"]:
    """Channels weighted by the relative drop of the score when the channel is set to zero (eq. 5).

    The drop is divided by the score's size, not by the score: where the score is negative (the paper's never is) the
    map would otherwise show what speaks against the target. Signed: a channel whose absence raises the score counts
    against the target.
    """
    every = torch.eye(activations.shape[1], dtype=torch.bool, device=activations.device)
    without = head.masked(lambda few: ~every[few, None].expand(-1, len(scores), -1), len(every))
    drops = (scores.detach() - without).to(activations.dtype)
    size = scores.detach().abs().to(activations.dtype).clamp(min=torch.finfo(activations.dtype).tiny)
    return weighted((drops / size).T, activations)


@register(
    "shapcam",
    title="SHAP-CAM",
    source="Jung and Oh 2021, arXiv 2102.05228, eq. 5 to 7; sampling as Castro et al. 2009",
    passes="permutations x channels, of the head alone",
    same_replays=True,
)
def shap_cam(
    activations: Float[Tensor, "batch channels *grid"],
    head: Head,
    *,
    permutations: int = 8,
    seed: int = 0,
    stable: float | None = None,
) -> Float[Tensor, "batch *grid"]:
    """Channels weighted by their Shapley values, estimated from random orders (see :func:`shapley_values`).

    With ``stable`` in (0, 1), an image needs no more orders once its map is as stable as that, looked at every 4.
    """

    def estimates() -> Iterator[Estimate]:
        every = torch.zeros(0)
        for values in shapley_values(activations, head, permutations, seed, permutations if stable is None else 4):
            every = torch.cat([every.to(values), values])
            pair = torch.arange(len(every), device=every.device) // 2 % 2  # an order and its reverse belong together
            halves = [every[pair == half] if (pair == half).any() else every for half in (0, 1)]
            whole, one, other = (weighted(some.mean(dim=0), activations) for some in (every, *halves))
            yield Estimate(whole, (one, other))

    return until_stable(estimates(), stable)


def shapley_values(
    activations: Float[Tensor, "batch channels *grid"], head: Head, permutations: int, seed: int, at_once: int
) -> Iterator[Float[Tensor, "orders batch channels"]]:
    """What each channel adds to the score when it joins those before it, for random orders of arrival, some at a time.

    Channels that have not arrived are zero. Every order's values sum to ``score - score with all channels zero``, so
    the estimate is complete however few the orders. Each order is taken both ways round, which cancels what pairs of
    channels do together. All images share the orders, so none depends on which others are in its batch.
    """
    channels = activations.shape[1]
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(channels, generator=generator) for _ in range((permutations + 1) // 2)]
    both_ways = torch.stack([way for order in orders for way in (order, order.flip(0))][:permutations])
    arrivals = both_ways.argsort(dim=1).to(activations.device)  # (permutations, channels): when each channel comes
    for arrival in arrivals.split(at_once):

        def present(few: Tensor, arrival: Tensor = arrival) -> Tensor:
            order, come = few // (channels + 1), few % (channels + 1)
            return (arrival[order] < come[:, None])[:, None].expand(-1, len(activations), -1)

        scores = head.masked(present, len(arrival) * (channels + 1)).to(activations.dtype)
        added = scores.unflatten(0, (len(arrival), channels + 1)).diff(dim=1)  # (orders, channels, batch)
        yield added.gather(1, arrival[..., None].expand_as(added)).mT


@register(
    "liftcam",
    title="LIFT-CAM",
    source="Jung and Oh 2021, arXiv 2102.05228, eq. 8 and 9; rescale rule of Shrikumar et al. 2017",
    passes="3",
)
def lift_cam(activations: Float[Tensor, "batch channels *grid"], head: Head) -> Float[Tensor, "batch *grid"]:
    """Channels weighted by their DeepLIFT contribution, the Shapley values' approximation in one backward pass.

    The reference is a layer of zeros. Contributions are complete where every operation of the head has a rule
    (:mod:`limelight.rules.rescale`); through others (attention, layer norm) they are multiplied by the plain gradient.
    """
    slopes = multipliers(head, torch.zeros_like(activations))
    return weighted((slopes * activations).flatten(2).sum(dim=2), activations)
