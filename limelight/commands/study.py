"""``limelight study``: a page that says what a classifier has learnt."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from limelight import printing
from limelight.commands.options import NATURAL, find_device, json_option, network
from limelight.progress import watched
from limelight.shell import command, option

studied = partial(option, heading="What is studied")
OUT = "Where study.html and study.json go.  [default: RUN; limelight-out/NAME for a folder]"

REMEDY = "Train once more without the bias it goes by.  [default: if its body was frozen]"


@command(short_help="Say what a classifier has learnt, on one page.")
@click.argument("source", metavar="RUN|FOLDER")
@studied("--data", metavar="FOLDER", help="Where the run's pictures are, if they have moved.")
@studied("--pictures", type=NATURAL, default=200, metavar="N", show_default=True, help="Test pictures looked at.")
@studied("--attacked", type=NATURAL, default=100, metavar="N", show_default=True, help="How many of them are attacked.")
@studied("--full", is_flag=True, help="Look at all test pictures, and show all mistakes.")
@studied("--remedy/--no-remedy", default=None, help=REMEDY)
@studied("--seed", type=click.IntRange(min=0), default=0, metavar="N", show_default=True, help="Of what is drawn.")
@network("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:1 or mps.  [default: the fastest here]")
@option("--out", type=Path, metavar="DIR", help=OUT)
@json_option
def study(
    source: str,
    as_json: bool,
    data: str | None,
    pictures: int,
    attacked: int,
    full: bool,
    remedy: bool | None,
    seed: int,
    device: str,
    out: Path | None,
) -> None:
    """Say what a classifier has learnt: how good it is, what it looks at, why it fails, whether it is fooled, and
    whether its pictures taught it something else than was meant.

    \b
    limelight study runs/rice                  a run that `limelight train` left
    limelight study photos/                    class folders: trained on first
    limelight study runs/rice --data photos/   if the pictures have moved
    limelight study runs/rice --json           the numbers on stdout

    The page is one file that opens from disk. Ends with 0, or 2 when nothing could be done.
    """
    from limelight.studies.study import study as run_study

    done = run_study(
        source,
        out,
        data=data,
        pictures=pictures,
        attacked=attacked,
        full=full,
        remedy=remedy,
        seed=seed,
        device=find_device(device),
        say=printing.note,
        progress=watched(),
    )
    if as_json:
        printing.document(done.facts)
        return
    click.echo(f"\n{done.facts['verdict']['headline']}\n")
    for title, text in done.facts["verdict"]["points"].items():
        click.echo(f"{title}\n  {text}")
    click.echo(f"\nthe page is {done.page}")
