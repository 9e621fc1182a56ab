"""``limelight layers``: the layers of a network that a map can be drawn at."""

from __future__ import annotations

import click

from limelight import printing
from limelight.commands.options import NATURAL, json_option
from limelight.shell import command, option


@command(short_help="List the layers of a network that a map can be drawn at.")
@click.argument("model", metavar="NAME|PATH")
@option("--size", type=NATURAL, metavar="PIXELS", help="Side of the input.  [default: the network's own]")
@option("--all", "everything", is_flag=True, help="Those inside the main ones too.")
@json_option
def layers(model: str, size: int | None, everything: bool, as_json: bool) -> None:
    """List the layers of a network that a map can be drawn at, in the order they run."""
    from limelight import listing

    found = listing.layers(model, size)
    if as_json:
        printing.document(found)
        return
    shown = [each for each in found["layers"] if everything or each["main"]]
    rows = [
        (
            each["layer"],
            each["type"],
            str(each["channels"]),
            "x".join(map(str, each["grid"])),
            "default" * each["default"],
        )
        for each in shown
    ]
    printing.table(["layer", "type", "channels", "grid", ""], rows, numbers=("channels", "grid"))
    if len(shown) < len(found["layers"]):
        printing.note(f"\nand {len(found['layers']) - len(shown)} inside these: --all lists them")
