"""``limelight layers``: the layers of a network that a map can be drawn at, and what their maps are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from limelight import printing
from limelight.commands.options import json_option, load_model, network_options, question, target_of
from limelight.errors import InputError
from limelight.shell import command, option

ON = "Measure the layers on a photograph, with the network's weights."
SEES = "sees: what a cell in the middle depends on, in pixels of the input."
EXPLAINED = """\
alive: share of cells with a gradient. spread: share of the map in its best tenth of cells (0.10 says nothing).
steady: correlation of the map under a little noise. worth: probability lost without the map's best fifth of the
picture, less that lost by chance."""


@command(short_help="List the layers of a network that a map can be drawn at.")
@click.argument("model", metavar="NAME|PATH")
@option("--on", "photo", metavar="PHOTO", help=ON)
@question("--target", "target", metavar="NAME|INDEX", help="With --on: a class.  [default: the predicted one]")
@network_options
@option("--all", "everything", is_flag=True, help="Those inside the main ones too.")
@json_option
def layers(
    model: str,
    photo: str | None,
    target: str | None,
    weights: str,
    device: str,
    everything: bool,
    as_json: bool,
) -> None:
    """List the layers of a network that a map can be drawn at, in the order they run.

    \b
    limelight layers resnet50                   grids, channels, what a cell sees
    limelight layers resnet50 --on cat.jpg      and what their maps are worth
    limelight layers resnet50 --input-size 448  for larger pictures
    limelight layers net.pt --trust

    Without a photograph nothing is fetched: a network that is named gets random weights.
    `limelight explain --layer auto` explains the layers that are worth most.
    """
    if target is not None and photo is None:
        raise InputError("--target asks what the layers are worth for a class: give the photograph, --on PHOTO")
    from limelight import listing

    asked = target_of([target], None, None) if target is not None else None
    if photo is None and weights == "default" and not Path(model).exists():
        weights = "random"
    found = listing.layers(load_model(model, weights, device), photo, asked, every=everything)
    if as_json:
        printing.document(found)
        return
    shown = [each for each in found["layers"] if everything or each["main"]]
    measured = ["alive", "spread", "steady", "worth"] if photo is not None else []
    names = ["layer", "type", "channels", "grid", "sees", "layout", *measured, ""]
    rows = [_row(each, found["best"] or (), bool(measured)) for each in shown]
    printing.table(names, rows, numbers=("channels", "grid", "sees", *measured))
    printing.note(f"\n{found['why']}.")
    if measured:
        printing.note(f"--layer auto: {', '.join(found['best'])}.\n\n{EXPLAINED}")
    printing.note(SEES)
    if len(shown) < len(found["layers"]):
        printing.note(f"{len(found['layers']) - len(shown)} more inside these: --all lists them")


def _row(layer: dict[str, Any], best: Any, measured: bool) -> tuple[str, ...]:
    marks = ["default"] * layer["default"] + ["auto"] * (layer["layer"] in best)
    sides = _sides(layer["grid"]), _sides(layer["receptive_field"])
    worth = ("alive", "concentration", "stability", "deletion")
    numbers = (_number(layer[name]) for name in worth) if measured else ()
    return layer["layer"], layer["type"], str(layer["channels"]), *sides, layer["layout"], *numbers, ", ".join(marks)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _sides(sides: Any) -> str:
    return "x".join(map(str, sides)) if sides else "-"
