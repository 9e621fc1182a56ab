"""Channel weights from the whole network run again on the image seen through each channel.

Masks are brought to the image's size and then into [0, 1], each on its own, a few at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.head import Head
from limelight.heatmap import resize
from limelight.methods.registry import register
from limelight.methods.weighting import weighted
from limelight.telling import told

if TYPE_CHECKING:
    from jaxtyping import Float


@register(
    "scorecam",
    title="Score-CAM",
    source="Wang et al. 2020, arXiv 1910.01279, eq. 5 to 8",
    signed=False,
    passes="channels",
    same_replays=True,
)
def score_cam(
    activations: Float[Tensor, "batch channels height width"],
    images: Float[Tensor, "batch colours rows columns"],
    whole: Head,
    *,
    top: int | None = None,
) -> Float[Tensor, "batch height width"]:
    """Channels weighted by the score of the image seen through them, softmax over channels (eq. 8).

    The softmax takes the baseline's score away by itself. Masks are placed on the image as its cells lie
    (half-pixel centres); pytorch-grad-cam aligns corners instead, which shifts them by up to half a cell.

    Args:
        activations: of the layer.
        images: what the network saw.
        whole: the whole network.
        top: look through only so many channels, those that vary most (Faster-Score-CAM); None for all.
    """
    chosen = _most_varied(activations, top)
    scores = whole.scores(lambda few: _through(chosen[:, few].transpose(0, 1), images), chosen.shape[1])
    return weighted(scores.T.to(chosen.dtype).softmax(dim=1), chosen)


@register(
    "sscam",
    title="SS-CAM",
    source="Wang et al. 2020, arXiv 2006.14255 (noise on the activations)",
    signed=False,
    passes="samples x channels",
    same_replays=True,
)
def ss_cam(
    activations: Float[Tensor, "batch channels height width"],
    images: Float[Tensor, "batch colours rows columns"],
    whole: Head,
    *,
    samples: int = 10,
    std: float = 2.0,
    top: int | None = None,
    seed: int = 0,
) -> Float[Tensor, "batch height width"]:
    """Score-CAM with each channel's score averaged over noisy versions of its mask.

    Args:
        activations: of the layer.
        images: what the network saw.
        whole: the whole network.
        samples: noisy masks for each channel.
        std: of the noise that is added to the channel at the image's size, in the units of the activations.
        top: as in Score-CAM.
        seed: of the noise, which is the same for every image of a batch.
    """
    chosen = _most_varied(activations, top)
    channels = chosen.shape[1]
    seeds = torch.randint(2**31, (samples * channels,), generator=torch.Generator().manual_seed(seed))

    def noisy(few: Tensor) -> Tensor:
        drawn = [torch.Generator().manual_seed(each) for each in seeds[few.cpu()].tolist()]
        noise = torch.stack([torch.randn(images.shape[-2:], generator=each) for each in drawn])
        masks = chosen[:, few % channels].transpose(0, 1)
        return _through(masks, images, std * noise[:, None].to(images))

    scores = whole.scores(noisy, samples * channels).unflatten(0, (samples, channels)).mean(dim=0)
    return weighted(scores.T.to(chosen.dtype).softmax(dim=1), chosen)


@register(
    "iscam",
    title="IS-CAM",
    source="Naidu et al. 2020, arXiv 2010.03023",
    signed=False,
    passes="steps x channels",
    same_replays=True,
)
def is_cam(
    activations: Float[Tensor, "batch channels height width"],
    images: Float[Tensor, "batch colours rows columns"],
    whole: Head,
    *,
    steps: int = 10,
    top: int | None = None,
) -> Float[Tensor, "batch height width"]:
    """Score-CAM with each channel's score averaged on the way from a black image to the masked one.

    The way is ``i / steps`` for i from 1 to ``steps``, and ends at the masked image. torchcam adds these factors
    up instead and so runs the network on images up to ``(steps + 1) / 2`` times as bright as the photograph.
    """
    chosen = _most_varied(activations, top)
    channels = chosen.shape[1]

    def on_the_way(few: Tensor) -> Tensor:
        share = (few // channels + 1) / steps
        return share[:, None, None, None, None] * _through(chosen[:, few % channels].transpose(0, 1), images)

    scores = whole.scores(on_the_way, steps * channels).unflatten(0, (steps, channels)).mean(dim=0)
    return weighted(scores.T.to(chosen.dtype).softmax(dim=1), chosen)


@register(
    "groupcam",
    title="Group-CAM",
    source="Zhang et al. 2021, arXiv 2103.13859",
    passes="groups + 2",
)
def group_cam(
    activations: Float[Tensor, "batch channels height width"],
    gradients: Float[Tensor, "batch channels height width"],
    images: Float[Tensor, "batch colours rows columns"],
    whole: Head,
    *,
    groups: int = 32,
    quantile: float = 0.7,
    blur: float = 10.0,
) -> Float[Tensor, "batch height width"]:
    """Groups of neighbouring channels, summed as in Grad-CAM, weighted by the score they bring back to a blurred image.

    Args:
        activations: of the layer.
        gradients: of the score.
        images: what the network saw.
        whole: the whole network.
        groups: how many.
        quantile: a group's cells below this quantile of it are noise, and zero.
        blur: standard deviation of the blur, in pixels.
    """
    parts = gradients.flatten(2).mean(dim=2)[..., None, None] * activations
    groups = min(groups, parts.shape[1])
    summed = torch.stack([part.sum(dim=1) for part in parts.tensor_split(groups, dim=1)], dim=1).clamp(min=0)
    floor = summed.flatten(2).quantile(quantile, dim=2)[..., None, None]
    masks = torch.where(summed >= floor, summed, 0)
    blurred = _blurred(images, blur)

    def brought_back(few: Tensor) -> Tensor:
        seen = few < groups  # the last version is the blurred image itself
        mask = _unit(resize(masks[:, few.clamp(max=groups - 1)].transpose(0, 1), _size(images)))[:, :, None]
        return torch.where(seen[:, None, None, None, None], blurred + mask * (images - blurred), blurred)

    scores = whole.scores(brought_back, groups + 1).to(masks.dtype)
    return weighted((scores[:-1] - scores[-1]).T, _unit(masks))


@register(
    "opticam",
    title="Opti-CAM",
    source="Zhang et al. 2024, arXiv 2301.07002, eq. 6 to 9",
    signed=False,
    passes="3 x steps",
)
def opti_cam(
    activations: Float[Tensor, "batch channels height width"],
    images: Float[Tensor, "batch colours rows columns"],
    whole: Head,
    *,
    steps: int = 100,
    rate: float = 0.1,
) -> Float[Tensor, "batch height width"]:
    """The softmax weights of the channels that make the image seen through their sum score highest.

    Found by Adam, from equal weights.

    Args:
        activations: of the layer.
        images: what the network saw.
        whole: the whole network.
        steps: of the optimiser.
        rate: of learning, as the paper's.
    """
    logits = torch.zeros(activations.shape[:2], device=activations.device, dtype=activations.dtype, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=rate)
    for _ in told(steps):
        with torch.enable_grad():
            seen = _through(weighted(logits.softmax(dim=1), activations)[None], images)
        ((_, slope, _),) = whole.gradients(lambda few, seen=seen: seen.detach(), 1)
        (logits.grad,) = torch.autograd.grad(seen, logits, -slope)
        optimiser.step()
    return weighted(logits.detach().softmax(dim=1), activations)


def _most_varied(activations: Tensor, top: int | None) -> Tensor:
    """The ``top`` channels of each image whose cells vary most, ``(batch, top, *grid)``; all of them for None."""
    if top is None or top >= activations.shape[1]:
        return activations
    best = activations.flatten(2).std(dim=2).topk(top, dim=1).indices
    return activations.take_along_dim(best[:, :, None, None], dim=1)


def _through(masks: Tensor, images: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """The images seen through masks ``(few, batch, height, width)``: ``(few, batch, colours, rows, columns)``."""
    return images * _unit(resize(masks, _size(images)) + noise)[:, :, None]


def _unit(maps: Tensor) -> Tensor:
    """Each map stretched to [0, 1]; a constant one is zero."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1)


def _blurred(images: Tensor, std: float) -> Tensor:
    """Gaussian blur, the border's pixels continued."""
    radius = int(3 * std)
    distance = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-((distance / std) ** 2) / 2)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images, (radius, radius, radius, radius), mode="replicate")
    across = F.conv2d(padded, kernel, groups=images.shape[1])
    return F.conv2d(across, kernel.transpose(2, 3), groups=images.shape[1])


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]
