"""Every architecture of timm and torchvision, explained without a hint, and held against full autograd.

    python -m benchmarks.zoo [NAME ...] [--first N] [--most MILLIONS] [--out FILE]   one JSON line a network; resumable
    python -m benchmarks.zoo --peers [--sample N] [--out FILE]                       what the peers make of the same
    python -m benchmarks.zoo --table FILE [--peers-table FILE]                       the page docs/zoo.md of it

All of torchvision's classification, video, segmentation and detection networks, then timm's, family by family, each
family's smallest first; of names that stand for one and the same network (``timm``'s tags for other sizes of input or
other weights) the first. Weights are random, but alive (:func:`awake`). A network is right if
``limelight.explain(network, images)``, told no layer and no layout, gives a map that is finite, not constant, has as
many cells as the layer's grid, differs between two questions if the gradients do, and equals Grad-CAM written out with
the whole network under autograd, the cells read as the library that made the network reads them.

What is asked: a classifier's likeliest and unlikeliest class; a segmenter's predicted region, and the mean of another
class; a detector's first two detections (:mod:`benchmarks.zoo_dense`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from benchmarks import zoo_dense

OUT = Path("out/zoo.jsonl")
SIZES = (64, 128, 224, 256, 299, 320, 384)
"""Inputs tried, the smallest first: it has to run."""
SECONDS = 240
"""A network that takes longer is written down as too slow for this machine."""
Question = int | Callable[[Any], Tensor]
"""A class, or outputs to scores ``(batch,)``."""
MORE = 16
"""By so many times more images the batch norms' statistics come, where those of the images alone won't do."""
CLOSE = 1e-3
"""How far the map may be from the reference, as a share of the reference's largest value."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the zoo from the command line."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    options.add_argument("names", nargs="*", help="as timm:NAME or torchvision:NAME; all if none")
    options.add_argument("--first", type=int, help="so many of them, with those that are done")
    options.add_argument("--sample", type=int, help="so many of those, drawn at random, always the same")
    options.add_argument("--most", type=float, default=30, help="million parameters of a network of timm")
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
    names = chosen.names or selection(chosen.most * 1e6, chosen.out.with_name("zoo-names.json"))
    names = [name for name in names[: chosen.first] if not (chosen.peers and zoo_dense.kind(name))]
    if chosen.sample:
        names = random.Random(0).sample(sorted(names), min(chosen.sample, len(names)))
    for name in names:
        if name in done:
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


def selection(most: float, known: Path) -> list[str]:
    """Names of the zoo: torchvision's, then timm's, one of every family at a time, each family's smallest first.

    Of timm's no network has more than ``most`` parameters, but for the smallest of its family. What a name stands for
    is found by building it without memory, which takes minutes for all of them and is kept in the file ``known``.
    """
    import timm
    from timm.models._registry import _model_to_module
    from torchvision import models

    kinds = (models, models.video, models.segmentation, models.detection)
    plain = [name for kind in kinds for name in models.list_models(module=kind) if not name.startswith("quantized")]
    facts = json.loads(known.read_text()) if known.exists() else {}
    families: dict[str, list[tuple[int, str, str]]] = {}
    for name in timm.list_models():
        if name not in facts:
            facts[name] = anatomy(f"timm:{name}")
        size, kind = facts[name]
        families.setdefault(_model_to_module[name], []).append((size, kind, f"timm:{name}"))
    known.write_text(json.dumps(facts))
    rows = zip_longest(*(_distinct(sorted(family), most) for family in families.values()))
    return [*(f"torchvision:{name}" for name in plain), *(name for row in rows for name in row if name)]


def _distinct(family: Sequence[tuple[int, str, str]], most: float) -> list[str]:
    """The family's names, smallest first: each network once, the first whatever its size."""
    first = {kind: (size, name) for size, kind, name in reversed(family)}
    kept = sorted(first.values())
    return [name for place, (size, name) in enumerate(kept) if not place or size <= most]


def anatomy(name: str) -> tuple[int, str]:
    """How many parameters a network has, and a mark of its modules and tensors; built without memory.

    One that can't be is told apart by its name, and taken for small.
    """
    try:
        with torch.device("meta"):
            network = create(name, 224)
    except Exception:  # it is built for what it is
        return 0, name
    shapes = [tuple(value.shape) for value in network.state_dict().values()]
    mark = hashlib.sha256(f"{network}{shapes}".encode()).hexdigest()[:16]
    return sum(parameter.numel() for parameter in network.parameters()), mark


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
            draw = torch.rand if zoo_dense.kind(name) == "detection" else torch.randn
            images = draw(2, *shape(name, network, size))
            with torch.no_grad():
                network.eval()(images[:1])
            return awake(network, images), images
        except Exception as error:  # the size is not one of this network's
            told = RuntimeError(f"{type(error).__name__}: {str(error)[:200]}")
    raise told


def sizes(name: str) -> list[int]:
    """The sizes to try."""
    source, _, plain = name.partition(":")
    if source == "torchvision":
        return [64, 112, 224] if is_video(plain) else [64, 96, 112, 128, 224, 299]
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
        return _of_torchvision(name, size)
    import timm

    own = timm.get_pretrained_cfg(plain)
    fixed = own is not None and (own.fixed_input_size or own.input_size[-1] == size)
    try:
        return timm.create_model(plain, img_size=size) if fixed else timm.create_model(plain)
    except TypeError:
        return timm.create_model(plain)


def _of_torchvision(name: str, size: int) -> nn.Module:
    from torchvision import models
    from torchvision.models.video import mvit

    plain = name.partition(":")[2]
    if zoo_dense.kind(name):
        return models.get_model(plain, **zoo_dense.options(name))
    told: dict[str, Any] = {"weights": None}
    if plain in ("inception_v3", "googlenet") or plain.startswith("vgg"):
        told["init_weights"] = False
    if plain.startswith("vit_"):
        told["image_size"] = size
    own = mvit.MViT  # the builders say 224, the class takes any size
    with mock.patch.object(mvit, "MViT", lambda **facts: own(**facts | {"spatial_size": (size, size)})):
        return models.get_model(plain, **told)


def shape(name: str, network: nn.Module, size: int) -> tuple[int, ...]:
    """An input's shape, without the batch."""
    source, _, plain = name.partition(":")
    if source == "torchvision" and is_video(plain):
        return (3, 16, size, size)
    channels = getattr(network, "pretrained_cfg", {}).get("input_size", (3,))[0] if source == "timm" else 3
    return (channels, size, size)


def awake(network: nn.Module, images: Tensor) -> nn.Module:
    """Random weights that let something through: fresh networks hold layers scaled by 1e-6, and heads of zeros.

    Parameters that are all one value are drawn at random around it; batch norms get the statistics of the images, or of
    more where those of so few make the network overflow.
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
    settle_norms(network, images)
    if not _finite(network, images):  # statistics of two values a channel: the network overflows
        torch.manual_seed(1)
        more = torch.randn(MORE * len(images), *images.shape[1:]) * images.std() + images.mean()
        settle_norms(network, more)
    return network


def settle_norms(network: nn.Module, images: Tensor) -> None:
    """Give batch norms the statistics of the images, and leave the network in evaluation mode."""
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
    network.eval()


def _finite(network: nn.Module, images: Tensor) -> bool:
    with torch.no_grad():
        outputs = pytree.tree_leaves(network(images))
    return all(bool(each.isfinite().all()) for each in outputs if isinstance(each, Tensor) and each.is_floating_point())


def reference(
    network: nn.Module, images: Tensor, layers: Mapping[str, str], questions: Sequence[Question]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Grad-CAM with the whole network under autograd: each layer's ``(batch, questions, *cells)``.

    ``layers`` says how each one's tensor is read: "first", "last", "row", or "tokens P" with so many tokens before the
    cells. The second tensor, ``(batch, questions)``, says whether a score depends on the layer at all.
    """
    kept: dict[str, list[Tensor]] = {layer: [] for layer in layers}

    def keeper(layer: str) -> Callable[..., Any]:
        def keep(module: nn.Module, args: Any, given: Any) -> Any:
            output = tensor_in(given)
            if not output.requires_grad:
                output.requires_grad_()
            output.retain_grad()
            kept[layer].append(output)
            return output.clone() if isinstance(given, Tensor) else None  # networks change what they are given in place

        return keep

    handles = [network.get_submodule(each.partition("@")[0]).register_forward_hook(keeper(each)) for each in layers]
    maps: dict[str, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in layers}
    try:
        for question in questions:
            for tensors in kept.values():
                tensors.clear()
            with torch.enable_grad():
                outputs = network(images.clone().requires_grad_())
                scores = question(outputs) if callable(question) else logits(outputs)[:, question]
                scores.sum().backward()
            for layer, axes in layers.items():
                call = layer.partition("@")[2]
                taken = kept[layer][int(call) - 1 if call else -1]
                slope = torch.zeros_like(taken) if taken.grad is None else taken.grad
                activations, gradients = (cells_of(each.detach().float(), axes) for each in (taken, slope))
                weighted = torch.einsum("bc,bc...->b...", gradients.flatten(2).mean(2), activations)
                maps[layer].append((weighted, gradients.flatten(1).any(dim=1)))
            network.zero_grad(set_to_none=True)
    finally:
        for handle in handles:
            handle.remove()
    return {
        layer: tuple(torch.stack(each, dim=1) for each in zip(*pairs, strict=True)) for layer, pairs in maps.items()
    }


def tensor_in(given: Any) -> Tensor:
    """A layer's tensor, where it gives several or names them."""
    several = given.values() if isinstance(given, Mapping) else given
    return given if isinstance(given, Tensor) else next(each for each in several if isinstance(each, Tensor))


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
    began = time.process_time()
    try:
        with within(SECONDS):
            network, images = build(name)
    except Exception as error:
        return record | {"error": f"not built: {line(error)}", "built": False}
    record |= {"input": list(images.shape[1:]), "parameters": sum(p.numel() for p in network.parameters())}
    try:
        with within(SECONDS):
            record |= checked(network, images, zoo_dense.asked(name, network, images) if zoo_dense.kind(name) else None)
    except Exception as error:
        record["error"] = line(error)
    return record | {"seconds": round(time.process_time() - began, 1)}


def checked(network: nn.Module, images: Tensor, asked: tuple[Any, Sequence[Question]] | None = None) -> dict[str, Any]:
    """The facts of an explanation, and what is wrong with it. Asked are two classes unless it is said."""
    import limelight as ll

    if asked is None:
        with torch.no_grad():
            scores = logits(network(images))
        a, b = int(scores[0].argmax()), int(scores[0].argmin())
        asked = ll.each(a, b), (a, b)
    target, questions = asked
    found = ll.explain(network, images, target=target)
    layers = dict.fromkeys((found.layers[0], found.layers[-1]))
    record: dict[str, Any] = {"layer": " to ".join(layers), "grid": list(found.raws[0].shape[2:])}
    wrong: list[str] = []
    read: dict[str, str] = {}
    for layer, raw in zip(found.layers, found.raws, strict=True):
        read[layer], grid = how_to_read(network, images, layer, tuple(raw.shape[2:]))
        if grid is not None and tuple(raw.shape[2:]) != grid:
            wrong.append(f"a grid of {tuple(raw.shape[2:])}, not {grid}")
        if images.shape[-1] == images.shape[-2] and raw.shape[-1] != raw.shape[-2]:
            wrong.append(f"a grid of {tuple(raw.shape[2:])} of square images")
    record["axes"] = read[found.layers[0]]
    truths, alive = zip(*reference(network, images, read, questions).values(), strict=True)
    truth = torch.cat(_read_once([each.flatten(2) for each in truths], alive), dim=2)
    flat = torch.cat([raw.flatten(2) for raw in found.raws], dim=2)
    if flat.shape != truth.shape:
        return record | {"wrong": [*wrong, f"{flat.shape[2]} cells, not {truth.shape[2]}"]}
    return record | judged(flat, truth, wrong)


def _read_once(truths: Sequence[Tensor], reached: Sequence[Tensor]) -> list[Tensor]:
    """Of levels ``(batch, questions, cells)`` made one from the other, what is read off the last that a score needs.

    A box is read off one level of a feature pyramid: at the others, although it depends on them, the map is zero.
    """
    later = torch.zeros_like(reached[-1])
    kept = []
    for truth, alive in zip(reversed(truths), reversed(reached), strict=True):
        kept.append(truth * (alive & ~later)[..., None])
        later = later | alive
    return kept[::-1]


def judged(flat: Tensor, truth: Tensor, wrong: Sequence[str]) -> dict[str, Any]:
    """Maps ``(batch, questions, cells)`` beside the reference, with what is known to be wrong already."""
    wrong = [*wrong] if bool(flat.isfinite().all()) else ["not finite", *wrong]
    scale = float(truth.abs().max())
    record: dict[str, Any] = {"difference": float((flat - truth).abs().max()) / max(scale, 1e-30)}
    if scale == 0 and float(flat.abs().max()) == 0:
        record["dead"] = True  # the network lets nothing through here, and the reference says the same
    elif bool(((flat.amax(2) == flat.amin(2)) & (truth.amax(2) > truth.amin(2))).any()):
        wrong.append("constant")
    if record["difference"] > CLOSE:
        wrong.append(f"off by {record['difference']:.2g}")
    if scale and float((truth[:, 0] - truth[:, 1]).abs().max()) > CLOSE * scale and torch.equal(flat[:, 0], flat[:, 1]):
        wrong.append("blind to the question")
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
        shapes.append(tuple(tensor_in(output).shape))

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
