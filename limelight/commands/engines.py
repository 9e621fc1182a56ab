"""``--engine`` and ``--precision``: what runs the network, for commands that run it much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from limelight import printing
from limelight.commands.options import network
from limelight.errors import InputError

if TYPE_CHECKING:
    from limelight.engines import Engine
    from limelight.explanation import Explanation
    from limelight.images import Photo
    from limelight.methods.registry import Method
    from limelight.models import Model
    from limelight.preprocessing import Fit

_ENGINE = "eager, compile, onnx, openvino, or auto: the fastest by a trial."
_PRECISION = "bfloat16 is faster where the processor has it, and less exact."


def engine_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--engine`` and ``--precision``: what :func:`engine_for` takes."""
    function = network(
        "--precision",
        type=click.Choice(["float32", "bfloat16"]),
        default="float32",
        show_default=True,
        help=_PRECISION,
    )(function)
    return network(
        "--engine",
        type=click.Choice(["eager", "compile", "onnx", "openvino", "auto"]),
        default="eager",
        show_default=True,
        help=_ENGINE,
    )(function)


def engine_for(
    name: str,
    precision: str,
    model: Model,
    methods: Sequence[str | Method],
    target: Any,
    layer: Any,
    batch_size: int,
) -> Engine | None:
    """The engine of that name for what is asked, said on stderr where it was chosen; None for the network itself.

    Raises:
        InputError: several methods or targets, which an engine does not answer.
        LimelightError: it can't run this network.
    """
    if (name, precision) == ("eager", "float32"):
        return None
    from limelight.engines import engine
    from limelight.targets import Each

    if isinstance(target, Each):
        if len(target.targets) != 1:
            raise InputError(f"--engine {name} answers one question: give one --target, or --top K, or --engine eager")
        (target,) = target.targets
    if len(methods) > 1:
        raise InputError(f"--engine {name} answers by one method: give one, or --engine eager")
    made = engine(name, model, methods[0], layer, target, batch_size=batch_size, precision=precision)
    if name == "auto" or precision != "float32":
        printing.note(f"engine: {made.said}")
    return made


def by_engine(engine: Engine, model: Model, target: Any, fit: Fit) -> Callable[[Sequence[Photo]], Explanation]:
    """What explains photographs with an engine in the network's place."""
    from limelight.explanation import Origin
    from limelight.preparing import Prepare
    from limelight.streaming.explaining import Answering
    from limelight.targets import questions

    prepare = Prepare(model.network, model.preprocessing, fit)
    answering = Answering.of(engine, model.labels)

    def explain(photos: Sequence[Photo]) -> Explanation:
        batch = prepare(photos)
        (found,) = answering(batch.image)
        origin = Origin(model.network, model.labels, prepare)
        asked = questions(target, 0, len(photos), len(photos))
        return replace(found, photos=batch.photos, views=batch.views, origin=origin, questions=asked)

    return explain
