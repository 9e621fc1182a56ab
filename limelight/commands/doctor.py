"""``limelight doctor``: what is wrong with a network, its pictures and its maps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from limelight import printing
from limelight.commands.options import json_option, load_model, network_options, question
from limelight.shell import command


@command(short_help="Look for what can go wrong with a network and its maps.")
@click.argument("model", metavar="NAME|PATH")
@click.argument("photos", nargs=-1, metavar="[PHOTO|FOLDER|GLOB]...")
@network_options
@question("--method", default="gradcam", metavar="NAME", show_default=True, help="The method whose maps are looked at.")
@question("--layer", metavar="NAME", help="Where they are drawn.  [default: the last with a grid]")
@json_option
def doctor(
    model: str, photos: Sequence[str], weights: str, device: str, method: str, layer: str | None, as_json: bool
) -> None:
    """Look for what can go wrong between a network, its pictures and its maps, and say what to do.

    \b
    limelight doctor resnet50                     the network alone, on made-up pictures
    limelight doctor run/ cat.jpg dog.jpg         and what only photographs can tell
    limelight doctor run/ cat.jpg --method rise   with another method's maps
    limelight doctor net.pt --trust --input-size 224 cat.jpg

    Ends with 0 where nothing was found, 1 where something was, 2 when nothing could be done.
    """
    from limelight import images
    from limelight.checkup import doctor as examine

    paths = images.find(photos) if photos else None
    loaded = load_model(model, weights, device)
    found = examine(loaded, paths, method=method, layer=layer)
    if as_json:
        printing.document(_document(loaded.name, found))
    else:
        for finding in found:
            click.echo(f"{finding.check}: {finding.told}.\n    {finding.remedy}.\n")
        click.echo(_summary(found))
    sys.exit(1 if found else 0)


def _document(name: str, found: Any) -> dict[str, Any]:
    findings = [{"check": each.check, "told": each.told, "remedy": each.remedy} for each in found]
    return {"model": name, "checks": found.checks, "pictures": found.pictures, "findings": findings}


def _summary(found: Any) -> str:
    seen = f"{found.pictures} picture{'s' * (found.pictures != 1)}" if found.pictures else "made-up pictures"
    count = f"{len(found)} finding{'s' * (len(found) != 1)}" if found else "Nothing found"
    return f"{count} by {found.checks} checks on {seen}."
