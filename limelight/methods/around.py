"""Wrappers: a method in, a method out, for any method there is.

Three ways round a method: run it on altered images and join what it says (:func:`noise_tunnel`, :func:`augmented`, by
the evidence ``rerun``), change the map it gives (:func:`forgrad`), or its way of adding up channels
(:func:`eigen_smoothed`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.head import Alter
from limelight.methods.eigen import principal_map
from limelight.methods.paths import normals, one_by_one
from limelight.methods.registry import Method, get
from limelight.methods.stable import joined

if TYPE_CHECKING:
    from jaxtyping import Float

    from limelight.methods.evidence import Evidence

    Rerun = Callable[[Alter, int], Iterator[Evidence]]

AnyMethod = str | Method | Callable[..., Tensor]


def noise_tunnel(
    method: AnyMethod,
    kind: str = "smoothgrad",
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
    stable: float | None = None,
) -> Method:
    """Any method on noisy copies of the images: the mean of its maps, their mean square, or their variance.

    Args:
        method: what is run on each copy.
        kind: "smoothgrad" (mean), "smoothgrad_sq" (mean square) or "vargrad" (variance).
        samples: how many noisy copies.
        noise: the noise's standard deviation, as a share of each image's own range of values.
        seed: the draws' seed; every image of a batch gets the same draws.
        stable: stop before that when an image's estimate is as stable as this, in (0, 1); None for all the samples.

    The maps are joined as the method gives them. SmoothGrad's own definition joins *gradients*, before the absolute
    value: that is the method "smoothgrad".

    Raises:
        MethodError: there is no such kind.
    """
    inner = get(method)
    if kind not in KINDS:
        raise MethodError(f"no kind of noise tunnel is called {kind!r}; there are {', '.join(KINDS)}")

    def function(
        images: Tensor,
        rerun: Rerun,
        *,
        samples: int = samples,
        noise: float = noise,
        seed: int = seed,
        stable: float | None = stable,
    ) -> Tensor:
        look = lambda evidence: evidence.raw_maps(inner)[0]  # noqa: E731
        return over_noise(images, rerun, look, kind, samples, noise, seed, stable)

    return replace(
        inner,
        name=f"{kind}({inner.name})",
        function=function,
        title=f"{kind} of {inner.title}",
        source=f"{KINDS[kind]}, around {inner.source}",
        signed=inner.signed and kind == "smoothgrad",
        passes="samples" if inner.passes == "1" else f"samples x {inner.passes}",
        watch=None,
        same_replays=False,
        settings={},
    )


KINDS = {
    "smoothgrad": "Smilkov et al. 2017, arXiv 1706.03825",
    "smoothgrad_sq": "Hooker et al. 2019, arXiv 1806.10758",
    "vargrad": "Adebayo et al. 2018, arXiv 1810.03307",
}
"""How what was seen in noisy copies is joined, and who says so."""


def over_noise(
    images: Tensor,
    rerun: Rerun,
    look: Callable[[Evidence], Tensor],
    kind: str,
    samples: int,
    noise: float,
    seed: int,
    stable: float | None = None,
) -> Tensor:
    """What ``look`` sees in the evidence of noisy copies of the images, joined as ``kind`` says.

    The result does not depend on how many copies ran at once. With ``stable``, an image needs no more copies once its
    estimate is as stable as that (:mod:`limelight.methods.stable`).
    """
    if samples < 1:
        raise MethodError(f"samples={samples}: noise is averaged over at least one copy")
    width = noise * spread_of(images)
    copies = rerun(lambda few: images + width * normals(few, images.shape[1:], seed, images), samples)

    return joined(one_by_one(copies, look, len(images)), samples, kind, stable)


def spread_of(images: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *ones"]:
    """Each image's own range of values, shaped to multiply it."""
    values = images.flatten(1)
    return (values.amax(dim=1) - values.amin(dim=1)).view(-1, *[1] * (images.ndim - 1))


def forgrad(method: AnyMethod, cutoff: float = 15.0) -> Method:
    """A method's map without its high frequencies (FORGrad; Muzellec et al. 2023, arXiv 2307.09591).

    Frequencies above ``cutoff`` cycles along the map's side, in any direction, are left out; 15 is what its authors
    recommend at 224 pixels. The filter is linear and keeps a map's mean and sign. xplique filters the map's absolute
    value and takes the absolute value again, which makes evidence of negative ringing.
    """
    return after(method, lambda raw: low_pass(raw, cutoff), f"forgrad({{}}, {cutoff:g})", "FORGrad of {}")


def low_pass(raw: Float[Tensor, "batch *grid"], cutoff: float) -> Float[Tensor, "batch *grid"]:
    """Each map with the frequencies above ``cutoff`` cycles a side left out."""
    grid = raw.shape[1:]
    axes = tuple(range(1, raw.ndim))
    cycles = [torch.fft.fftfreq(cells, 1 / cells, device=raw.device) for cells in grid[:-1]]
    cycles.append(torch.fft.rfftfreq(grid[-1], 1 / grid[-1], device=raw.device))
    distance = torch.stack(torch.meshgrid(*cycles, indexing="ij")).square().sum(dim=0).sqrt()
    return torch.fft.irfftn(torch.fft.rfftn(raw, dim=axes) * (distance <= cutoff), s=grid, dim=axes)


def augmented(method: AnyMethod, contrasts: Sequence[float] = (0.9, 1.0, 1.1)) -> Method:
    """A method averaged over each image and its mirror image, at several contrasts: test-time augmentation.

    What grad-cam calls ``aug_smooth``, with the raw maps averaged: there each is forced to [0, 1] first, so that a
    version without evidence counts as much as the others.

    Args:
        method: what is run on each version.
        contrasts: what the network's input is multiplied by.
    """
    inner = get(method)
    versions = [(factor, mirrored) for mirrored in (False, True) for factor in contrasts]

    def function(images: Tensor, rerun: Rerun) -> Tensor:
        def alter(few: Tensor) -> Tensor:
            chosen = [versions[i] for i in few.tolist()]
            return torch.stack([factor * (images.flip(-1) if mirrored else images) for factor, mirrored in chosen])

        seen = [raw for one in rerun(alter, len(versions)) for raw in one.raw_maps(inner)[0].split(len(images))]
        back = [raw.flip(-1) if mirrored else raw for raw, (_, mirrored) in zip(seen, versions, strict=True)]
        return torch.stack(back).mean(dim=0)

    return replace(
        inner,
        name=f"augmented({inner.name})",
        function=function,
        title=f"{inner.title}, augmented",
        source=f"Gildenblat, pytorch-grad-cam, aug_smooth, around {inner.source}",
        passes=str(1 + len(versions)) if inner.passes == "1" else f"1 + {len(versions)} x {inner.passes}",
        watch=None,
        same_replays=False,
        settings={},
    )


def eigen_smoothed(method: AnyMethod) -> Method:
    """The first principal component of a method's channels, in place of their sum (grad-cam's ``eigen_smooth``).

    For methods that add up what each channel says, such as Grad-CAM. The map is centred, and turned towards the sum.

    Raises:
        MethodError: the method's map is not a sum over channels.
    """
    inner = get(method)

    def refuse() -> MethodError:
        return MethodError(f"'{inner.name}' is no sum over channels, as eigen-smoothing needs; try gradcam or layercam")

    if not {"activations"} <= set(inner.needs) <= {"activations", "gradients", "class_weights"}:
        raise refuse()

    def function(*evidence: Tensor, **settings: object) -> Tensor:
        # A channel's term is the method's map of that channel alone: each stands for an image of its own.
        apart = inner.function(*(each.flatten(0, 1)[:, None] for each in evidence), **settings)
        terms = apart.unflatten(0, evidence[0].shape[:2])
        whole = inner.function(*evidence, **settings)
        if not torch.allclose(terms.sum(dim=1), whole, rtol=1e-3, atol=1e-4 * float(whole.abs().max())):
            raise refuse()
        return principal_map(terms)

    function.__signature__ = inspect.signature(inner.function)  # type: ignore[attr-defined]
    return replace(
        inner,
        name=f"eigen({inner.name})",
        function=function,
        title=f"{inner.title}, eigen-smoothed",
        source=f"Gildenblat, pytorch-grad-cam, eigen_smooth, around {inner.source}",
        signed=False,
    )


def after(method: AnyMethod, change: Callable[[Tensor], Tensor], name: str, title: str) -> Method:
    """The method with ``change`` made to each map it gives; ``name`` and ``title`` have a place for its own.

    What it needs, its settings and its other facts stay the method's.
    """
    inner = get(method)

    def function(*evidence: object, **settings: object) -> Tensor:
        return change(inner.function(*evidence, **settings))

    function.__signature__ = inspect.signature(inner.function)  # type: ignore[attr-defined]
    return replace(inner, name=name.format(inner.name), title=title.format(inner.title), function=function)
