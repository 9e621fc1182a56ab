"""``limelight train``: a folder of pictures to a classifier and its figures."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from limelight import printing
from limelight.commands.options import NATURAL, find_device, json_option, named_options, network, pictures
from limelight.errors import InputError
from limelight.progress import gauge, watched
from limelight.shell import command, option

training = partial(option, heading="How it is trained")


class Size(click.ParamType[Any]):
    """A number of pixels, "own" (None) or "auto"."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What ``train`` takes as ``size``."""
        known = {"own": None, "auto": "auto"}
        return known[value] if value in known else NATURAL.convert(value, param, ctx)


SIZE = Size()

WORST = 3
"""Mistakes that are named."""
SPLITS = "Shares of train, val and test, where none are given."
SIZES = 'Side of the input, "own" for the network\'s own, "auto" to choose it.'
FITTED = "How a picture is fitted into it: its middle; all of it, squeezed; all of it, letter-boxed; or to be chosen."
VIEWS = "Varied views of each picture for the frozen phase.  [default: by their number]"
FROZEN = "Train the head alone, on features computed once: seconds rather than minutes."
RATE = "The highest.  [default: 3e-5 for a published body, 3e-3 from nothing; ten times as much with sgd]"


@command(short_help="Train a classifier on a folder of pictures, and say how good it is.")
@click.argument("source", metavar="FOLDER|CSV")
@option("--out", type=Path, required=True, metavar="RUN", help="A new folder for the network and its figures.")
@option("--resume", is_flag=True, help="Go on with a run that was interrupted; begin one that was not begun.")
@named_options
@network("--size", type=SIZE, default="auto", metavar="PIXELS", show_default=True, help=SIZES)
@network("--fit", type=click.Choice(["auto", "crop", "whole", "pad"]), default="auto", show_default=True, help=FITTED)
@training("--frozen", is_flag=True, help=FROZEN)
@training("--epochs", type=NATURAL, default=20, metavar="N", show_default=True, help="The most.")
@training(
    "--patience", type=NATURAL, default=5, metavar="N", show_default=True, help="Epochs without a gain, then stop."
)
@training("--batch-size", type=NATURAL, default=32, metavar="N", show_default=True, help="Pictures a step.")
@training("--optimiser", "--optimizer", type=click.Choice(["adamw", "sgd"]), default="adamw", show_default=True)
@training("--learning-rate", "--lr", type=float, metavar="RATE", help=RATE)
@training("--weight-decay", type=float, default=0.05, metavar="SHARE", show_default=True)
@training("--warmup", type=float, default=0.1, metavar="SHARE", show_default=True, help="Of the epochs.")
@training("--label-smoothing", type=float, default=0.0, metavar="SHARE", show_default=True)
@training("--balance", is_flag=True, help="Weigh the classes as if there were as many pictures of each.")
@training("--seed", type=int, default=0, metavar="N", show_default=True, help="The same seed, the same weights.")
@training("--tensorboard", is_flag=True, help="A log for TensorBoard too, in RUN/tensorboard.")
@pictures(
    "--augment", type=click.Choice(["auto", "none", "light", "medium", "strong"]), default="auto", show_default=True
)
@pictures("--views", type=click.IntRange(min=0), metavar="N", help=VIEWS)
@pictures("--splits", default="0.7,0.15,0.15", metavar="A,B,C", show_default=True, help=SPLITS)
@pictures(
    "--split-column", metavar="NAME", help='The column with the splits.  [default: "split", "original_split", ...]'
)
@json_option
def train(source: str, out: Path, device: str, splits: str, tensorboard: bool, as_json: bool, **how: Any) -> None:
    """Train a classifier on the pictures of a folder (FOLDER/CLASS/*.jpg) or of a table, and say how good it is.

    \b
    limelight train photos/ --out run                          a published body, fine-tuned
    limelight train photos/ --out run --frozen                 its head alone: seconds
    limelight train photos/labels.csv --out run --resume       go on where it was interrupted
    limelight train photos/ --out run --model small_cnn        from nothing
    limelight train photos/ --out run --model efficientnet_lite0_fine   maps that lie on small things
    limelight explain photo.jpg --model run                    what it sees, and where

    RUN then holds the network (every command takes it as --model), report.json and predictions.parquet.
    Ends with 0, with 1 when some pictures could not be used, with 2 when nothing could be done.
    """
    from limelight.training import logs
    from limelight.training import train as run

    loggers = [logs.tensorboard(out)] if tensorboard else []
    with gauge(watched()) as progress:
        done = run(
            source,
            out,
            splits=_shares(splits),
            device=find_device(device),
            loggers=loggers,
            say=printing.note,
            progress=progress,
            **how,
        )
    if as_json:
        printing.document({"run": str(out), **done.report})
    else:
        _show(out, done.report)
    if done.report["skipped"]:
        sys.exit(1)


def _show(out: Path, report: dict[str, Any]) -> None:
    """The test's figures as a table, and where the rest is."""
    low, high = report["interval"]
    click.echo(f"accuracy {report['accuracy']:.1%} ({low:.1%} to {high:.1%}) on {report['pictures']} test pictures")
    rows = [
        (name, str(each["pictures"]), _share(each["precision"]), _share(each["recall"]))
        for name, each in report["classes"].items()
    ]
    printing.table(["class", "pictures", "precision", "recall"], rows, numbers=("pictures", "precision", "recall"))
    facts = {
        "balanced accuracy": _share(report["balanced_accuracy"]),
        "area under the ROC curve": "-" if report["roc_auc"] is None else f"{report['roc_auc']:.3f}",
        "calibration error": _share(report["calibration_error"]),
    }
    click.echo("\n" + ", ".join(f"{name} {value}" for name, value in facts.items()))
    for mistake in report["mistakes"][:WORST]:
        click.echo(f"mistaken: {mistake['path']} called {mistake['prediction']} ({mistake['probability']:.1%})")
    click.echo(f"\nthe network and its figures are in {out}/")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--splits takes three shares with commas between, as 0.7,0.15,0.15, not {text!r}") from None
