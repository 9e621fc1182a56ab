"""``limelight compare``: several methods' maps of one photograph, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from limelight import printing
from limelight.commands.options import (
    DEFAULT_OUT,
    FIT,
    FITS,
    json_option,
    layer_of,
    load_model,
    model_options,
    pictures,
    question,
    target_of,
)
from limelight.progress import tracked, watched
from limelight.shell import command

if TYPE_CHECKING:
    from limelight.preprocessing import Fit

METHODS = "all, fast (those of a single pass), or names from `limelight methods` with commas between."
LAYERS = "A name from `limelight layers`; several are fused.  [default: each method's own]"


@command(short_help="Set several methods' maps of one photograph side by side.")
@click.argument("photo", metavar="PHOTO")
@model_options
@question("--methods", "names", default="fast", metavar="NAME,...", show_default=True, help=METHODS)
@question("--target", metavar="NAME|INDEX", help="A class.  [default: the predicted one]")
@question("--layer", "layers", multiple=True, metavar="NAME|GLOB", help=LAYERS)
@question("--fit", type=FITS, default="crop", show_default=True, help=FIT)
@pictures("--out", type=Path, metavar="DIR", help=f"Where the sheet goes.  [default: {DEFAULT_OUT}; none with --json]")
@json_option
def compare(photo: str, as_json: bool, out: Path | None, **how: Any) -> None:
    """Set several methods' maps of one photograph side by side, with what each took and how much they agree.

    \b
    limelight compare cat.jpg                            the methods of a single pass
    limelight compare cat.jpg --methods all              every one; the longest with fewer samples
    limelight compare cat.jpg --methods gradcam,scorecam --target tabby

    A method that this network can't be asked is listed with its reason, and the others go on. Times are of one run
    after another on this machine; "agrees with" is the method whose map has the nearest order of cells (Spearman).
    Ends with 0, or 2 when no method gave a map.
    """
    found = _compared(photo, out or (None if as_json else DEFAULT_OUT), **how)
    if as_json:
        printing.document(found)
    else:
        printing.compared(found)


def _compared(
    source: str,
    folder: Path | None,
    *,
    model: str,
    weights: str,
    device: str,
    names: str,
    target: str | None,
    layers: Sequence[str],
    fit: Fit,
) -> dict[str, Any]:
    """The record of a comparison, its sheet written."""
    from limelight import comparison, images
    from limelight.overlays import Overlays

    methods = comparison.choose(names)
    photo = images.read(source)
    overlays = Overlays(folder) if folder else None
    if overlays:
        overlays.prepare()
    loaded = load_model(model, weights, device)
    asked = target_of([target] if target else [], None, loaded.labels)
    running = comparison.trials(loaded, photo, methods, asked, layer_of(layers), fit)
    done = list(tracked(running, "comparing", len(methods), shown=watched()))
    comparison.check(done)
    found = comparison.record(photo, done)
    if overlays:
        path = overlays.folder / f"{Path(source).stem}_methods.png"
        overlays.picture(path, comparison.sheet(done))
        found["sheet"] = str(path)
    return found
