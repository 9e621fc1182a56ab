"""The zoo as a page: docs/zoo.md."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.zoo import read
from benchmarks.zoo_dense import kind

PAGE = Path("docs/zoo.md")
KINDS = {
    "timm": "timm",
    "torchvision": "torchvision's classifiers of pictures and clips",
    "segmentation": "its segmenters",
    "detection": "its detectors",
}


def write(records: Path, peers: Path | None) -> None:
    """Write the page of these records."""
    PAGE.write_text(page(read(records), read(peers) if peers else []))


def page(records: list[dict[str, Any]], peers: list[dict[str, Any]]) -> str:
    """The page, in Markdown."""
    built = [each for each in records if each.get("built", True)]
    right = [each for each in built if not each.get("error") and not each.get("wrong")]
    told = [each for each in built if each.get("error")]
    wrong = [each for each in built if each.get("wrong")]
    dead = [each for each in right if each.get("dead")]
    lines = [
        "# The zoo",
        "",
        f"{len(built)} architectures of timm and torchvision with random weights, at the smallest input that each",
        "takes, explained by `limelight.explain(network, images)` and nothing else: no layer, no layout. A network is",
        "right if the map is finite, not constant, has as many cells as the layer's grid, differs between two",
        "questions where the gradients do, and equals Grad-CAM with the whole network under autograd, the cells read",
        "as the library that made the network reads them (`benchmarks/zoo.py`). Classifiers, of pictures and of clips,",
        "are asked for two classes, a segmenter for the region that it predicts and for another class's mean over the",
        "picture, a detector for its first two detections. Of names that build the same network the first is here.",
        "",
        "| | networks | share |",
        "|---|--:|--:|",
        f"| right, without a hint | {len(right)} | {len(right) / max(len(built), 1):.1%} |",
        f"| refused, with an error that says what to do | {len(told)} | {len(told) / max(len(built), 1):.1%} |",
        f"| a map that differs | {len(wrong)} | {len(wrong) / max(len(built), 1):.1%} |",
        "",
    ]
    if dead:
        lines += [f"Of those right, {len(dead)} have weights that let nothing through: map and reference are zero.", ""]
    ways = Counter(each["axes"].split()[0] for each in right)
    names = {"first": "channels first", "last": "channels last", "tokens": "tokens", "row": "cells in a row"}
    kinds = Counter(kind(each["name"]) or each["name"].partition(":")[0] for each in built)
    lines += [
        "They are " + ", ".join(f"{n} of {KINDS[name]}" for name, n in kinds.most_common()) + ".",
        "The default layer's layout: " + ", ".join(f"{names[way]} {n}" for way, n in ways.most_common()) + ".",
        "",
    ]
    if told or wrong:
        lines += ["| network | what came |", "|---|---|"]
        lines += [f"| {each['name']} | {each.get('error') or ', '.join(each['wrong'])} |" for each in [*told, *wrong]]
        lines += [""]
    return "\n".join(lines + _peers(peers) + _families(right))


def _peers(records: list[dict[str, Any]]) -> list[str]:
    seen = [each for each in records if "torchcam" in each]
    if not seen:
        return []
    kinds = ("right", "wrong", "blank", "error")
    lines = [
        "## The peers",
        "",
        f"{len(seen)} of the same networks, the same images, each peer with its own default",
        "(`benchmarks/zoo_peers.py`). *Wrong*: a map that is not Grad-CAM at the layer it names, without a word.",
        "*Blank*: one value everywhere, or NaN.",
        "",
        "| | right | wrong, silently | blank, silently | error |",
        "|---|--:|--:|--:|--:|",
    ]
    for peer in ("torchcam", "grad-cam"):
        came = Counter(each[peer]["came"] for each in seen)
        shares = (f"{came[kind]} ({came[kind] / len(seen):.0%})" for kind in kinds)
        lines.append(f"| {peer} | " + " | ".join(shares) + " |")
    patch = sum(str(each["grad-cam"].get("layer", "")).startswith("patch_embed") for each in seen)
    if patch:
        lines += ["", f"In {patch} of them the last convolution, which grad-cam was given, is the patch embedding."]
    return [*lines, ""]


def _families(records: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Every network, and its default layer",
        "",
        "| network | input | default layer | grid |",
        "|---|---|---|---|",
    ]
    for each in sorted(records, key=lambda one: one["name"]):
        size, grid = ("x".join(map(str, sides)) for sides in (each["input"][1:], each["grid"]))
        lines.append(f"| {each['name']} | {size} | `{each['layer']}` | {grid} |")
    return [*lines, ""]
