"""``limelight explain``: what a network sees in photographs, and where."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from limelight import printing
from limelight.commands.options import (
    DEFAULT_OUT,
    FIT,
    FITS,
    NATURAL,
    json_option,
    load_model,
    model_options,
    network,
    pictures,
    question,
    target_of,
)
from limelight.progress import tracked, watched
from limelight.shell import command

LONG = 20
"""Pictures from which a progress bar is worth its line."""
TARGET = "A class; may be repeated.  [default: the predicted one]"
METHOD = "A name from `limelight methods`; several with commas between."
LAYER = "A name from `limelight layers`; several are fused.  [default: the last with a grid]"


@command(short_help="Say what a network sees in photographs, and where.")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO|FOLDER|GLOB...")
@model_options
@network("--batch-size", type=NATURAL, default=16, metavar="N", show_default=True, help="Photographs run at once.")
@question("--target", "targets", multiple=True, metavar="NAME|INDEX", help=TARGET)
@question("--top", type=NATURAL, metavar="K", help="The K most probable classes.")
@question("--method", default="gradcam", metavar="NAME,...", show_default=True, help=METHOD)
@question("--layer", "layers", multiple=True, metavar="NAME|GLOB", help=LAYER)
@question("--check", is_flag=True, help="Whether to believe each map; eight passes each.")
@question("--fit", type=FITS, default="crop", show_default=True, help=FIT)
@pictures("--out", type=Path, metavar="DIR", help=f"Where overlays go.  [default: {DEFAULT_OUT}; none with --json]")
@pictures("--colormap", metavar="NAME", help="limelight, ember, lagoon, harbour, or any of matplotlib's.")
@pictures("--alpha", type=click.FloatRange(0, 1), metavar="0..1", help="How much of the photograph the map may cover.")
@pictures("--contours", is_flag=True, help="Draw lines around the strongest evidence.")
@pictures("--legend", is_flag=True, help="Draw a scale below the picture.")
@json_option
def explain(
    photos: Sequence[str],
    as_json: bool,
    out: Path | None,
    colormap: str | None,
    alpha: float | None,
    contours: bool,
    legend: bool,
    **how: Any,
) -> None:
    """Say what a network sees in photographs, and where it looked.

    \b
    limelight explain cat.jpg                     its prediction, and where
    limelight explain cat.jpg --target tabby      a class of your choice
    limelight explain photos/ --top 3 --out maps  three maps each, in maps/
    limelight explain cat.jpg --check             and whether to believe the map
    limelight explain "trip/**/*.jpg" --json      one JSON document

    Ends with 0 when all is done, 1 when some photographs could not be used, 2 when nothing could be done.
    """
    chosen = {"colormap": colormap, "alpha": alpha, "contours": contours, "legend": legend}
    look = {name: value for name, value in chosen.items() if value is not None}
    folder = out or (None if as_json else DEFAULT_OUT)
    records: list[dict[str, Any]] = []
    try:
        for record in _explained(photos, folder, look, **how):
            records.append(record)
            printing.troubles(record)
    finally:  # what was done is told, also when the rest could not be
        if as_json:
            printing.document({"images": records})
        else:
            printing.explained(records)
    failed = sum(record["error"] is not None for record in records)
    if failed:
        sys.exit(2 if failed == len(records) else 1)


def _explained(
    photos: Sequence[str],
    folder: Path | None,
    look: dict[str, Any],
    *,
    model: str,
    weights: str,
    device: str,
    targets: Sequence[str],
    top: int | None,
    layers: Sequence[str],
    **how: Any,
) -> Iterator[dict[str, Any]]:
    """The records, one by one. What is quickly found to be wrong is found before the network is loaded."""
    from limelight import images, pipeline
    from limelight.methods import get
    from limelight.overlays import Overlays

    paths = images.find(photos)
    overlays = Overlays(folder, look) if folder else None
    if overlays:
        overlays.prepare()
        paths = overlays.others(paths, photos)
    methods = [get(name) for name in how.pop("method").split(",")]
    loaded = load_model(model, weights, device)
    how |= {"target": target_of(targets, top, loaded.labels), "layer": list(layers) or None}
    records = pipeline.explain_files(loaded, paths, overlays, methods, **how)
    yield from tracked(records, "explaining", len(paths), shown=len(paths) >= LONG and watched())
