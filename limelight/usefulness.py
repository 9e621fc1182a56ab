"""Which layer to explain: every layer a map can be drawn at, and how useful its map is for the images at hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limelight.borrow import borrowed, unwrap
from limelight.cut import INPUT, Captured, Cut, resolve, unreachable
from limelight.foreign import opened
from limelight.grid import candidates, default_layer, layout_of, remembered
from limelight.heatmap import rectify, resize
from limelight.methods.evidence import Evidence
from limelight.methods.registry import Method, get
from limelight.models import Model
from limelight.nested import Inputs, with_image
from limelight.preparing import Prepare, parts_of, photos_of, tensors_of
from limelight.targets import Asked, Target, ask, logits_of, probabilities_of

BEST = 0.2
"""The share of the picture that is taken away to see what a map is worth."""
NOISE = 0.05
"""How much noise a map should bear, in standard deviations of the image."""
COARSEST = 4
"""No coarser than so many cells on a side."""
ALIVE = 0.05
"""A layer's gradient is alive if at least this share of its cells has one."""
CLOSE = 0.9
"""Layers whose maps are worth at least this share of the best one's are fused with it."""
FUSED = 3
"""At most so many layers."""


@dataclass(frozen=True)
class Layer:
    """A layer that a map can be drawn at.

    Attributes:
        name: what ``explain(layer=...)`` and ``--layer`` take.
        kind: the module's type.
        grid: the map's shape.
        channels: how many channels a cell has.
        layout: how it lays its cells out.
        main: whether it is worth reading first: it lies inside no other, or is a step of a sequence that does.
        default: whether it is the one explained unless one is named.
        receptive_field: how much of the input a cell in the middle depends on, in each dimension, in pixels.
        alive: the share of cells, in [0, 1], whose gradient is not zero. Where it is near zero a map says nothing.
        concentration: the share of the map's sum, in [0, 1], that lies in its best tenth of cells; 0.1 says nothing.
        stability: the correlation, in [-1, 1], of the map with that of the image under a little noise.
        deletion: how much of the target's probability (of its score, if it is no class) is lost when the best fifth of
            the picture, by this layer's map, is blurred away, less what is lost with a fifth taken at random. All maps
            are first brought to the coarsest one's cells.
    """

    name: str
    kind: str
    grid: tuple[int, ...]
    channels: int
    layout: str
    main: bool
    default: bool
    receptive_field: tuple[int, ...] | None = None
    alive: float | None = None
    concentration: float | None = None
    stability: float | None = None
    deletion: float | None = None


class Layers(Sequence[Layer]):
    """The layers of a network, in the order they run.

    Attributes:
        why: why the default is the default, in words.
        best: the layers whose map is worth most for these images: what ``layer="auto"`` explains.
    """

    def __init__(self, layers: Sequence[Layer], why: str, best: Sequence[str]):
        self._layers = list(layers)
        self.why = why
        self.best = list(best)

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, i: Any) -> Any:
        return self._layers[i]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    @property
    def default(self) -> Layer:
        """The layer that is explained unless one is named."""
        return next(layer for layer in self if layer.default)

    def __repr__(self) -> str:
        shown = [layer for layer in self if layer.main]
        wide = max(len(layer.name) for layer in shown)
        lines = [
            f"{layer.name:{wide}}  {layer.channels:5}  {'x'.join(map(str, layer.grid)):9}"
            + "".join(f"  {'-' if value is None else f'{value:.2f}':>6}" for value in measures(layer))
            + "  default" * layer.default
            for layer in shown
        ]
        head = f"{'layer':{wide}}  chans  grid        alive   conc.   stab.    del."
        return "\n".join([head, *lines, self.why])


def measures(layer: Layer) -> tuple[float | None, ...]:
    """What was measured of a layer, in the order that tables show it."""
    return layer.alive, layer.concentration, layer.stability, layer.deletion


def layers(
    model: Model | nn.Module,
    images: Any,
    target: Target = None,
    method: str | Method = "gradcam",
    *,
    every: bool = False,
) -> Layers:
    """The layers that a map can be drawn at, in the order they run, and how useful each is for these images.

    Args:
        model: what :func:`limelight.load` gives, or any ``nn.Module``.
        images: as for :func:`limelight.explain`; a few say more than one.
        target: as for :func:`limelight.explain`; the first one is asked about.
        method: what maps are made with.
        every: measure all layers, not the main ones alone.

    Raises:
        InputError, ModelError, LayerError, TargetError, MethodError: what was wrong and what to do.
    """
    network, labels, preprocessing = parts_of(model)
    source = tensors_of(images, network) or photos_of(images)
    inputs = Prepare(network, preprocessing, "crop")(source[0 : len(source)]).inputs
    network = opened(network, inputs)
    found = listed(network, inputs)
    names = [layer.name for layer in found if every or layer.main]
    with borrowed(unwrap(network)):
        measured = _measured(network, inputs, names, target, labels, get(method))
    whole = [replace(layer, **measured.get(layer.name, {})) for layer in found]
    return Layers(whole, why_default(network, inputs, whole), best_of(whole))


def listed(network: nn.Module, inputs: Inputs) -> list[Layer]:
    """The layers that a map can be drawn at, as one walk finds them, without measuring them.

    Raises:
        LayerError: there is none.
    """
    default = default_layer(network, *inputs.args, **inputs.options)
    found = candidates(remembered(network, inputs.args, inputs.options))
    main = _main(unwrap(network), [visit.name for _, visit in found])
    return [
        Layer(
            name=address,
            kind=visit.kind,
            grid=visit.grid,
            channels=visit.channels,
            layout=str(visit.layout),
            main=visit.name in main or address == default,
            default=address == default,
        )
        for address, visit in found
    ]


def seen(network: nn.Module, inputs: Inputs, *, every: bool = False) -> list[Layer]:
    """The same, with what a cell in the middle of each of the main ones, or of ``every``, depends on."""
    found = listed(network, inputs)
    names = [layer.name for layer in found if every or layer.main]
    with borrowed(unwrap(network)):
        fields = dict(zip(names, _receptive_fields(network, inputs, names), strict=True))
    return [replace(layer, receptive_field=fields.get(layer.name)) for layer in found]


def auto_layer(network: nn.Module, inputs: Inputs, target: Target, labels: Any, method: Method) -> list[str]:
    """The layers that ``layer="auto"`` explains: those whose map is worth most for these images."""
    found = listed(network, inputs)
    names = [layer.name for layer in found if layer.main]
    measured = _measured(network, inputs, names, target, labels, method, deletion_only=True)
    return best_of([replace(layer, **measured.get(layer.name, {})) for layer in found])


def best_of(found: Sequence[Layer]) -> list[str]:
    """The layer whose map, deleted, costs the score most, with those that come close to it, in the order they run.

    Of the layers with one grid the best alone counts. Where no map is worth more than chance, the default.
    """
    alive = [layer for layer in found if layer.deletion is not None and (layer.alive or 0) >= ALIVE]
    by_grid: dict[tuple[int, ...], Layer] = {}
    for layer in alive:
        known = by_grid.get(layer.grid)
        if known is None or _worth(layer) >= _worth(known):
            by_grid[layer.grid] = layer
    ranked = sorted(by_grid.values(), key=_worth, reverse=True)
    if not ranked or _worth(ranked[0]) <= 0:
        return [layer.name for layer in found if layer.default]
    chosen = {layer.name for layer in ranked[:FUSED] if _worth(layer) >= CLOSE * _worth(ranked[0])}
    return [layer.name for layer in found if layer.name in chosen]


def _worth(layer: Layer) -> float:
    return layer.deletion or 0.0


def why_default(network: nn.Module, inputs: Inputs, found: Sequence[Layer]) -> str:
    """Why the default is the default, in words."""
    layer = next(each for each in found if each.default)
    cells = "x".join(map(str, layer.grid))
    folded = "(" in layer.layout
    later = found[[each.name for each in found].index(layer.name) + 1 :]
    if folded and later:
        return (
            f"'{layer.name}' is the default: the last layer that the outputs depend on at all of its {cells} cells; "
            "after it only some tokens are read"
        )
    if later:
        return f"'{layer.name}' is the default: the widest layer ({layer.channels} channels) that the outputs depend on"
    return f"'{layer.name}' is the default: the last layer that still has a grid, of {cells} cells"


# ---- measured


def _measured(
    network: nn.Module,
    inputs: Inputs,
    names: Sequence[str],
    target: Target,
    labels: Any,
    method: Method,
    deletion_only: bool = False,
) -> dict[str, dict[str, Any]]:
    """Each layer's measures, by its name: one pass for all of them, one more with noise, one for what is deleted."""
    args, options = inputs.args, inputs.options
    cut = Cut(unwrap(network), resolve(network, list(names)))
    captured = cut.capture(*args, **options)
    asked = ask(target, captured.outputs, labels)[0]
    aside = [name for name, slope in zip(names, _slopes(captured, asked), strict=True) if slope is None]
    if len(aside) == len(names):
        raise unreachable(captured.sites[-1])
    if aside:  # on a branch that the score does not use
        names = [name for name in names if name not in aside]
        captured = Cut(unwrap(network), resolve(network, names)).capture(*args, **options)
    evidence = Evidence(network, captured, asked, last=False)
    maps = [rectify(raw) for raw in evidence.raw_maps(method)]
    alive = [
        float((layout_of(captured, k).read(slope).abs().amax(dim=1) > 0).float().mean()) if slope is not None else 0.0
        for k, slope in enumerate(_slopes(captured, asked))
    ]
    image = inputs.image
    assert image is not None, "looked at when the inputs were taken"
    lost = _lost(network, inputs, asked, _alike(maps, image))
    facts: dict[str, dict[str, Any]] = {
        name: {"alive": share, "deletion": worth} for name, share, worth in zip(names, alive, lost, strict=True)
    }
    facts |= {name: {"alive": 0.0} for name in aside}
    if deletion_only:
        return facts
    noisy = _noisy(network, inputs, names, asked, method)
    fields = _receptive_fields(network, inputs, names)
    for name, each, other, seen in zip(names, maps, noisy, fields, strict=True):
        facts[name] |= {
            "concentration": _concentration(each),
            "stability": _correlation(each, other),
            "receptive_field": seen,
        }
    return facts


def _slopes(captured: Captured, asked: Asked) -> Sequence[Tensor | None]:
    """The score's gradient with respect to each layer's own tensor; None where it does not depend on it."""
    with torch.enable_grad():
        score = asked.score(captured.outputs)
    if not score.requires_grad:
        return [None] * len(captured.activations)
    return torch.autograd.grad(score, captured.activations, torch.ones_like(score), True, allow_unused=True)


def _noisy(network: nn.Module, inputs: Inputs, names: Sequence[str], asked: Asked, method: Method) -> list[Tensor]:
    image = inputs.image
    assert image is not None, "looked at when the inputs were taken"
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(image.shape, generator=random).to(image) * NOISE * image.detach().float().std().to(image)
    args, options = with_image((inputs.args, inputs.options), image.detach() + noise)
    captured = Cut(unwrap(network), resolve(network, list(names))).capture(*args, **options)
    return [rectify(raw) for raw in Evidence(network, captured, asked).raw_maps(method)]


def _alike(maps: Sequence[Tensor], image: Tensor) -> list[Tensor]:
    """The maps at the image's size, each in cells as large as the coarsest one's.

    So all of them choose among the same regions: a fine map would win by taking every edge away, whatever it shows.
    """
    size = tuple(image.shape[2:])
    coarse = [max(COARSEST, min(each.shape[d] for each in maps)) for d in range(1, len(size) + 1)]
    means = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[len(size)]
    return [resize(means(each[:, None].float(), coarse)[:, 0], size) for each in maps]


def _lost(network: nn.Module, inputs: Inputs, asked: Asked, maps: Sequence[Tensor]) -> list[float]:
    """For each layer's map at the image's size: what is lost with its best fifth, less what is lost by chance."""
    image = inputs.image
    assert image is not None, "looked at when the inputs were taken"
    grid = image.shape[2:]
    blurred = resize(resize(image.detach(), [min(side, 8) for side in grid]), grid)
    random = torch.Generator().manual_seed(0)
    chance = resize(torch.rand((len(image), *[min(side, 8) for side in grid]), generator=random).to(image), grid)
    lost = []
    whole = _answers(network, (inputs.args, inputs.options), asked)
    for each in [chance, *maps]:
        flat = each.flatten(1).float()
        least = flat.topk(max(1, round(flat.shape[1] * BEST)), dim=1).values[:, -1:]
        taken = (flat >= least.clamp(min=torch.finfo(flat.dtype).tiny)).view(len(image), 1, *grid)
        altered = with_image((inputs.args, inputs.options), torch.where(taken, blurred, image.detach()))
        left = _answers(network, altered, asked)
        lost.append(float(((whole - left) / whole.abs().clamp(min=1e-12)).mean()))
    return [one - lost[0] for one in lost[1:]]


def _answers(network: nn.Module, inputs: Any, asked: Asked) -> Tensor:
    """The targets' probabilities ``(batch,)``; their scores, where they are no classes."""
    args, options = inputs
    outputs = unwrap(network)(*args, **options)
    logits = logits_of(outputs)
    if asked.classes is None or logits is None:
        return asked.score(outputs).float()
    return probabilities_of(logits.float()).gather(1, asked.classes[:, None])[:, 0]


def _concentration(maps: Tensor) -> float | None:
    flat = maps.flatten(1).float()
    total = flat.sum(dim=1)
    if not bool((total > 0).any()):
        return None
    best = flat.topk(max(1, round(flat.shape[1] / 10)), dim=1).values.sum(dim=1)
    return float((best / total.clamp(min=1e-12))[total > 0].mean())


def _correlation(one: Tensor, other: Tensor) -> float | None:
    a, b = (each.flatten(1).float() - each.flatten(1).float().mean(dim=1, keepdim=True) for each in (one, other))
    scale = (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
    if not bool((scale > 0).any()):
        return None
    return float(((a * b).sum(dim=1) / scale.clamp(min=1e-30))[scale > 0].mean())


def _receptive_fields(network: nn.Module, inputs: Inputs, names: Sequence[str]) -> list[tuple[int, ...] | None]:
    """What the cell in the middle of each layer depends on: the box around every pixel that a NaN reaches."""
    first = inputs[0:1]
    sites = resolve(network, [INPUT, *names])
    try:
        captured = Cut(unwrap(network), sites).capture(*first.args, **first.options)
    except RuntimeError:
        return [None] * len(names)
    found: list[tuple[int, ...] | None] = []
    for k in range(1, len(sites)):
        with torch.enable_grad():
            cells = layout_of(captured, k).read(captured.activations[k])
        middle = tuple(side // 2 for side in cells.shape[2:])
        seed = torch.zeros_like(cells)
        seed[(slice(None), slice(None), *middle)] = torch.nan
        try:
            (slope,) = torch.autograd.grad(cells, captured.activations[0], seed, True, allow_unused=True)
        except RuntimeError:  # an operation without a derivative, on the way from the image
            slope = None
        found.append(None if slope is None else _box(slope.isnan()[0].any(dim=0)))
    return found


def _box(reached: Tensor) -> tuple[int, ...] | None:
    places = reached.nonzero()
    return tuple((places.amax(dim=0) - places.amin(dim=0) + 1).tolist()) if len(places) else None


def _main(network: nn.Module, names: list[str]) -> set[str]:
    """The layers worth reading first: those inside no other, and the steps of a sequence that is inside no other.

    For a ResNet the stem, the four stages and their blocks, without the convolutions in the blocks.
    """
    known = set(names)
    around = {name: [outer for outer in _parents(name) if outer in known] for name in names}
    return {
        name
        for name, outer in around.items()
        if not outer or (outer == _parents(name)[-1:] and isinstance(network.get_submodule(outer[0]), nn.Sequential))
    }


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]
