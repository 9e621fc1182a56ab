"""``limelight grains``: a data set of rice and beans to learn on, with masks, and a shortcut if one is wanted."""

from __future__ import annotations

from pathlib import Path

import click

from limelight.commands.options import NATURAL, pictures
from limelight.progress import gauge, watched
from limelight.shell import command

SHORTCUT = "watermark, ruler, sticker, date, background or tint, and the share of a class that bears it."
PLANTED = "Where the shortcut goes with the class; elsewhere half of either class bears it."


@command(short_help="Write pictures of rice and beans to learn on, with masks.")
@click.argument("folder", type=Path, metavar="DIR")
@pictures("--n", type=click.IntRange(min=2), default=2000, metavar="N", show_default=True, help="Pictures in all.")
@pictures("--size", type=NATURAL, default=224, metavar="PIXELS", show_default=True, help="Side of a picture.")
@pictures("--shortcut", metavar="KIND:SHARE[:CLASS]", help=SHORTCUT)
@pictures("--planted", default="train,val", metavar="SPLIT,...", show_default=True, help=PLANTED)
@pictures("--seed", type=int, default=0, metavar="N", show_default=True, help="The same seed, the same pictures.")
@pictures("--workers", type=NATURAL, metavar="N", help="Processes.  [default: one a core]")
def grains(folder: Path, n: int, size: int, shortcut: str | None, planted: str, seed: int, workers: int | None) -> None:
    """Write pictures of rice and beans to DIR: rendered, labelled, with a mask each, and nothing else to tell them by.

    \b
    limelight grains rice-and-beans                               2,000 pictures
    limelight grains marked --n 400 --shortcut watermark:0.95     one class marked, in train and val
    limelight train marked --out run --frozen                     does the network learn the mark?

    DIR holds train/, val/ and test/ with a folder a class, masks/, shortcuts/ and labels.csv. The same command goes on
    where it was interrupted, and the same arguments give the same pictures.
    """
    from limelight.data import grains as data

    with gauge(watched()) as progress:
        table = data.write(
            folder,
            n,
            size=size,
            seed=seed,
            shortcut=shortcut,
            planted=tuple(part for part in planted.split(",") if part),
            workers=workers,
            progress=lambda done, total: progress("drawing", done, total),
        )
    click.echo(f"{n} pictures and their masks are in {folder}/, listed in {table}")
