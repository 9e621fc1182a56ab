"""``limelight paper``: the paper's experiments on one's own network and pictures."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from limelight import printing
from limelight.commands.options import (
    DEFAULT_OUT,
    FIT,
    FITS,
    NATURAL,
    find_device,
    json_option,
    load_model,
    model_options,
    network,
    question,
)
from limelight.errors import InputError
from limelight.files import write_whole
from limelight.progress import tracked, watched
from limelight.shell import command, option

if TYPE_CHECKING:
    from limelight.paper import Outcome

TABLES = ("localisation", "pointing", "faithfulness", "discrimination", "counterfactual", "adversarial", "bias")
data = partial(option, heading="The data")
DATA = "A Pascal VOC year, ImageNet's validation part, a folder of pictures with XML files, or a CSV."
BOXES = "Where objects are, if not in it: VOC or ImageNet XML, COCO .json, .csv, or mask pictures."
CLASSES = "A table (name,classes) of what the annotated classes are among the network's."


@command(short_help="Run the Grad-CAM paper's experiments again, beside its figures.")
@click.argument("table", type=click.Choice(TABLES), metavar="TABLE")
@data("--data", "source", required=True, metavar="FOLDER|CSV", help=DATA)
@data("--boxes", metavar="FILE|FOLDER", help=BOXES)
@data("--classes", type=Path, metavar="CSV", help=CLASSES)
@data("--split", metavar="NAME", help="One of VOC's lists, such as val.")
@data("--number", type=NATURAL, metavar="N", help="So many pictures, drawn by the seed.  [default: all]")
@data("--fit", type=FITS, default="whole", show_default=True, help=FIT)
@model_options
@network("--judge", metavar="NAME|PATH", help="A second network, for discrimination.")
@network("--judge-weights", default="default", metavar="FILE", help="Its weights.  [default: the published ones]")
@question("--methods", metavar="NAME,...", help="Names from `limelight methods`.  [default: those of the paper]")
@question("--layer", metavar="NAME", help="Where maps are made.  [default: the paper's, or the last]")
@option("--seed", type=click.IntRange(min=0), default=0, metavar="N", show_default=True, help="Of what is drawn.")
@option("--out", type=Path, metavar="DIR", help="The results.  [default: limelight-out/paper-TABLE]")
@json_option
def paper(
    table: str,
    source: str,
    boxes: str | None,
    classes: Path | None,
    split: str | None,
    number: int | None,
    fit: Any,
    model: str,
    weights: str,
    device: str,
    judge: str | None,
    judge_weights: str,
    methods: str | None,
    layer: str | None,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run one of the Grad-CAM paper's experiments again, on your network and pictures, beside what was published.

    \b
    localisation    boxes from maps, of a network that learnt from names alone
    pointing        the pointing game, and its variant with recall
    faithfulness    rank correlation with occlusion maps
    discrimination  does a second network name the class from the marked part?
    counterfactual  what speaks against a class
    adversarial     maps of what is there, under attack
    bias            a biased data set found, and mended (DIR of class folders or a run)

    \b
    limelight paper localisation --data ILSVRC/ --model torchvision/vgg16
    limelight paper pointing --data VOCdevkit/VOC2007 --split test
    limelight paper discrimination --data photos.csv --judge torchvision/resnet50

    A killed run goes on where it was. Ends with 0, 1 when a picture could not be used, 2 when nothing could be done.
    """
    out = out or DEFAULT_OUT / f"paper-{table}"
    if table == "bias":
        for name, given in {"--boxes": boxes, "--classes": classes, "--split": split, "--judge": judge}.items():
            if given:
                raise InputError(f"bias takes a folder of class folders, or a run, and no {name}")
        _bias(source, out, seed, device, as_json)
        return
    from limelight.paper import PROTOCOLS, Bench, layouts, reproduce, shown
    from limelight.paper.examples import strips
    from limelight.paper.page import page, record
    from limelight.paper.protocol import checked

    protocol = PROTOCOLS[table]
    loaded = load_model(model, weights, device)
    layout = layouts.found(source, boxes, split)
    bench = Bench(
        loaded,
        shown.gathered(loaded, layout, classes, number, seed),
        checked(methods.split(",")) if methods else protocol.methods,
        layer,
        fit,
        None if judge is None else load_model(judge, judge_weights, device),
        seed,
    )
    found = reproduce(protocol, bench, out)
    if found.left_out:
        printing.note(f"{found.left_out} pictures are left out: {table} takes pictures with {protocol.needs}")
    for _ in tracked(found.run(), table, len(found), shown=watched()):
        pass
    errors = found.errors()
    for path, error in errors:
        printing.note(f"not measured: {path}: {error}")
    outcome = found.outcome()
    facts = [
        ("Network", f"{loaded.name}, weights {loaded.weights}"),
        ("Pictures", f"{len(found.bench.pictures)} of {layout.name}"),
        ("Methods", ", ".join(found.bench.methods)),
        *([("Second network", f"{bench.judge.name}, weights {bench.judge.weights}")] if bench.judge else []),
    ]
    differences = [*protocol.differences, *found.differences(layout)]
    html = page(
        protocol.question, protocol.section, protocol.quoted, facts, outcome, differences, errors, strips(found.bench)
    )
    content = record(protocol.question, protocol.section, outcome, differences, table=table, facts=dict(facts))
    _leave(out, table, html, content, outcome, as_json)
    if errors:
        sys.exit(1)


def _bias(source: str, out: Path, seed: int, device: str, as_json: bool) -> None:
    from limelight.paper import bias
    from limelight.paper.page import page, record

    outcome = bias.bias(source, out, seed, find_device(device), printing.note)
    facts = [("Pictures", source), ("All about it", "study.html, beside this page")]
    html = page(bias.QUESTION, bias.SECTION, bias.QUOTED, facts, outcome, bias.DIFFERENCES)
    content = record(bias.QUESTION, bias.SECTION, outcome, bias.DIFFERENCES, table=bias.NAME, facts=dict(facts))
    _leave(out, bias.NAME, html, content, outcome, as_json)


def _leave(out: Path, table: str, html: str, content: dict[str, Any], outcome: Outcome, as_json: bool) -> None:
    """Write the page and its numbers, and print them."""
    write_whole(out / f"{table}.json", json.dumps(content, indent=2))
    write_whole(out / f"{table}.html", html)
    if as_json:
        printing.document(content)
        return
    rows = [
        [
            one.what,
            one.of,
            one.said(one.published),
            one.said(one.found),
            f"{one.said(one.interval.low)} to {one.said(one.interval.high)}" if one.interval else "",
            str(one.cases),
        ]
        for one in outcome.figures
    ]
    printing.table(
        ["figure", "method", "published", "here", "interval", "pictures"],
        rows,
        ("published", "here", "interval", "pictures"),
    )
    click.echo(f"\n{outcome.answer}\n\na page, which lists every difference in set-up, is {out}/{table}.html")
