"""Whether the attention methods' maps are about their class: mosaics as in ``benchmarks.mosaics``, of a transformer.

    python -m benchmarks.mosaics_vit [--steps 150] [--cases 160] [--methods rawattention,...] [--record]

No transformer with published weights can be had from a package index, so one is trained here, in minutes: timm's
``VisionTransformer`` with a class token and two blocks, on top of EfficientNet-Lite0's body, frozen, whose 14 x 14
cells of a mosaic are its patches (timm's ``HybridEmbed``). It learns which of four kinds (rice, beans, ants, bees) are
in 2x2 mosaics of photographs of any of them, a kind often more than once. Asked are other photographs, which nothing
was trained on, four kinds in a mosaic: what share of the map lies on the photograph of the kind asked about. Chance is
0.25. ``--record`` writes the attention methods' shares where the registry reads them.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import limelight as ll
from benchmarks.mosaics import DATA, FEWEST, share
from limelight.errors import LimelightError
from limelight.methods.measured import RECORD
from limelight.methods.registry import get

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

KINDS = "rice", "beans", "ants", "bees"
ATTENTION = "rawattention", "attentionrollout", "gradientattentionrollout", "transformerattribution", "legrad"
OTHERS = "gradcam", "hirescam", "layercam", "eigencam", "saliency", "randomcam"
NETWORK = "a transformer of two blocks on EfficientNet-Lite0's body, four classes"
SIDE = 224  # pixels of a photograph


def photographs(seed: int = 0) -> tuple[list[list[Path]], list[list[Path]]]:
    """For each kind the photographs to learn from, two thirds, and those to be asked about."""
    learnt, asked = [], []
    for kind, folder in zip(KINDS, ("rice-vs-beans",) * 2 + ("two-class/ants-vs-bees",) * 2, strict=True):
        with (DATA / folder / "labels.csv").open(newline="") as lines:
            files = sorted(DATA / folder / row["file"] for row in csv.DictReader(lines) if row["class"] == kind)
        random.Random(seed).shuffle(files)
        learnt.append(files[: len(files) * 2 // 3])
        asked.append(files[len(files) * 2 // 3 :])
    return learnt, asked


def hybrid(body: nn.Module, seed: int = 0) -> VisionTransformer:
    """The transformer, untrained, on a frozen body that makes 14 x 14 cells of a mosaic."""
    from timm.layers.hybrid_embed import HybridEmbed
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(seed)
    embed: Any = partial(HybridEmbed, backbone=body)
    sizes: dict[str, Any] = {"embed_dim": 192, "depth": 2, "num_heads": 3, "num_classes": len(KINDS)}
    return VisionTransformer(img_size=2 * SIDE, patch_size=1, embed_layer=embed, **sizes)


def trained(
    network: VisionTransformer, features: Sequence[Tensor], steps: int, seed: int = 0, batch: int = 32
) -> float:
    """Train all but the body, on the features of single photographs put side by side; gives the last losses' mean.

    Args:
        network: the transformer.
        features: for each kind, what the body makes of its photographs ``(photographs, channels, 7, 7)``.
        steps: of the optimiser.
        seed: of the mosaics.
        batch: mosaics in a step.
    """
    embed: Any = network.patch_embed
    body, embed.backbone, embed.strict_img_size = embed.backbone, nn.Identity(), False
    learnt = [each for each in network.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=5e-4, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-4, total_steps=steps, pct_start=0.2)
    draw, losses = torch.Generator().manual_seed(seed), []
    network.train()
    for _ in range(steps):
        kinds = torch.randint(len(KINDS), (batch, 4), generator=draw)
        tiles = [[_one(features[kind], draw) for kind in row] for row in kinds.tolist()]
        given = torch.stack([_side_by_side(row) for row in tiles])
        wanted = F.one_hot(kinds, len(KINDS)).amax(dim=1).float()
        loss = F.binary_cross_entropy_with_logits(network(given), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss))
    network.eval()
    embed.backbone, embed.strict_img_size = body, True
    return sum(losses[-20:]) / len(losses[-20:])


def _one(photographs: Tensor, draw: torch.Generator) -> Tensor:
    found = photographs[int(torch.randint(len(photographs), (), generator=draw))]
    return found.flip(-1) if torch.rand((), generator=draw) < 0.5 else found


def _side_by_side(tiles: Sequence[Tensor]) -> Tensor:
    """Four tiles ``(channels, height, width)``, row by row."""
    return torch.cat([torch.cat(list(tiles[:2]), dim=2), torch.cat(list(tiles[2:]), dim=2)], dim=1)


def cases(pictures: Sequence[Tensor], count: int, seed: int = 0) -> Iterator[tuple[Tensor, int, int]]:
    """Mosaics of one photograph of each kind, the kind that is asked about, and its quarter."""
    draw = random.Random(seed)
    for number in range(count):
        order = draw.sample(range(len(KINDS)), len(KINDS))
        tiles = [pictures[kind][draw.randrange(len(pictures[kind]))] for kind in order]
        yield _side_by_side(tiles), order[number % 4], number % 4


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.mosaics_vit", description=__doc__)
    options.add_argument("--methods", default=",".join((*ATTENTION, *OTHERS)))
    options.add_argument("--steps", type=int, default=150)
    options.add_argument("--cases", type=int, default=160)
    options.add_argument("--record", action="store_true", help=f"write {RECORD.name}, which the registry reads")
    given = options.parse_args(arguments)
    warnings.simplefilter("ignore")  # maps of zeros are counted here, not told
    torch.set_num_threads(1)
    model, start = ll.load("efficientnet_lite0"), time.process_time()
    lite: Any = model.network
    body = nn.Sequential(lite.conv_stem, lite.bn1, lite.blocks).eval().requires_grad_(False)
    preprocessing = model.preprocessing
    assert preprocessing is not None

    def read(files: Sequence[Path]) -> Tensor:
        return torch.stack([preprocessing(ll.read(file).pixels, "whole")[0] for file in files])

    learnt, asked = photographs()
    with torch.no_grad():
        features = [torch.cat([body(some) for some in read(files).split(16)]) for files in learnt]
    network = hybrid(body)
    loss = trained(network, features, given.steps)
    pictures = [read(files) for files in asked]
    right = total = 0
    with torch.no_grad():
        for kind, of_kind in enumerate(pictures):
            tiles = torch.stack([_side_by_side([each] * 4) for each in of_kind[:16]])
            right, total = right + int((network(tiles).argmax(dim=1) == kind).sum()), total + len(tiles)
    print(f"loss {loss:.3f}; {right} of {total} unseen photographs, four times side by side, told right; ", end="")
    print(f"{time.process_time() - start:.0f} s of processor time", flush=True)
    tried = [get(name) for name in given.methods.split(",")]
    found: dict[str, list[float]] = {method.name: [] for method in tried}
    for image, kind, quarter in cases(pictures, given.cases):
        for method in tried:
            try:
                raw = ll.explain(network, image[None], kind, method, _layer(method.layer), progress=False).raw[0, 0]
            except LimelightError as error:
                if not found[method.name]:
                    print(f"{method.name}: not here ({error})", flush=True)
                continue
            found[method.name].append(share(raw, quarter))
    record(found, given.record)


def _layer(own: str | None) -> str | None:
    """Before the last block: behind it, the score is read from the class token alone."""
    return "blocks.0" if own is None else None


def record(found: dict[str, list[float]], write: bool) -> None:
    """Print the means, and write those of the attention methods for the registry."""
    known = json.loads(RECORD.read_text())
    for name, values in found.items():
        if not values:
            continue
        spread = torch.tensor(values, dtype=torch.float64)
        mean, error = float(spread.mean()), float(spread.std()) / len(values) ** 0.5
        print(f"{name}: {mean:.3f} +- {error:.3f} on {len(values)}", flush=True)
        if name in ATTENTION and len(values) >= FEWEST:
            known[name] = {
                "share": round(mean, 3),
                "error": round(error, 3),
                "mosaics": len(values),
                "network": NETWORK,
            }
    if write:
        RECORD.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
