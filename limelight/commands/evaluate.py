"""``limelight evaluate``: methods ranked on a data set."""

from __future__ import annotations

import json
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import click

from limelight import printing
from limelight.commands.engines import engine_for, engine_options
from limelight.commands.options import FIT, FITS, NATURAL, json_option, load_model, model_options, question
from limelight.errors import InputError, ZeroMapWarning
from limelight.files import write_whole
from limelight.progress import tracked, watched
from limelight.shell import command, option

data = partial(option, heading="The data")
METHODS = "Names from `limelight methods` with commas between, or fast.  [default: six of a single pass]"
METRICS = "Names of metrics, commas between.  [default: a few cheap ones]"
REGIONS = "COCO .json, VOC or ImageNet XML, .csv"


@command(short_help="Rank methods on a data set: faithful, well placed, worth their time.")
@model_options
@engine_options
@data("--data", "source", required=True, metavar="FOLDER|CSV", help="The pictures.")
@data("--boxes", metavar="FILE|FOLDER", help=f"Where objects are: {REGIONS}.")
@data("--masks", metavar="FILE|FOLDER", help="The same: mask pictures, or COCO outlines.")
@data("--true", is_flag=True, help="Ask about the true class, not the predicted one.")
@data("--fit", type=FITS, default="whole", show_default=True, help=FIT)
@question("--methods", metavar="NAME,...", help=METHODS)
@question("--metrics", metavar="NAME,...", help=METRICS)
@question("--layer", "layers", multiple=True, metavar="NAME", help="Every method at each of these.")
@option("--recommend", is_flag=True, help="Say which method and layer to take, and why.")
@option("--shard", type=NATURAL, default=8, metavar="N", show_default=True, help="Pictures saved at once.")
@option("--out", type=Path, default=Path("limelight-evaluation"), metavar="DIR", show_default=True, help="The results.")
@json_option
def evaluate(
    model: str,
    weights: str,
    device: str,
    engine: str,
    precision: str,
    source: str,
    boxes: str | None,
    masks: str | None,
    true: bool,
    fit: Any,
    methods: str | None,
    metrics: str | None,
    layers: tuple[str, ...],
    recommend: bool,
    shard: int,
    out: Path,
    as_json: bool,
) -> None:
    """Rank methods on a data set, with chance beside them.

    \b
    limelight evaluate --data photos/                     is a map faithful?
    limelight evaluate --data photos/ --boxes boxes.csv   and well placed?
    limelight evaluate --data photos/ --recommend         which to take
    limelight evaluate --data photos/ --engine auto       altered pictures by the fastest engine

    A killed run goes on where it was when the same command is given again. DIR holds the rows as Parquet, summary.json
    and a page. Ends with 0, 1 when a part could not be measured, 2 when nothing could be done.
    """
    if boxes and masks:
        raise InputError("give --boxes or --masks, not both")
    from limelight import comparison
    from limelight.parts import begun_with
    from limelight.ranking import evaluate as ready
    from limelight.ranking.evaluate import METHODS as usual
    from limelight.ranking.page import page
    from limelight.ranking.summary import summarise

    names = usual if methods is None else [each.label for each in comparison.choose(methods)]
    if engine == "auto":  # another trial could choose another: an evaluation is made by one
        engine = begun_with(out) or engine
    loaded = load_model(model, weights, device)
    with warnings.catch_warnings():
        # The scores of all classes are held against the network's: which class its maps are about is of no moment here.
        warnings.simplefilter("ignore", ZeroMapWarning)
        made = engine_for(engine, precision, loaded, ["gradcam"], 0, None, shard)
    found = ready(
        loaded,
        source,
        out,
        methods=names,
        metrics=metrics.split(",") if metrics else None,
        layers=layers,
        regions=boxes or masks,
        true=true,
        fit=fit,
        shard=shard,
        engine=made,
    )
    for _ in tracked(found.run(), "evaluating", len(found), shown=watched()):
        pass
    summary = summarise(found.rows(), found.bench.metrics)
    for what, error in summary.errors:
        printing.note(f"not measured: {what}: {error}")
    if not summary.methods:
        raise InputError("nothing could be measured: the reasons are above")
    record = summary.record()
    write_whole(out / "summary.json", json.dumps(record, indent=2))
    write_whole(out / "evaluation.html", page(found, summary, source))
    if as_json:
        printing.document(record)
    else:
        printing.ranked(record, recommend)
        click.echo(f"\nthe rows, a summary and a page are in {out}/")
    if summary.errors:
        sys.exit(1)
