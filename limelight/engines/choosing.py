"""``engine``: one by name, or the fastest by a short trial."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median
from typing import Any

from torch import Tensor, nn

from limelight.cut import LayerSpec
from limelight.engines.engine import NAMES, PRECISIONS, Engine, Trial
from limelight.engines.making import MAKERS, Question
from limelight.errors import InputError, LimelightWarning, MissingExtra, ModelError, closest
from limelight.methods.registry import Method
from limelight.models import Model, load
from limelight.targets import Target

AUTO = "auto"
ROUNDS = 3
MOST = 8
"""Images in a trial's batch, at most."""


def engine(
    name: str,
    model: Model | nn.Module,
    method: str | Method | Callable[..., Tensor] = "gradcam",
    layer: LayerSpec | None = None,
    target: Target = None,
    *,
    size: tuple[int, int] | int | None = None,
    fusion: str = "mean",
    batch_size: int = 16,
    precision: str = "float32",
) -> Engine:
    """What answers a question about batches of images: ``engine(...)(images)`` is an :class:`limelight.Answer`.

    Args:
        name: "eager", "compile", "onnx", "openvino", or "auto": on the CPU the fastest of all but "compile", which
            takes minutes to build; on another device the faster of "eager" and "compile". What can't run the network is
            passed over, and :attr:`Engine.said` says why.
        model: what :func:`limelight.load` gives, or any ``nn.Module``.
        method, layer, target, size, fusion: as for :func:`limelight.compile`.
        batch_size: how many images there will be at once, for the trial.
        precision: "bfloat16" is up to twice as fast where the processor has it, and the answers differ by what it
            rounds (docs/export.md); the network and what goes in and out stay as they are.

    Raises:
        InputError: no engine, or no precision, has that name.
        MissingExtra: its library is not installed.
        ModelError: it can't run this network, or does not answer as the network does; with "auto", never.
        LayerError, MethodError, TargetError: what was wrong and what to do.
    """
    if not isinstance(name, str):
        raise InputError(f"the engine's name comes first, engine({AUTO!r}, network), not a {type(name).__name__}")
    if name not in (AUTO, *NAMES):
        raise InputError(f"no engine is called {name!r}; there are {', '.join((*NAMES, AUTO))}.{closest(name, NAMES)}")
    if precision not in PRECISIONS:
        raise InputError(f"no precision is called {precision!r}; there are {' and '.join(PRECISIONS)}")
    question = Question(load(model), method, layer, target, size, fusion, precision)
    question.step  # what is asked wrongly is told first  # noqa: B018
    return MAKERS[name](question) if name != AUTO else _fastest(question, min(batch_size, MOST))


def _fastest(question: Question, count: int) -> Engine:
    names = ("eager", "onnx", "openvino") if question.device.type == "cpu" else ("eager", "compile")
    made: dict[str, Engine] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LimelightWarning)  # what it warns of here is this engine's own affair
                made[name] = MAKERS[name](question)
        except MissingExtra as error:
            refused[name] = f"is not installed: {str(error).rpartition(': ')[2]}"
        except ModelError as error:
            refused[name] = f"can't: {error}"
    seconds = timed(made, question.batch(count, 1))
    trials = tuple(Trial(name, seconds.get(name), refused.get(name)) for name in names)
    return replace(made[min(seconds, key=lambda name: seconds[name])], trials=trials)


def timed(engines: Mapping[str, Callable[..., Any]], batch: tuple[Tensor, ...]) -> dict[str, float]:
    """Seconds that a batch takes each, the median of a few rounds in turn after one that warms up."""
    rounds: list[dict[str, float]] = []
    for _ in range(ROUNDS + 1):
        row = {}
        for name, run in engines.items():
            start = time.perf_counter()
            run(*batch)
            row[name] = time.perf_counter() - start
        rounds.append(row)
    return {name: median(row[name] for row in rounds[1:]) for name in engines}
