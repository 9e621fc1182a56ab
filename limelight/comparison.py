"""Several methods on one picture: their maps, what each took, and how much they agree."""

from __future__ import annotations

import math
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from limelight.borrow import borrowed, unwrap
from limelight.cut import LayerSpec
from limelight.errors import InputError, LimelightError, MethodError, TargetError, ZeroMapWarning, one_line
from limelight.explainer import explain
from limelight.explanation import Explanation
from limelight.heatmap import rectify
from limelight.images import Photo
from limelight.lettering import stack
from limelight.matrix import matrix_picture
from limelight.methods import REGISTRY
from limelight.methods.registry import Method, get
from limelight.models import Model
from limelight.nested import leaves_of
from limelight.preprocessing import Fit
from limelight.sheet import contact_sheet
from limelight.targets import Target

if TYPE_CHECKING:
    from jaxtyping import Float

GRID = 14
"""Cells along a side of the grid that maps are compared on: an average hides where a finer one has its pixels."""
FINEST = 56
"""Cells along a side to which a finer map is averaged before it is drawn: a pixel can't be seen on a photograph."""
REPEATS = 3
"""How often a method is run when it is quick; the median counts."""
QUICK = 0.5
"""Seconds up to which it is."""
BRIEF: dict[str, dict[str, Any]] = {
    "blurintegratedgradients": {"steps": 25},
    "conductance": {"steps": 25},
    "expectedgradients": {"samples": 25},
    "extremalperturbation": {"areas": (0.15,), "steps": 60},
    "gradientshap": {"samples": 25},
    "guidedintegratedgradients": {"steps": 25},
    "hsic": {"samples": 150},
    "integratedgradients": {"steps": 25},
    "internalinfluence": {"steps": 25},
    "iscam": {"top": 16, "steps": 4},
    "kernelshap": {"samples": 150},
    "layergradientshap": {"samples": 10},
    "layerintegratedgradients": {"steps": 25},
    "lime": {"samples": 150},
    "meaningfulperturbation": {"steps": 50},
    "opticam": {"steps": 30},
    "rise": {"samples": 300},
    "scorecam": {"top": 64},
    "smoothgrad": {"samples": 12},
    "smoothgradsquared": {"samples": 12},
    "sobol": {"samples": 4},
    "sscam": {"top": 16, "samples": 4},
    "vargrad": {"samples": 12},
    "xrai": {"steps": 10},
}
"""Settings with which a method of very many passes takes seconds rather than minutes, for "all"."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One method's map of one picture, or why there is none.

    Attributes:
        method: with its settings.
        explanation: None where the method can't be had of this network.
        seconds: the median of a few runs; of one, where that took long.
        forwards: the same in plain forward passes of the picture.
        error: why there is no explanation.
    """

    method: Method
    explanation: Explanation | None = None
    seconds: float = 0.0
    forwards: float = 0.0
    error: str | None = None

    @property
    def caption(self) -> str:
        """The method's title, its time, and its cost."""
        return f"{self.method.title}: {_duration(self.seconds)}, {self.forwards:.1f}x a forward; {cost(self.method)}"


def choose(names: str) -> list[Method]:
    """The methods that are meant by "all", "fast" (those of a single pass), or names with commas between.

    Raises:
        MethodError: no method has that name.
    """
    if names == "all":
        return [method(**BRIEF.get(name, {})) for name, method in REGISTRY.items()]
    if names == "fast":
        return [method for method in REGISTRY.values() if method.passes == "1"]
    return list({method.label: method for method in map(get, names.split(","))}.values())


def cost(method: Method) -> str:
    """What it costs by the registry, its settings filled in: "1 + 8 passes"."""
    words = re.sub("[a-z]+", lambda word: _count(word[0], method.options), method.passes)
    if "," in words or words == "1":  # "channels, of the head alone"
        return words.replace(",", " passes,") if "," in words else "1 pass"
    return f"{words} passes"


def trials(
    model: Model,
    photo: Photo,
    methods: Sequence[Method],
    target: Target = None,
    layer: LayerSpec | None = None,
    fit: Fit = "crop",
) -> Iterator[Trial]:
    """Run each method on one picture by itself; yield each as it is done.

    The picture is prepared once, and what is timed is the network and the method. A method that this network can't be
    asked is yielded with its reason, and the others go on.

    Raises:
        InputError, TargetError: what no method could be asked.
    """
    if model.preprocessing is None:
        raise InputError("this network comes without preprocessing, so it can't be shown a photograph")
    pixels, view = model.preprocessing(photo.pixels, fit)
    like = next((tensor for tensor in model.network.parameters() if tensor.is_floating_point()), pixels)
    images = pixels[None].to(like.device, like.dtype)
    plain = partial(_plain, model, images)
    plain()
    with suppress(LimelightError, RuntimeError), warnings.catch_warnings(action="ignore"):
        explain(model, images, target, layer=layer, progress=False)  # what is done once a process, or once a network
    for method in methods:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ZeroMapWarning)  # an explanation tells it itself
                run = partial(explain, model, images, target, method, layer, progress=False)
                seconds, forwards, explanation = timed(run, plain)
        except (InputError, TargetError):
            raise
        except (LimelightError, RuntimeError) as error:
            yield Trial(method, error=one_line(error))
        else:
            yield Trial(method, replace(explanation, photos=[photo], views=[view]), seconds, forwards)


def timed(run: Callable[[], Explanation], plain: Callable[[], float]) -> tuple[float, float, Explanation]:
    """Medians of a few runs: seconds, and multiples of a plain forward right before; and what the last run gave.

    The first run is left out where it was quick: it looks for the default layer and records what is replayed, once for
    a network. A plain forward stands beside each run, because a machine is not equally busy all the while.
    """
    runs = [_once(run, plain)]
    if runs[0][0] < QUICK:
        runs = [_once(run, plain) for _ in range(REPEATS)]
    seconds, forwards, explanations = zip(*runs, strict=True)
    return statistics.median(seconds), statistics.median(forwards), explanations[-1]


def agreement(maps: Sequence[Float[Tensor, "height width"]]) -> Float[Tensor, "maps maps"]:
    """Spearman's rank correlation of each map with each, averaged down to a common grid first; ties share their rank.

    NaN for a map that is the same everywhere. Maps may differ in size.
    """
    ranks = torch.stack([_ranks(adaptive_avg_pool2d(one[None].double().cpu(), GRID).flatten()) for one in maps])
    return torch.corrcoef(ranks).reshape(len(maps), len(maps))


def check(done: Sequence[Trial]) -> None:
    """See that there is a map at all.

    Raises:
        MethodError: there is none; with the first method's reason.
    """
    if not any(trial.explanation for trial in done):
        raise MethodError(f"none of these methods gives a map here: {done[0].error}")


def sheet(done: Sequence[Trial], **look: Any) -> Image.Image:
    """One page: the picture, each map with its method's name and cost, and the matrix of agreement below.

    Args:
        done: the trials; those without a map are left out.
        **look: how overlays are drawn (see :func:`limelight.render.overlay`).
    """
    maps = {trial: trial.explanation for trial in done if trial.explanation}
    first = next(iter(maps.values()))
    tiles = [(first.photo(), first.caption())]
    tiles += [(drawable(explanation).overlay(**look), trial.caption) for trial, explanation in maps.items()]
    page = contact_sheet(tiles, columns=min(len(tiles), max(4, math.isqrt(len(tiles)))))
    if len(maps) < 2:
        return page
    names = [trial.method.title for trial in maps]
    matrix = matrix_picture(agreement(shown(done)).numpy(), names, "Rank correlation of the maps", page.width)
    return stack([page, matrix])


def drawable(explanation: Explanation) -> Explanation:
    """The same with pixel-sized maps averaged to coarser cells, the strongest hundredth of them drawn alike."""
    return replace(
        explanation, raws=tuple(_coarser(raw) if raw.shape[-1] > FINEST else raw for raw in explanation.raws)
    )


def _coarser(raw: Tensor) -> Tensor:
    cells = adaptive_avg_pool2d(rectify(raw.float()), FINEST)
    return cells.minimum(cells.flatten(2).quantile(0.99, dim=2)[..., None, None])


def shown(done: Sequence[Trial]) -> list[Tensor]:
    """The shown map of each trial that has one, at the resolution of the network's input."""
    return [trial.explanation.maps[0, 0] for trial in done if trial.explanation]


def record(photo: Photo, done: Sequence[Trial]) -> dict[str, Any]:
    """JSON-ready: the picture, what was asked, each method with its cost or error, and how much they agree.

    There must be a map (see :func:`check`).
    """
    good = [trial for trial in done if trial.explanation]
    told = _told(good[0])
    correlations = agreement(shown(good)).tolist()
    return {
        "path": str(photo.path) if photo.path else None,
        "predictions": told["predictions"],
        "target": {fact: told["targets"][0][fact] for fact in ("index", "label", "score", "probability")},
        "methods": [_facts(trial) for trial in done],
        "agreement": {
            "methods": [trial.method.name for trial in good],
            "rank_correlation": [[None if math.isnan(r) else round(r, 4) for r in row] for row in correlations],
        },
        "sheet": None,
    }


def _told(trial: Trial) -> dict[str, Any]:
    assert trial.explanation is not None
    return trial.explanation.records()[0]


def _facts(trial: Trial) -> dict[str, Any]:
    found = _told(trial)["targets"][0] if trial.explanation else {}
    return {
        "name": trial.method.name,
        "title": trial.method.title,
        "settings": dict(trial.method.settings),
        "passes": cost(trial.method),
        "milliseconds": round(trial.seconds * 1000, 2) if found else None,
        "forwards": round(trial.forwards, 2) if found else None,
        **{fact: found.get(fact) for fact in ("layer", "peak", "warning")},
        "error": trial.error,
    }


def _ranks(values: Float[Tensor, " cells"]) -> Float[Tensor, " cells"]:
    """How many are smaller, and half of those that are equal."""
    return (values[:, None] > values).double().sum(dim=1) + (values[:, None] == values).double().sum(dim=1) / 2


def _plain(model: Model, images: Tensor) -> float:
    """Seconds of one plain forward pass."""
    given = images.clone()  # some networks change theirs in place
    with borrowed(unwrap(model.network)), torch.inference_mode():
        started = time.perf_counter()
        outputs = leaves_of(model.network(given))
        next(leaf for leaf in outputs if isinstance(leaf, Tensor)).sum().item()  # a device has then finished
        return time.perf_counter() - started


def _once(run: Callable[[], Explanation], plain: Callable[[], float]) -> tuple[float, float, Explanation]:
    forward = plain()
    started = time.perf_counter()
    explanation = run()
    explanation.raws[0].sum().item()
    seconds = time.perf_counter() - started
    return seconds, seconds / forward, explanation


def _count(word: str, options: Mapping[str, Any]) -> str:
    """A word of a cost as the number it stands for, where the settings say."""
    if word == "channels":
        return str(options.get("top") or word)
    value = options.get(word)
    if word == "segments" and isinstance(value, int):
        return str(value**2)  # so many to a side
    return str(value if isinstance(value, int) else len(value)) if isinstance(value, int | tuple) else word


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
