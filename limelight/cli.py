"""The command line: parse, call, print. It imports nothing heavy until a command runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from limelight import printing
from limelight.errors import InputError
from limelight.progress import tracked, watched
from limelight.shell import Group, line, option

if TYPE_CHECKING:
    from limelight.models import Model
    from limelight.preprocessing import Fit

DEFAULT_MODEL = "efficientnet_lite0"
DEFAULT_OUT = Path("limelight-out")
LONG = 20  # pictures from which a progress bar is worth its line


@click.group(cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="limelight")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Where a vision model looked, and whether to believe it.

    \b
    limelight explain cat.jpg                  what a network sees, and where
    limelight explain photos/ --json           a folder's worth, for a program
    limelight explain cat.jpg --target tabby   where it sees what you choose
    limelight compare cat.jpg --methods fast   by several methods, side by side
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


_network = partial(option, heading="The network")
_question = partial(option, heading="What is explained")
_picture = partial(option, heading="The pictures")
_json = option("--json", "as_json", is_flag=True, help="One JSON document on stdout, and nothing else there.")
_model_help = "A name from `limelight models`, or a checkpoint."
_target_help = "A class; may be repeated.  [default: the predicted one]"
_layer_help = "A name from `limelight layers`; several are fused.  [default: the last with a grid]"
_own_layers_help = "A name from `limelight layers`; several are fused.  [default: each method's own]"
_fit_help = "What the network sees: the middle, as it was evaluated; all of it, squeezed; or all of it, letter-boxed."
_method_help = "A name from `limelight methods`; several with commas between."
_methods_help = "all, fast (those of a single pass), or names from `limelight methods` with commas between."
_fits = click.Choice(["crop", "whole", "pad"])
_natural = click.IntRange(min=1)


@main.command(short_help="Say what a network sees in photographs, and where.")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO|FOLDER|GLOB...")
@_network("--model", default=DEFAULT_MODEL, metavar="NAME|PATH", show_default=True, help=_model_help)
@_network("--weights", default="default", metavar="FILE", help='A file, or "random".  [default: the published ones]')
@_network("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:1 or mps.  [default: the fastest here]")
@_network("--batch-size", type=_natural, default=16, metavar="N", show_default=True, help="Photographs run at once.")
@_question("--target", "targets", multiple=True, metavar="NAME|INDEX", help=_target_help)
@_question("--top", type=_natural, metavar="K", help="The K most probable classes.")
@_question("--method", default="gradcam", metavar="NAME,...", show_default=True, help=_method_help)
@_question("--layer", "layers", multiple=True, metavar="NAME|GLOB", help=_layer_help)
@_question("--fit", type=_fits, default="crop", show_default=True, help=_fit_help)
@_picture("--out", type=Path, metavar="DIR", help=f"Where overlays go.  [default: {DEFAULT_OUT}; none with --json]")
@_picture("--colormap", metavar="NAME", help="limelight, ember, lagoon, harbour, or any of matplotlib's.")
@_picture("--alpha", type=click.FloatRange(0, 1), metavar="0..1", help="How much of the photograph the map may cover.")
@_picture("--contours", is_flag=True, help="Draw lines around the strongest evidence.")
@_picture("--legend", is_flag=True, help="Draw a scale below the picture.")
@_json
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


@main.command(short_help="Set several methods' maps of one photograph side by side.")
@click.argument("photo", metavar="PHOTO")
@_network("--model", default=DEFAULT_MODEL, metavar="NAME|PATH", show_default=True, help=_model_help)
@_network("--weights", default="default", metavar="FILE", help='A file, or "random".  [default: the published ones]')
@_network("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:1 or mps.  [default: the fastest here]")
@_question("--methods", "names", default="fast", metavar="NAME,...", show_default=True, help=_methods_help)
@_question("--target", metavar="NAME|INDEX", help="A class.  [default: the predicted one]")
@_question("--layer", "layers", multiple=True, metavar="NAME|GLOB", help=_own_layers_help)
@_question("--fit", type=_fits, default="crop", show_default=True, help=_fit_help)
@_picture("--out", type=Path, metavar="DIR", help=f"Where the sheet goes.  [default: {DEFAULT_OUT}; none with --json]")
@_json
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


@main.command(short_help="List the layers of a network that a map can be drawn at.")
@click.argument("model", metavar="NAME|PATH")
@option("--size", type=_natural, metavar="PIXELS", help="Side of the input.  [default: the network's own]")
@option("--all", "everything", is_flag=True, help="Those inside the main ones too.")
@_json
def layers(model: str, size: int | None, everything: bool, as_json: bool) -> None:
    """List the layers of a network that a map can be drawn at, in the order they run."""
    from limelight import listing

    found = listing.layers(model, size)
    if as_json:
        printing.document(found)
        return
    shown = [each for each in found["layers"] if everything or each["main"]]
    rows = [
        (
            each["layer"],
            each["type"],
            str(each["channels"]),
            "x".join(map(str, each["grid"])),
            "default" * each["default"],
        )
        for each in shown
    ]
    printing.table(["layer", "type", "channels", "grid", ""], rows, numbers=("channels", "grid"))
    if len(shown) < len(found["layers"]):
        printing.note(f"\nand {len(found['layers']) - len(shown)} inside these: --all lists them")


@main.command(short_help="List the networks that can be loaded.")
@click.argument("filter", default="", metavar="[FILTER]")
@_json
def models(filter: str, as_json: bool) -> None:
    """List the networks that can be loaded, those first whose weights are on this machine.

    FILTER is a part of the name, and may hold * and ?. Without it, only those on this machine are shown.
    """
    from limelight import listing

    found = listing.networks(filter)
    if as_json:
        printing.document({"models": found})
        return
    if not found:
        raise InputError(f"no network's name contains {filter!r}; `limelight models` says what there is")
    shown = found if filter else [each for each in found if each["on_this_machine"]]
    rows = [(m["name"], m["source"], m["weights"] or "random only", _yes(m["on_this_machine"])) for m in shown]
    printing.table(["name", "source", "weights", "on this machine"], rows)
    if len(shown) < len(found):
        printing.note(
            f"\nand {len(found) - len(shown):,} more, fetched when first used: limelight models FILTER lists them"
        )


@main.command(short_help="List the methods, with what each needs and costs.")
@_json
def methods(as_json: bool) -> None:
    """List the methods, with what each needs and costs."""
    from limelight import listing

    found = listing.methods()
    if as_json:
        printing.document({"methods": found})
        return
    rows = [
        (
            m["name"],
            m["title"],
            m["source"].partition(",")[0],
            m["passes"],
            _yes(m["discriminative"]),
            ", ".join(m["needs"]),
        )
        for m in found
    ]
    printing.table(
        ["name", "method", "source", "passes", "per class", "needs"], rows, whole=("source", "passes", "per class")
    )


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
    loaded = _load(model, weights, device)
    how |= {"target": _target(targets, top, loaded.labels), "layer": list(layers) or None}
    records = pipeline.explain_files(loaded, paths, overlays, methods, **how)
    yield from tracked(records, "explaining", len(paths), shown=len(paths) >= LONG and watched())


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
    loaded = _load(model, weights, device)
    asked = _target([target] if target else [], None, loaded.labels)
    running = comparison.trials(loaded, photo, methods, asked, list(layers) or None, fit)
    done = list(tracked(running, "comparing", len(methods), shown=watched()))
    comparison.check(done)
    found = comparison.record(photo, done)
    if overlays:
        path = overlays.folder / f"{Path(source).stem}_methods.png"
        overlays.picture(path, comparison.sheet(done))
        found["sheet"] = str(path)
    return found


def _load(model: str, weights: str, device: str) -> Model:
    import torch

    from limelight.models import load

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError:
        raise InputError(f"no device is called {device!r}: give cpu, cuda, cuda:1, mps or auto") from None
    try:
        torch.zeros(1, device=place).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {device!r} can't be used here: {line(error).partition('. ')[0]}") from error
    return load(model, weights=weights, device=place)


def _yes(fact: bool) -> str:
    return "yes" if fact else ""


def _target(targets: Sequence[str], top: int | None, labels: Sequence[str] | None) -> Any:
    from limelight.targets import Each, Top

    # A number is an index, unless the network has a class of that very name (digits, years).
    asked = [int(name) if name.isdecimal() and name not in (labels or ()) else name for name in targets]
    asked += [Top(top)] if top else []
    return Each(tuple(asked)) if asked else None


if __name__ == "__main__":
    main()
