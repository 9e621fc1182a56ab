"""``limelight gallery``: a folder of results as one page."""

from __future__ import annotations

from pathlib import Path

import click

from limelight.commands.options import NATURAL, placed
from limelight.files import write_whole
from limelight.progress import paced, watched
from limelight.shell import command, option

PAGE = "gallery.html"


@command(short_help="Make a page of a folder of results, to be filtered.")
@click.argument("folder", callback=placed, metavar="DIR")
@option("--most", type=NATURAL, default=10_000, metavar="N", show_default=True, help="Pictures; of more, every nth.")
@option("--out", callback=placed, metavar="FILE", help=f"The page.  [default: DIR/{PAGE}]")
def gallery(folder: Path, most: int, out: Path | None) -> None:
    """Make one page of what `limelight explain --format` wrote: pictures and maps, to be filtered and sorted.

    \b
    limelight explain photos/ --format parquet --out results
    limelight gallery results

    By class, confidence, right or wrong, the map's spread, and the verdict where there is one. The page is one file
    that asks nothing of any network; the pictures in it are small ones.
    """
    from limelight.gallery import gallery as page
    from limelight.parts import Parts

    total = Parts.found(folder).manifest.get("pictures", [most])[0]
    with paced("reading", "pictures", min(total, most), shown=watched()) as tell:
        content = page(folder, most, tell)
    file = write_whole(out or folder / PAGE, content)
    click.echo(f"{file} ({file.stat().st_size / 1e6:,.1f} MB)")
