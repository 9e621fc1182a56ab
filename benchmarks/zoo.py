"""Every architecture of timm and torchvision, explained without a hint, and held against full autograd.

    python -m benchmarks.zoo [NAME ...] [--most MILLIONS] [--peers] [--out FILE]     one JSON line a network; resumable
    python -m benchmarks.zoo --table FILE [--peers-table FILE]                       the page docs/zoo.md of it

Weights are random, but alive (:func:`awake`). A network is right if ``limelight.explain(network, images)``, told
nothing else, gives a map that is finite, not constant, has as many cells as the layer's grid, differs between two
classes if the gradients do, and equals Grad-CAM written out with the whole network under autograd, the cells read as
the library that made the network reads them.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

OUT = Path("out/zoo.jsonl")
SIZES = (64, 128, 224, 256, 299, 320, 384)
"""Inputs tried, the smallest first: it has to run, and the last grid needs more than one cell."""
SECONDS = 240
"""A network that takes longer is written down as too slow for this machine."""
CLOSE = 1e-3
"""How far the map may be from the reference, as a share of the reference's largest value."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the zoo from the command line."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    options.add_argument("names", nargs="*", help="as timm:NAME or torchvision:NAME; all if none")
    options.add_argument("--most", type=float, default=30, help="million parameters")
    options.add_argument("--peers", action="store_true", help="run the peers instead")
    options.add_argument("--again", action="store_true", help="those that failed once more")
    options.add_argument("--out", type=Path, default=OUT)
    options.add_argument("--table", type=Path)
    options.add_argument("--peers-table", type=Path)
    chosen = options.parse_args(arguments)
    if chosen.table:
        from benchmarks import zoo_page

        zoo_page.write(chosen.table, chosen.peers_table)
        return
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)

    def finished(record: dict[str, Any]) -> bool:
        return not (chosen.again and (record.get("error") or record.get("wrong")))

    done = {record["name"] for record in read(chosen.out) if finished(record)}
    for name in chosen.names or selection():
        if name in done or (name.partition(":")[2] not in SMALLEST and parameters(name) > chosen.most * 1e6):
            continue
        record = peers_at(name) if chosen.peers else explained(name)
        with chosen.out.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(name, record.get("layer"), record.get("error") or record.get("wrong") or "right", flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a file, the newest of each network."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return list({line["name"]: line for line in lines}.values())


# ---- which networks


def selection() -> Iterator[str]:
    """Names of the zoo: torchvision's, then timm's, one of every family at a time, the small ones by their names."""
    import timm
    from timm.models._registry import _model_to_module
    from torchvision import models

    for kind in (models, models.video):
        plain = [name for name in models.list_models(module=kind) if not name.startswith("quantized")]
        yield from (f"torchvision:{name}" for name in plain)
    families: dict[str, list[str]] = {}
    for name in timm.list_models():
        if not BIG.search(name) or name in SMALLEST:
            families.setdefault(_model_to_module[name], []).append(f"timm:{name}")
    for some in zip_longest(*families.values()):
        yield from filter(None, some)


BIG = re.compile(
    "large|huge|giant|xl|so400m|so150m2|_[lhgx]_|_[lhg]$|base|152|20[01]|269|264|320|420|1001|b[5-9]|x32d|32x8|32x16|"
    "32x48|64x4d|f[2-7]$|_b_|[1-9]b_|[1-9]00m|big|x64|_384|_448|_512|_560|_1024|x16_|x4_clip|s48|m36|m48"
)
"""Names that say that a network or its input is large; what remains may be so all the same."""
SMALLEST = (
    "beit_base_patch16_224",
    "naflexvit_base_patch16_gap",
    "nasnetalarge",
    "pnasnet5large",
    "samvit_base_patch16",
)
"""The smallest of families that have none that is small."""


def parameters(name: str) -> int:
    """How many a network has, built without memory; none if it can't be."""
    try:
        with torch.device("meta"):
            network = create(name, 224)
    except Exception:  # it is built for what it is
        return 0
    return sum(parameter.numel() for parameter in network.parameters())


# ---- a network, its input, its reference


def build(name: str) -> tuple[nn.Module, Tensor]:
    """A network that is alive, and two images of the smallest size that it takes.

    Raises:
        RuntimeError: it runs at none of the sizes.
    """
    told = RuntimeError("no size")
    for size in sizes(name):
        torch.manual_seed(0)
        try:
            network = create(name, size)
            images = torch.randn(2, *shape(name, network, size))
            with torch.no_grad():
                network.eval()(images[:1])
            if cells(network, images) >= 2:
                return awake(network, images), images
        except Exception as error:  # the size is not one of this network's
            told = RuntimeError(f"{type(error).__name__}: {str(error)[:200]}")
    raise told


def sizes(name: str) -> list[int]:
    """The sizes to try."""
    source, _, plain = name.partition(":")
    if source == "torchvision":
        return [64, 112, 224] if is_video(plain) else [64, 96, 128, 224, 299]
    import timm

    own = timm.get_pretrained_cfg(plain)
    fixed = max(own.input_size[1:]) if own and own.input_size else 224
    return [*(size for size in SIZES if size < fixed), fixed]


def is_video(name: str) -> bool:
    """Whether a torchvision network takes clips."""
    from torchvision import models

    return name in models.list_models(module=models.video)


def create(name: str, size: int) -> nn.Module:
    """The network, for a size where it has to be told."""
    source, _, plain = name.partition(":")
    if source == "torchvision":
        from torchvision import models

        return models.get_model(plain, weights=None, **_plain(name), **_sized(plain, size))
    import timm

    own = timm.get_pretrained_cfg(plain)
    fixed = own is not None and (own.fixed_input_size or own.input_size[-1] == size)
    try:
        return timm.create_model(plain, img_size=size) if fixed else timm.create_model(plain)
    except TypeError:
        return timm.create_model(plain)


def _sized(plain: str, size: int) -> dict[str, Any]:
    """What torchvision's networks for one size are told about it."""
    if plain.startswith("vit_"):
        return {"image_size": size}
    return {"spatial_size": (size, size)} if plain.startswith("mvit") else {}


def _plain(name: str) -> dict[str, Any]:
    plain = name.partition(":")[2]
    return {"init_weights": False} if plain in ("inception_v3", "googlenet") or plain.startswith("vgg") else {}


def shape(name: str, network: nn.Module, size: int) -> tuple[int, ...]:
    """An input's shape, without the batch."""
    source, _, plain = name.partition(":")
    if source == "torchvision" and is_video(plain):
        return (3, 16, size, size)
    channels = getattr(network, "pretrained_cfg", {}).get("input_size", (3,))[0] if source == "timm" else 3
    return (channels, size, size)


def cells(network: nn.Module, images: Tensor) -> int:
    """How many cells the largest tensor with a grid has at the network's end: at one cell nothing can be shown."""
    most = [0]

    def look(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim >= 3:
            most[0] = output[0].numel() // max(min(output.shape[1], output.shape[-1]), 1) if output.ndim == 3 else 2
            if output.ndim >= 4:
                most[0] = max(output.shape[2:].numel(), output.shape[1:-1].numel() if output.shape[-1] > 1 else 1)

    handles = [module.register_forward_hook(look) for module in network.modules() if not list(module.children())]
    with torch.no_grad():
        network(images[:1])
    for handle in handles:
        handle.remove()
    return max(most[0], 2)


def awake(network: nn.Module, images: Tensor) -> nn.Module:
    """Random weights that let something through: fresh networks hold layers scaled by 1e-6, and heads of zeros.

    Parameters that are all one value are drawn at random around it; batch norms get the statistics of the images.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            if (
                parameter.numel() > 1
                and parameter.is_floating_point()
                and bool((parameter == parameter.flatten()[0]).all())
            ):
                value = float(parameter.flatten()[0])
                if 0.5 <= abs(value) <= 2:
                    parameter.uniform_(0.5 * value, 1.5 * value) if value > 0 else parameter.fill_(value)
                elif parameter.ndim > 1:
                    parameter.normal_(std=0.02 if abs(value) > 0 else 0.05)
                else:
                    parameter.uniform_(0.1, 0.5) if 0 < value < 0.5 else parameter.normal_(std=0.1)
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    if norms:
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        try:
            with torch.no_grad():
                network(images)
        except ValueError:  # one value a channel: no statistics
            pass
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return network.eval()


def reference(network: nn.Module, images: Tensor, layer: str, classes: Sequence[int], axes: str) -> list[Tensor]:
    """Grad-CAM with the whole network under autograd, for each class: ``(batch, *grid)``.

    ``axes`` says how the layer's tensor is read: "first", "last", or "tokens P" with so many tokens before the cells.
    """
    name, _, call = layer.partition("@")
    kept: list[Tensor] = []
    module = network.get_submodule(name)

    def keep(module: nn.Module, args: Any, given: Any) -> Any:
        output = given if isinstance(given, Tensor) else next(each for each in given if isinstance(each, Tensor))
        if not output.requires_grad:
            output.requires_grad_()
        output.retain_grad()
        kept.append(output)
        return output.clone() if isinstance(given, Tensor) else None  # networks change what they are given in place

    handle = module.register_forward_hook(keep)
    maps = []
    try:
        for index in classes:
            kept.clear()
            with torch.enable_grad():
                scores = logits(network(images.clone().requires_grad_()))[:, index]
                scores.sum().backward()
            taken = kept[int(call) - 1 if call else -1]
            assert taken.grad is not None
            activations, gradients = (cells_of(each.detach().float(), axes) for each in (taken, taken.grad))
            maps.append(torch.einsum("bc,bc...->b...", gradients.flatten(2).mean(2), activations))
            network.zero_grad(set_to_none=True)
    finally:
        handle.remove()
    return maps


def logits(outputs: Any) -> Tensor:
    """The class scores."""
    return outputs if isinstance(outputs, Tensor) else outputs[0]


def cells_of(tensor: Tensor, axes: str) -> Tensor:
    """``(batch, channels, *cells)``; tokens stay in one row, whose order is the raster's."""
    if axes in ("first", "row"):
        return tensor
    if axes == "last":
        return tensor.movedim(-1, 1)
    return tensor[:, int(axes.split()[1]) :].mT


# ---- limelight on it


def explained(name: str) -> dict[str, Any]:
    """What limelight makes of a network, told nothing but the network and two images."""
    record: dict[str, Any] = {"name": name}
    began = time.perf_counter()
    try:
        with within(SECONDS):
            network, images = build(name)
    except Exception as error:
        return record | {"error": f"not built: {line(error)}", "built": False}
    record |= {"input": list(images.shape[1:]), "parameters": sum(p.numel() for p in network.parameters())}
    try:
        with within(SECONDS):
            record |= checked(network, images)
    except Exception as error:
        record["error"] = line(error)
    return record | {"seconds": round(time.perf_counter() - began, 1)}


def checked(network: nn.Module, images: Tensor) -> dict[str, Any]:
    """The facts of an explanation, and what is wrong with it."""
    import limelight as ll

    with torch.no_grad():
        scores = logits(network(images))
    a, b = int(scores[0].argmax()), int(scores[0].argmin())
    found = ll.explain(network, images, target=ll.each(a, b))
    raw = found.raw
    axes, grid = how_to_read(network, images, found.layer, tuple(raw.shape[2:]))
    truth = torch.stack([each.flatten(1) for each in reference(network, images, found.layer, [a, b], axes)], dim=1)
    record: dict[str, Any] = {"layer": found.layer, "axes": axes, "grid": list(raw.shape[2:])}
    wrong = []
    if not bool(raw.isfinite().all()):
        wrong.append("not finite")
    flat = raw.flatten(2)
    if grid is not None and tuple(raw.shape[2:]) != grid:
        wrong.append(f"a grid of {tuple(raw.shape[2:])}, not {grid}")
    if flat.shape != truth.shape:
        return record | {"wrong": [*wrong, f"{flat.shape[2]} cells, not {truth.shape[2]}"]}
    scale = float(truth.abs().max())
    record["difference"] = float((flat - truth).abs().max()) / max(scale, 1e-30)
    if scale == 0 and float(flat.abs().max()) == 0:
        record["dead"] = True  # the network lets nothing through here, and the reference says the same
    elif bool(((flat.amax(2) == flat.amin(2)) & (truth.amax(2) > truth.amin(2))).any()):
        wrong.append("constant")
    if record["difference"] > CLOSE:
        wrong.append(f"off by {record['difference']:.2g}")
    if scale and float((truth[:, 0] - truth[:, 1]).abs().max()) > CLOSE * scale and torch.equal(flat[:, 0], flat[:, 1]):
        wrong.append("blind to the class")
    return record | {"wrong": wrong}


def how_to_read(
    network: nn.Module, images: Tensor, layer: str, grid: tuple[int, ...]
) -> tuple[str, tuple[int, ...] | None]:
    """How a layer's tensor is to be read, and its grid where the network says it itself: limelight is not asked.

    The number of tokens before the cells is what timm's ``num_prefix_tokens`` or torchvision's class token says, and
    else what is left over. A tensor of four axes is channels first where its last two sides are equal, as the images'.
    """
    shapes: list[tuple[int, ...]] = []

    def look(module: nn.Module, args: Any, output: Any) -> None:
        output = output if isinstance(output, Tensor) else next(each for each in output if isinstance(each, Tensor))
        shapes.append(tuple(output.shape))

    name, _, call = layer.partition("@")
    handle = network.get_submodule(name).register_forward_hook(look)
    with torch.no_grad():
        network(images)
    handle.remove()
    shape = shapes[int(call) - 1 if call else -1]
    cells = torch.Size(grid).numel()
    if len(shape) == 3 and images.ndim >= 4 and shape[2] == cells and not 0 <= shape[1] - cells <= 8:
        return "row", None
    if len(shape) == 3 and images.ndim >= 4:
        prefix = shape[1] - torch.Size(grid).numel()
        said = getattr(getattr(network, "patch_embed", None), "grid_size", None)
        own = getattr(network, "num_prefix_tokens", None)
        known = said is not None and own is not None and said[0] * said[1] + own == shape[1]
        return (f"tokens {own}", tuple(said)) if known else (f"tokens {prefix}", None)
    first = shape[-1] == shape[-2] if shape[-1] != shape[1] else True
    return ("first", shape[2:]) if first else ("last", shape[1:-1])


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Stop what takes longer."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"took more than {seconds} s on this machine")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def line(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def peers_at(name: str) -> dict[str, Any]:
    """What the peers make of a network (:mod:`benchmarks.zoo_peers`)."""
    from benchmarks import zoo_peers

    return zoo_peers.record(name)


if __name__ == "__main__":
    main()
