"""The command line: parse, call, print. It imports nothing heavy until a command runs."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from limelight.errors import InputError, LimelightError, closest

if TYPE_CHECKING:
    from rich.table import Table

    from limelight.models import Model

DEFAULT_MODEL = "efficientnet_lite0"


class Command(click.Command):
    """A command whose errors are one line, with ``--debug`` to see where they came from."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.params.append(click.Option(["--debug"], is_flag=True, help="Show where an error came from."))

    def invoke(self, ctx: click.Context) -> Any:
        """Run; turn any error into one line and an exit code."""
        debug = ctx.params.pop("debug")
        warnings.showwarning = lambda message, *where, **more: click.echo(f"warning: {message}", err=True)
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException, BrokenPipeError):
            raise
        except Exception as error:
            if debug:
                raise
            text = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, LimelightError):
                click.echo(f"error: {text}", err=True)
                ctx.exit(error.exit_code)
            notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
            click.echo(f"error: {type(error).__name__}: {text[:300]}{notes}; --debug shows where", err=True)
            ctx.exit(2)


class Group(click.Group):
    """Commands, with "did you mean" for a misspelt one."""

    command_class = Command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command named first."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}.{closest(args[0], self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="limelight")
def main() -> None:
    """Where a vision model looked, and whether to believe it."""


_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, and nothing else there.")
_model = click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A name from `limelight models`, or a checkpoint.")
_weights = click.option("--weights", default="default", show_default=True, help='"default", "random", or a file of weights.')
_device = click.option("--device", default="auto", show_default=True, help='"cpu", "cuda", "cuda:1", "mps" or "auto".')


@main.command()
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO|FOLDER|GLOB...")
@_model
@_weights
@click.option("--target", "targets", multiple=True, metavar="NAME|INDEX", help="Class to explain; may be repeated. Default: the predicted class.")
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="Explain the K most probable classes.")
@click.option("--method", default="gradcam", show_default=True, help="A name from `limelight methods`.")
@click.option("--layer", "layers", multiple=True, help="A name from `limelight layers`, or a glob; several are fused. Default: the last with a grid.")
@click.option("--fit", type=click.Choice(["crop", "whole", "pad"]), default="crop", show_default=True, help="How a photograph becomes the network's input.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where overlays go. [default: limelight-out; none with --json]")
@_json
@click.option("--colormap", help="Colours of the map; `viridis`, `jet` and the like need matplotlib.")
@click.option("--alpha", type=click.FloatRange(0, 1), help="How much of the photograph the map may cover.")
@click.option("--contours", is_flag=True, help="Draw lines around the strongest evidence.")
@click.option("--legend", is_flag=True, help="Draw a scale below the picture.")
@_device
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Pictures that run at once.")
def explain(
    photos: Sequence[str], model: str, weights: str, targets: Sequence[str], top: int | None, layers: Sequence[str],
    out: Path | None, as_json: bool, device: str, colormap: str | None, alpha: float | None, contours: bool,
    legend: bool, **how: Any,
) -> None:  # fmt: skip
    """Say what the network sees in photographs, and where it looked."""
    from limelight import images, pipeline
    from limelight.overlays import Overlays

    paths = images.find(photos)
    look = {"colormap": colormap, "alpha": alpha, "contours": contours, "legend": legend}
    folder = out or (None if as_json else Path("limelight-out"))
    overlays = Overlays(folder, {name: value for name, value in look.items() if value is not None}) if folder else None
    if overlays:
        overlays.prepare()
    loaded = _load(model, weights, device)
    how |= {"target": _target(targets, top, loaded.labels), "layer": list(layers) or None}
    records: list[dict[str, Any]] = []
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=_zero_map_warning())  # each is told with its own picture
            for record in _progress(pipeline.explain_files(loaded, paths, overlays, **how), len(paths)):
                records.append(record)
    finally:  # what was done is told, also when the rest could not be
        print_explained(records, as_json)
    failed = sum(record["error"] is not None for record in records)
    if failed:
        sys.exit(2 if failed == len(records) else 1)


@main.command()
@click.argument("model")
@click.option("--size", type=click.IntRange(min=1), help="Side of the input in pixels. [default: the network's own]")
@_json
def layers(model: str, size: int | None, as_json: bool) -> None:
    """List the layers a map can be drawn at, in the order they run; the default is marked."""
    import torch

    from limelight import grid, models

    loaded = models.load(model, weights="random")
    height, width = (size, size) if size else loaded.preprocessing.size if loaded.preprocessing else (224, 224)
    channels = loaded.preprocessing.channels if loaded.preprocessing else 3
    images = torch.zeros(1, channels, height, width)
    chosen = grid.default_layer(loaded.network, images)
    found = [
        {"layer": name, "type": visit.kind, "channels": visit.shape[1], "grid": list(visit.shape[2:]), "default": name == chosen}
        for name, visit in grid.candidates(grid.walk(loaded.network, images))
    ]
    if as_json:
        _print_json({"model": loaded.name, "input": [height, width], "layers": found})
        return
    rows = [
        (each["layer"], each["type"], str(each["channels"]), "x".join(map(str, each["grid"])), "default" if each["default"] else "")
        for each in found
    ]
    _print_table(["layer", "type", "channels", "grid", ""], rows)


@main.command()
@click.argument("filter", default="")
@_json
def models(filter: str, as_json: bool) -> None:
    """List the networks that can be loaded, and which weights are on this machine."""
    from limelight.models import available

    found = [each.as_dict() for each in available(filter)]
    if as_json:
        _print_json({"models": found})
    elif not found:
        raise InputError(f"no network's name contains {filter!r}")
    else:
        rows = [(m["name"], m["source"], m["weights"] or "random only", "yes" if m["on_this_machine"] else "") for m in found]
        _print_table(["name", "source", "weights", "on this machine"], rows)


@main.command()
@_json
def methods(as_json: bool) -> None:
    """List the methods, with what each needs and costs."""
    from limelight.methods import REGISTRY

    facts = ("name", "title", "needs", "discriminative", "signed", "passes", "source")
    found = [{fact: getattr(method, fact) for fact in facts} for method in REGISTRY.values()]
    if as_json:
        _print_json({"methods": found})
        return
    yes = {True: "yes", False: ""}
    rows = [
        (m["name"], m["title"], ", ".join(m["needs"]), yes[m["discriminative"]], yes[m["signed"]], m["passes"], m["source"])
        for m in found
    ]
    _print_table(["name", "method", "needs", "class-specific", "signed", "passes", "source"], rows)


def _load(model: str, weights: str, device: str) -> Model:
    import torch

    from limelight.models import load

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(f"device {device!r} can't be used here: {str(error).splitlines()[0]}") from error
    return load(model, weights=weights).to(place)


def _target(targets: Sequence[str], top: int | None, labels: Sequence[str] | None) -> Any:
    from limelight.targets import Each, Top

    # A number is an index, unless the network has a class of that very name (digits, years).
    asked = [int(name) if name.isdecimal() and name not in (labels or ()) else name for name in targets]
    asked += [Top(top)] if top else []
    return Each(tuple(asked)) if asked else None


def _zero_map_warning() -> type[Warning]:
    from limelight.errors import ZeroMapWarning

    return ZeroMapWarning


def _progress(records: Iterable[dict[str, Any]], total: int) -> Iterable[dict[str, Any]]:
    if total < 20 or not sys.stderr.isatty():
        return records
    from rich.console import Console
    from rich.progress import track

    return track(records, "explaining", total=total, console=Console(stderr=True))


def print_explained(records: Sequence[dict[str, Any]], as_json: bool = False) -> None:
    """The records as a table, or as one JSON document; what went wrong goes to stderr."""
    if as_json:
        _print_json({"images": records})
    rows = []
    for record in records:
        name = Path(record["path"]).name
        if record["error"]:
            click.echo(f"error: {record['error']}", err=True)
            continue
        for note in record["notes"]:
            click.echo(f"note: {name}: {note}", err=True)
        best = record["predictions"][0] if record["predictions"] else {"label": "", "probability": None}
        for target in record["targets"]:
            if target["warning"]:
                click.echo(f"warning: {name}: {target['warning']}", err=True)
            rows.append(
                (
                    name,
                    f"{best['label']} {_percent(best['probability'])}",
                    f"{target['label']} {_percent(target['probability'])}",
                    "none" if target["peak"] is None else "{:.0f}, {:.0f}".format(*target["peak"]),
                    target["overlay"] or "",
                )
            )
    if rows and not as_json:
        _print_table(["photo", "prediction", "explained", "peak x, y", "overlay"], rows)


def _percent(probability: float | None) -> str:
    return "" if probability is None else f"{probability:.1%}"


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2))


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.text import Text

    table = _table(columns)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    # Where nobody looks at the lines, they are for another program: as wide as they are, never cut.
    Console(width=None if sys.stdout.isatty() else 400).print(table)


def _table(columns: Sequence[str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


if __name__ == "__main__":
    main()
