"""``limelight layers``: the layers of a network that a map can be drawn at, and what their maps are worth."""

from __future__ import annotations

from typing import Any

import click

from limelight import printing
from limelight.commands.options import NATURAL, json_option, network, question, target_of
from limelight.errors import InputError
from limelight.shell import command, option

ON = "Measure the layers on a photograph, with the network's weights."
EXPLAINED = """\
alive: share of cells with a gradient. spread: share of the map in its best tenth of cells (0.10 says nothing).
steady: correlation of the map under a little noise. worth: probability lost without the map's best fifth of the
picture, less that lost by chance. sees: what a cell in the middle depends on, in pixels of the input."""


@command(short_help="List the layers of a network that a map can be drawn at.")
@click.argument("model", metavar="NAME|PATH")
@option("--on", "photo", metavar="PHOTO", help=ON)
@question("--target", "target", metavar="NAME|INDEX", help="With --on: a class.  [default: the predicted one]")
@network("--weights", default="default", metavar="FILE", help='With --on: a file, or "random".')
@option("--size", type=NATURAL, metavar="PIXELS", help="Side of the input, without --on.  [default: the network's own]")
@option("--all", "everything", is_flag=True, help="Those inside the main ones too.")
@json_option
def layers(
    model: str,
    photo: str | None,
    target: str | None,
    weights: str,
    size: int | None,
    everything: bool,
    as_json: bool,
) -> None:
    """List the layers of a network that a map can be drawn at, in the order they run.

    \b
    limelight layers resnet50                 their grids, channels and layouts
    limelight layers resnet50 --on cat.jpg    and what their maps are worth

    `limelight explain --layer auto` explains the layers that are worth most.
    """
    if photo is not None and size is not None:
        raise InputError("--size is for layers without a photograph: with --on it is the network's own size")
    from limelight import listing

    asked = target_of([target], None, None) if target is not None else None
    found = listing.layers(model, size, photo, asked, weights=weights, every=everything)
    if as_json:
        printing.document(found)
        return
    shown = [each for each in found["layers"] if everything or each["main"]]
    measured = ["alive", "spread", "steady", "worth", "sees"] if photo is not None else []
    names = ["layer", "type", "channels", "grid", "layout", *measured, ""]
    rows = [_row(each, found["best"] or (), bool(measured)) for each in shown]
    printing.table(names, rows, numbers=("channels", "grid", *measured))
    printing.note(f"\n{found['why']}.")
    if measured:
        printing.note(f"--layer auto: {', '.join(found['best'])}.\n\n{EXPLAINED}")
    if len(shown) < len(found["layers"]):
        printing.note(f"{len(found['layers']) - len(shown)} more inside these: --all lists them")


def _row(layer: dict[str, Any], best: Any, measured: bool) -> tuple[str, ...]:
    marks = ["default"] * layer["default"] + ["auto"] * (layer["layer"] in best)
    facts = (layer["layer"], layer["type"], str(layer["channels"]), _sides(layer["grid"]), layer["layout"])
    worth = ("alive", "concentration", "stability", "deletion")
    numbers = (*(_number(layer[name]) for name in worth), _sides(layer["receptive_field"])) if measured else ()
    return (*facts, *numbers, ", ".join(marks))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _sides(sides: Any) -> str:
    return "x".join(map(str, sides)) if sides else "-"
