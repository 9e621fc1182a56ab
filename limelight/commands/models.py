"""``limelight models``: the networks that can be loaded."""

from __future__ import annotations

import click

from limelight import printing
from limelight.commands.options import json_option
from limelight.errors import InputError
from limelight.shell import command


@command(short_help="List the networks that can be loaded.")
@click.argument("filter", default="", metavar="[FILTER]")
@json_option
def models(filter: str, as_json: bool) -> None:
    """List the networks that can be loaded, those first whose weights are on this machine.

    FILTER is a part of the name, and may hold * and ?. Without it, only those on this machine are shown.
    """
    from limelight import listing

    found = listing.networks(filter)
    if as_json:
        printing.document({"models": found})
        return
    if not found:
        raise InputError(f"no network's name contains {filter!r}; `limelight models` says what there is")
    shown = found if filter else [each for each in found if each["on_this_machine"]]
    rows = [(m["name"], m["source"], m["weights"] or "random only", printing.yes(m["on_this_machine"])) for m in shown]
    printing.table(["name", "source", "weights", "on this machine"], rows)
    if len(shown) < len(found):
        printing.note(
            f"\nand {len(found) - len(shown):,} more, fetched when first used: limelight models FILTER lists them"
        )
