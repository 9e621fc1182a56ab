"""``limelight video``: a film with its maps."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import click

from limelight import printing
from limelight.commands.engines import engine_for, engine_options
from limelight.commands.options import FIT, FITS, NATURAL, json_option, load_model, model_options, network, question
from limelight.progress import paced, watched
from limelight.shell import command, option

film = partial(option, heading="The film")
SMOOTH = "Seconds before and after a frame that its map is a mean over."
SECONDS = "How long a camera or stream is watched.  [default: until it ends, or Ctrl-C]"
STATS = "Write what is said of each frame beside OUT: a Parquet table and a plot."


@command(short_help="Write a film with its maps, and its own sound.")
@click.argument("source", metavar="IN")
@click.argument("out", type=Path, metavar="OUT")
@model_options
@network("--batch-size", type=NATURAL, default=8, metavar="N", show_default=True, help="Frames run at once.")
@engine_options
@question("--target", metavar="NAME|INDEX", help="A class.  [default: the predicted one]")
@question("--method", default="gradcam", metavar="NAME", show_default=True, help="A name from `limelight methods`.")
@question("--layer", metavar="NAME", help="A name from `limelight layers`.  [default: the last with a grid]")
@question("--fit", type=FITS, default="whole", show_default=True, help=FIT)
@film("--every", type=NATURAL, default=1, metavar="N", show_default=True, help="Ask about every Nth frame only.")
@film("--smooth", type=click.FloatRange(min=0), default=0.25, metavar="SECONDS", show_default=True, help=SMOOTH)
@film("--seconds", type=click.FloatRange(min=0, min_open=True), metavar="N", help=SECONDS)
@film("--stats", is_flag=True, help=STATS)
@film("--colormap", metavar="NAME", help="limelight, ember, lagoon, harbour, or any of matplotlib's.")
@film("--alpha", type=click.FloatRange(0, 1), metavar="0..1", help="How much of a frame the map may cover.")
@json_option
def video(
    source: str,
    out: Path,
    model: str,
    weights: str,
    device: str,
    target: str | None,
    method: str,
    layer: str | None,
    batch_size: int,
    engine: str,
    precision: str,
    stats: bool,
    as_json: bool,
    colormap: str | None,
    alpha: float | None,
    **how: Any,
) -> None:
    """Write a film with the maps laid over it, the class and how sure the network is below, and its own sound.

    \b
    limelight video in.mp4 out.mp4                  what is predicted, and where
    limelight video in.mp4 out.mp4 --target tabby   where a class of your choice is seen
    limelight video in.mp4 out.mp4 --every 5        the network asked of every fifth frame
    limelight video in.mp4 out.mp4 --engine auto    by the fastest engine
    limelight video in.mp4 out.mp4 --stats          and a table and a plot of all frames
    limelight video camera:0 out.mp4                what a camera sees, until Ctrl-C
    limelight video rtsp://door/1 out.mp4 --seconds 60

    A map is a mean over the frames before and after it, never across a cut: it does not flicker, and does not lag.
    Of a camera or stream, frames that the network has no time for are dropped, so that none is late.
    """
    from limelight.colormaps import colormap as named
    from limelight.video.explaining import explain_film
    from limelight.video.film import opened, pyav
    from limelight.video.live import is_live
    from limelight.video.stats import write

    pyav()
    if colormap:
        named(colormap)
    count = None
    live = is_live(source)
    if not live:
        with opened(source) as found:  # what is wrong with it is said before a network is loaded
            count = found.count
    loaded = load_model(model, weights, device)
    asked: Any = target
    if target is not None and target.isdecimal() and target not in (loaded.labels or ()):
        asked = int(target)
    look = {name: value for name, value in (("colormap", colormap), ("alpha", alpha)) if value is not None}
    made = engine_for(engine, precision, loaded, [method], asked, layer, 1 if live else batch_size)
    how |= {"method": method, "layer": layer, "batch_size": batch_size, "engine": made}
    start = time.monotonic()
    with paced("explaining", "frames", count, shown=watched()) as tell:
        told = explain_film(loaded, source, out, asked, look=look, tell=lambda done: tell(1), **how)
    seconds = time.monotonic() - start
    files = [out, *(write(told, out) if stats else [])]
    facts = {"frames": len(told), "seconds": told[-1].seconds, "shots": told[-1].shot + 1}
    facts |= {"asked": sum(one.said is not None for one in told), "frames_per_second": len(told) / seconds}
    if live:
        facts["dropped"] = told[-1].frame + 1 - len(told)
    if as_json:
        printing.document({**facts, "files": [str(file) for file in files]})
        return
    dropped = f", {facts['dropped']:,} dropped" if "dropped" in facts else ""
    click.echo(f"{facts['frames']:,} frames, {facts['frames_per_second']:.1f} a second{dropped}")
    for file in files:
        click.echo(file)
