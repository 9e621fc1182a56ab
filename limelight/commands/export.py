"""``limelight export``: a network and its explanation as one file that runs without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from limelight import printing
from limelight.commands.options import (
    FIT,
    FITS,
    NATURAL,
    WEIGHTS,
    file_options,
    json_option,
    load_model,
    network,
    question,
)
from limelight.errors import InputError
from limelight.shell import command, option

if TYPE_CHECKING:
    from torch import Tensor

    from limelight.models import Model
    from limelight.preprocessing import Fit

LAYER = "A name from `limelight layers`; several are fused.  [default: the last with a grid]"
METHOD = "One of activations and gradients, from `limelight methods`."
BATCH = "Images at once.  [default: any number]"
PRECISION = "Fewer bits; what it costs is measured and said.  [default: float32]"
CALIBRATE = "Photographs like those it will see; int8 needs some, and is measured on others of them."
ANY_SIZE = "Images of any height and width, where the network takes them."
ANY = "The class is an input, class_index; -1 stands for the predicted class."
INPUT = "image: preprocessed floats; pixels: a photograph's RGB bytes, any size."
RUNNER = "Write a script beside it that needs onnxruntime, numpy and Pillow only."
WEB = "Write a page that explains photographs in the browser, where they stay."
ORT = "The npm package onnxruntime-web, unpacked.  [default: fetched by npm]"

MOST = 64
"""Photographs that are taken to calibrate and measure, at most."""


def file(*names: str, **facts: Any) -> Any:
    """An option of what is written."""
    return option(*names, heading="What is written", **facts)


@command(short_help="Write a network and its explanation as one file that runs without PyTorch.")
@click.argument("model", metavar="MODEL")
@click.argument("out", required=False, type=Path, metavar="[OUT.onnx]")
@network("--weights", default="default", metavar="FILE", help=WEIGHTS)
@file_options
@network("--batch", type=NATURAL, metavar="N", help=BATCH)
@network("--any-size", is_flag=True, help=ANY_SIZE)
@network("--precision", type=click.Choice(["float32", "float16", "int8"]), default="float32", help=PRECISION)
@network("--calibrate", multiple=True, metavar="PHOTO|FOLDER", help=CALIBRATE)
@question("--target", metavar="NAME|INDEX", help="A class.  [default: the predicted one]")
@question("--top", type=NATURAL, metavar="K", help="The K best classes, a map each.")
@question("--any-class", is_flag=True, help=ANY)
@question("--method", default="gradcam", metavar="NAME", show_default=True, help=METHOD)
@question("--layer", "layers", multiple=True, metavar="NAME|GLOB", help=LAYER)
@question("--fit", type=FITS, default="crop", show_default=True, help=FIT)
@file("--input", "kind", type=click.Choice(["image", "pixels"]), default="image", show_default=True, help=INPUT)
@file("--runner", is_flag=True, help=RUNNER)
@file("--web", type=Path, metavar="DIR", help=WEB)
@file("--ort-web", type=Path, metavar="DIR", help=ORT)
@json_option
def export(out: Path | None, web: Path | None, ort_web: Path | None, as_json: bool, **how: Any) -> None:
    """Write a network and its explanation as one file that runs without PyTorch.

    \b
    limelight export resnet50 out.onnx              scores, classes, raw maps and maps in one pass
    limelight export resnet50 out.onnx --runner     and out.py, to run it on photographs
    limelight export resnet50 out.pt2               the same as a torch.export program
    limelight export resnet50 --web page            a page that explains photographs in the browser

    The forward pass, the pull-back, the weighting and the placing are one ONNX graph. It is written after it answered
    as the network itself does; what it is stands in its metadata. --runner and --web take pixels.
    """
    if out is None and web is None:
        raise InputError("say what to write: a file OUT.onnx, or --web DIR")
    if out is not None and out.suffix not in (".onnx", ".pt2"):
        raise InputError(f"{out}: let it end in .onnx, for an ONNX file, or in .pt2, for a torch.export program")
    if out is not None and out.suffix == ".pt2" and (how["runner"] or how["kind"] == "pixels"):
        raise InputError("a torch.export program takes preprocessed images: --runner and pixels go with OUT.onnx")
    if out is None and how["runner"]:
        raise InputError("--runner writes a script beside a file: give OUT.onnx too")
    found = _exported(out, web, ort_web, **how)
    if as_json:
        printing.document(found)
        return
    for path in found["files"]:
        click.echo(path)
    click.echo(f"\n{found['agreement']['said']}")
    if found["fidelity"]:
        click.echo(f"{found['precision']} beside float32: {found['fidelity']['said']}")


def _exported(
    out: Path | None,
    web: Path | None,
    ort_web: Path | None,
    *,
    model: str,
    weights: str,
    batch: int | None,
    any_size: bool,
    precision: Any,
    calibrate: tuple[str, ...],
    target: str | None,
    top: int | None,
    any_class: bool,
    method: str,
    layers: tuple[str, ...],
    fit: Fit,
    kind: str,
    runner: bool,
) -> dict[str, Any]:
    """What was written, and what it is."""
    from limelight.export import page, script
    from limelight.export.compiled import compile
    from limelight.step import GIVEN
    from limelight.targets import Top

    if sum(map(bool, (target, top, any_class))) > 1:
        raise InputError("--target, --top and --any-class each say what is asked: give one of them")
    pixels = kind == "pixels" or runner or web is not None
    if pixels and batch not in (None, 1):
        raise InputError(f"--batch {batch}: a graph of pixels takes one photograph at once")
    if pixels and any_size:
        raise InputError("--any-size: a graph of pixels takes photographs of any size as it is")
    if top and web is not None:
        raise InputError("--top: the page shows one map at a time; it lets its user choose among the best classes")
    runtime = page.runtime(ort_web) if web is not None else {}
    loaded = load_model(model, weights, "cpu")
    asked: Any = GIVEN if any_class or (web is not None and target is None) else Top(top) if top else None
    if target is not None:
        asked = int(target) if target.isdecimal() and target not in (loaded.labels or ()) else target
    examples: Any = _examples(loaded, calibrate, fit) if precision != "float32" else None
    compiled = compile(loaded, method, list(layers) or None, asked, batch=1 if pixels else batch, any_size=any_size)
    if precision != "float32":
        compiled = compiled.reduced(precision, examples)
    files, agreement = [], compiled.agreement
    if out is not None and out.suffix == ".pt2":
        made = compiled.program()
        agreement = made.agreement
        files.append(made.save(out))
    elif out is not None:
        files.append(compiled.save(out, fit if pixels else None))
    if out is not None and runner:
        files.append(script.write(out))
    if web is not None:
        files.append(page.write(web, compiled, fit, runtime))
    facts = {key: value for key, value in compiled.facts.items() if key not in ("labels", "colours")}
    facts["agreement"] = {**asdict(agreement), "said": f"checked against the network itself: {agreement}"}
    if compiled.fidelity:
        facts["fidelity"] = {**facts["fidelity"], "said": str(compiled.fidelity)}
    return {"files": [str(path) for path in files], "input": "pixels" if pixels else "image", **facts}


def _examples(model: Model, photos: Sequence[str], fit: Fit) -> Tensor:
    """The photographs that a graph in fewer bits is calibrated and measured on."""
    import torch

    from limelight import images

    own = model.preprocessing
    if own is None or not photos:
        raise InputError("--precision is measured on photographs: give --calibrate FOLDER, some like those it will see")
    return torch.stack([own(images.read(path).pixels, fit)[0] for path in images.find(photos)[:MOST]])
