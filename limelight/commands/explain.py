"""``limelight explain``: what a network sees in photographs, and where."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from limelight import printing
from limelight.commands.engines import by_engine, engine_for, engine_options
from limelight.commands.options import (
    DEFAULT_OUT,
    FIT,
    FITS,
    NATURAL,
    layer_of,
    load_model,
    model_options,
    network,
    pictures,
    placed,
    question,
    target_of,
)
from limelight.commands.questions import Beyond, ByPhoto, question_options
from limelight.errors import InputError
from limelight.progress import tracked, watched
from limelight.shell import command, option

at_scale = partial(option, heading="Many pictures")
LONG = 20
"""Pictures from which a progress bar is worth its line."""
TARGET = "A class; may be repeated.  [default: the predicted one]"
METHOD = "A name from `limelight methods`; several with commas between."
FORMAT = "For many: a table (parquet), overlays (png), both.  [default: both, for a list or a tar]"
RAY = "A Ray cluster that does the shards: its address, auto, or local to start one here."
WORKERS = "Processes that read pictures for a table.  [default: by the processors]"
LAYOUT = 'How that layer lays out its cells, where it asks: "batch height width channels".'
OUT = f"Where overlays go.  [default: {DEFAULT_OUT}; none with --json]"
LAYER = "A name from `limelight layers`; several are fused.  [default: the last with a grid]"


@command(short_help="Say what a network sees in photographs, and where.")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO|FOLDER|GLOB|LIST|TAR...")
@model_options
@network("--batch-size", type=NATURAL, default=16, metavar="N", show_default=True, help="Photographs run at once.")
@engine_options
@question("--target", "targets", multiple=True, metavar="NAME|INDEX", help=TARGET)
@question("--top", type=NATURAL, metavar="K", help="The K most probable classes.")
@question_options
@question("--method", default="gradcam", metavar="NAME,...", show_default=True, help=METHOD)
@question("--layer", "layers", multiple=True, metavar="NAME|GLOB", help=LAYER)
@question("--layout", metavar="AXES", help=LAYOUT)
@question("--check", is_flag=True, help="Whether to believe each map; eight passes each.")
@question("--fit", type=FITS, default="crop", show_default=True, help=FIT)
@pictures("--out", callback=placed, metavar="DIR", help=OUT)
@pictures("--colormap", metavar="NAME", help="limelight, ember, lagoon, harbour, or any of matplotlib's.")
@pictures("--alpha", type=click.FloatRange(0, 1), metavar="0..1", help="How much of the photograph the map may cover.")
@pictures("--contours", is_flag=True, help="Draw lines around the strongest evidence.")
@pictures("--legend", is_flag=True, help="Draw a scale below the picture.")
@at_scale("--format", type=click.Choice(["png", "parquet", "both"]), help=FORMAT)
@at_scale("--workers", type=click.IntRange(min=0), metavar="N", help=WORKERS)
@at_scale("--ray", metavar="ADDRESS", help=RAY)
@at_scale("--shard", type=NATURAL, default=256, metavar="N", show_default=True, help="Pictures to a part of the table.")
@option("--json", "as_json", is_flag=True, help="One JSON document on stdout; with --format, a line an event.")
def explain(
    photos: Sequence[str],
    as_json: bool,
    out: Path | None,
    format: Any,
    workers: int | None,
    shard: int,
    ray: str | None,
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
    limelight explain cat.jpg --model ssd300_vgg16 --detections
    limelight explain cat.jpg --check             and whether to believe the map
    limelight explain "trip/**/*.jpg" --json      one JSON document
    limelight explain photos/ --format parquet    a table, of any number of them

    A list (.txt, .csv, .jsonl), a tar, or --format is for many: DIR holds a table in parts, --format png and both draw
    overlays beside it, and a killed run goes on where it was when the same command is given again.

    Ends with 0 when all is done, 1 when some photographs could not be used, 2 when nothing could be done.
    """
    chosen = {"colormap": colormap, "alpha": alpha, "contours": contours, "legend": legend}
    look = {name: value for name, value in chosen.items() if value is not None}
    from limelight.stores import is_url
    from limelight.streaming import sources

    many = bool(format) or ray or is_url(out) or any(sources.many(photo) for photo in photos)
    plain = not many and (how["engine"], how["precision"]) == ("eager", "float32")
    beyond, layout = Beyond.taken(how), how.pop("layout")
    beyond.check(how["targets"], how["top"], plain)
    if layout is not None and not plain:
        raise InputError("--layout is for pictures explained one by one: without --format, a list, a tar, --engine")
    if many:
        from limelight.commands.at_scale import explain_many

        explain_many(
            photos, out or DEFAULT_OUT, format or "both", look, as_json, workers=workers, shard=shard, ray=ray, **how
        )
        return
    folder = out or (None if as_json else DEFAULT_OUT)
    records: list[dict[str, Any]] = []
    try:
        for record in _explained(photos, folder, look, beyond, layout=layout, **how):
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
    beyond: Beyond,
    *,
    model: str,
    weights: str,
    device: str,
    targets: Sequence[str],
    top: int | None,
    layers: Sequence[str],
    engine: str,
    precision: str,
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
    how |= {
        "target": target_of(targets, None if beyond.detections else top, loaded.labels),
        "layer": layer_of(layers),
    }
    made = engine_for(engine, precision, loaded, methods, how["target"], how["layer"], how["batch_size"])
    how["target"] = beyond.target(how["target"], top, loaded, how["fit"])
    if isinstance(how["target"], ByPhoto):
        how["aim"] = how.pop("target").of
    instead = by_engine(made, loaded, how["target"], how["fit"]) if made else None
    records = pipeline.explain_files(loaded, paths, overlays, methods, instead=instead, **how)
    yield from tracked(records, "explaining", len(paths), shown=len(paths) >= LONG and watched())
