"""Does the audit find what was planted, nothing where nothing was, and does the remedy help? Beside SpRAy.

    python -m benchmarks.bias --work FOLDER [--seeds 0 1 ...] [--kinds none watermark ...] [--no-spray]

For each kind and seed: grains are rendered with the shortcut in 95 % of the rice of train and val (and 5 % of the
beans; half and half in test), a linear head is fitted on EfficientNet-Lite0's frozen features, train and val are
audited, the head is fitted again on weights that rebalance the first finding, and both heads are judged on test.
"Conflicting" are the test pictures in which the shortcut speaks for the other class. Every set's result is a file in
FOLDER and is not made again, so the work may be done in pieces.

SpRAy (Lapuschkin et al. 2019) is given the same pictures: Grad-CAM maps of each class are clustered spectrally, the
eigengap says how many clusters, and the class with the largest gap comes first. It names a mark if in half the maps of
one of that class's clusters the peak lies on it, and a background or tint if one of them holds the pictures that bear
it (balanced accuracy 0.8 within the class).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

import limelight as ll
from limelight.data import grains
from limelight.models import Model
from limelight.studies.bias import Finding, audit
from limelight.studies.bias.remedy import weights

KINDS = ("none", *grains.SHORTCUTS)
STRENGTH = 0.95
SPLITS = (0.5, 0.15, 0.35)
EXPECTED = {"background": {"background"}, "tint": {"tint"}}
ON_MARK = 0.3  # of a mark's pixels that a region must hold


def main() -> None:
    options = argparse.ArgumentParser(description="Planted biases, found or not.")
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    options.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    options.add_argument("--pictures", type=int, default=600)
    options.add_argument("--no-spray", action="store_true")
    given = options.parse_args()
    torch.set_num_threads(1)
    for seed in given.seeds:
        for kind in given.kinds:
            result = given.work / f"result-{kind}-{seed}.json"
            if not result.exists():
                found = measured(given.work / f"{kind}-{seed}", kind, seed, given.pictures, not given.no_spray)
                result.write_text(json.dumps(found, indent=1))
                print(kind, seed, json.dumps(found["findings"][:1]), flush=True)
    print(table([json.loads(file.read_text()) for file in sorted(given.work.glob("result-*.json"))]))


def measured(folder: Path, kind: str, seed: int, pictures: int, spray: bool) -> dict[str, Any]:
    shortcut = None if kind == "none" else f"{kind}:{STRENGTH}:rice"
    grains.write(folder, pictures, seed=seed, shortcut=shortcut, splits=SPLITS, workers=1)
    data = rows(folder)
    model = ll.load("efficientnet_lite0")
    features = cached_features(model, data, folder.with_name(f"features-{folder.name}.pt"))
    labels = np.array([row["label"] == "rice" for row in data])
    seen = np.array([row["split"] != "test" for row in data])
    bears = np.array([bool(row["shortcut"]) for row in data])
    conflicting = ~seen & (bears != labels)
    head = fitted(features[seen], labels[seen])
    network = model.network
    network.classifier = head
    model = replace(model, network=network, labels=("beans", "rice"), num_classes=2)
    audited = [row for row, used in zip(data, seen, strict=True) if used]
    start = time.process_time()
    findings = audit(model, [row["path"] for row in audited], [row["label"] for row in audited])
    found: dict[str, Any] = {
        "kind": kind,
        "seed": seed,
        "audited": len(audited),
        "tested": int((~seen).sum()),
        "seconds": time.process_time() - start,
        "findings": [{k: v for k, v in one.as_dict().items() if k != "regions"} for one in findings],
        "rank": next((n for n, one in enumerate(findings, 1) if is_planted(one, kind, audited)), None),
        "before": right(head, features, labels, ~seen),
        "before_conflicting": right(head, features, labels, conflicting),
    }
    if findings:
        again = fitted(features[seen], labels[seen], weights(findings[0]))
        found["after"] = right(again, features, labels, ~seen)
        found["after_conflicting"] = right(again, features, labels, conflicting)
    if spray and kind != "none":
        found["spray"] = sprayed(model, audited, kind)
    return found


def rows(folder: Path) -> list[dict[str, Any]]:
    import csv

    with (folder / "labels.csv").open() as file:
        return [{**row, "path": folder / row["path"], "folder": folder} for row in csv.DictReader(file)]


def cached_features(model: Model, data: list[dict[str, Any]], cache: Path) -> torch.Tensor:
    if cache.exists():
        return torch.load(cache, weights_only=True)
    found = []
    with torch.inference_mode():
        for start in range(0, len(data), 16):
            batch = [model.preprocessing(ll.read(row["path"]).pixels)[0] for row in data[start : start + 16]]
            maps = model.network.forward_features(torch.stack(batch))
            found.append(model.network.forward_head(maps, pre_logits=True))
    features = torch.cat(found)
    torch.save(features, cache)
    return features


def fitted(features: torch.Tensor, labels: np.ndarray, weight: np.ndarray | None = None) -> nn.Linear:
    """A logistic regression (beans, rice) as the network's last layer."""
    from sklearn.linear_model import LogisticRegression

    middle, spread = features.mean(0), features.std(0) + 1e-6
    plain = ((features - middle) / spread).numpy()
    found = LogisticRegression(C=0.01, max_iter=2000).fit(plain, labels, sample_weight=weight)
    row = torch.tensor(found.coef_[0], dtype=torch.float32) / spread
    offset = float(found.intercept_[0]) - float(row @ middle)
    head = nn.Linear(len(row), 2)
    with torch.no_grad():
        head.weight.copy_(torch.stack([-row, row]) / 2)
        head.bias.copy_(torch.tensor([-offset, offset]) / 2)
    return head


def right(head: nn.Linear, features: torch.Tensor, labels: np.ndarray, where: np.ndarray) -> float | None:
    if not where.any():
        return None
    with torch.inference_mode():
        return float((head(features).argmax(1).numpy() == labels)[where].mean())


def is_planted(finding: Finding, kind: str, audited: list[dict[str, Any]]) -> bool:
    """Whether a finding is the planted shortcut: its kind and class, and for a mark that its regions lie on it."""
    if kind == "none" or finding.label != "rice" or finding.kind not in EXPECTED.get(kind, {"mark", "place"}):
        return False
    if kind in EXPECTED:
        return True
    by_path = {str(row["path"]): row for row in audited}
    return np.mean([_on_mark(by_path[str(one["path"])], one["box"]) for one in finding.regions]) > 0.5


def _on_mark(row: dict[str, Any], box: Any) -> bool:
    if not row["shortcut_mask"]:
        return False
    mask = np.asarray(Image.open(row["folder"] / row["shortcut_mask"])) > 0
    x0, y0, x1, y1 = box
    return mask[y0:y1, x0:x1].sum() > ON_MARK * mask.sum()


def sprayed(model: Model, audited: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Whether spectral relevance analysis of the same pictures names the shortcut."""
    gaps, named = {}, {}
    for label in ("beans", "rice"):
        own = [row for row in audited if row["label"] == label]
        raws = ll.explain(model, [row["path"] for row in own], target=label, progress=False).raws[0]
        maps = raws.clamp(min=0).flatten(0, -3).numpy()
        maps /= maps.max((1, 2), keepdims=True) + 1e-9
        gap, cluster = spectral(maps.reshape(len(maps), -1))
        gaps[label] = gap
        named[label] = any(_names(maps, cluster == one, own, kind) for one in np.unique(cluster))
    first = max(gaps, key=lambda label: gaps[label])
    return {"gaps": gaps, "first": first, "named_first": named[first], "named_at_all": any(named.values())}


def spectral(maps: np.ndarray, neighbours: int = 10, most: int = 8) -> tuple[float, np.ndarray]:
    """The largest eigengap of the maps' graph, and the clusters it asks for (Lapuschkin et al. 2019)."""
    from scipy.sparse.csgraph import laplacian
    from sklearn.cluster import SpectralClustering
    from sklearn.neighbors import kneighbors_graph

    graph = kneighbors_graph(maps, neighbours, include_self=False).toarray()
    graph = np.maximum(graph, graph.T)
    values = np.sort(np.linalg.eigvalsh(laplacian(graph, normed=True)))[: most + 1]
    gaps = np.diff(values)[1:]  # two clusters at least
    count = int(gaps.argmax()) + 2
    cluster = SpectralClustering(count, affinity="precomputed", random_state=0).fit_predict(graph)
    return float(gaps.max()), cluster


def _names(maps: np.ndarray, members: np.ndarray, own: list[dict[str, Any]], kind: str) -> bool:
    if kind in EXPECTED:
        bears = np.array([bool(row["shortcut"]) for row in own])
        if bears.all() or not bears.any():
            return False
        return (members[bears].mean() + 1 - members[~bears].mean()) / 2 >= 0.8
    hits = []
    for i in np.flatnonzero(members):
        row = own[i]
        if not row["shortcut_mask"]:
            hits.append(False)
            continue
        mask = Image.open(row["folder"] / row["shortcut_mask"]).convert("L")
        share = np.asarray(mask.resize(maps.shape[:0:-1], Image.Resampling.BOX))
        hits.append(bool(share.flat[maps[i].argmax()] > 0))
    return float(np.mean(hits)) >= 0.5


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| planted | sets | first finding is it | told by it alone | effect on the network | test before → after | "
        "conflicting before → after | SpRAy names it first (at all) | seconds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for kind in KINDS:
        of_kind = [one for one in results if one["kind"] == kind]
        if not of_kind:
            continue
        seconds = f"{np.median([one['seconds'] for one in of_kind]):.0f}"
        if kind == "none":
            empty = sum(not one["findings"] for one in of_kind)
            before = _mean(one["before"] for one in of_kind)
            lines.append(f"| nothing | {len(of_kind)} | no finding in {empty} | | | {before} | | | {seconds} |")
            continue
        hit = [one for one in of_kind if one["rank"] == 1]
        spray = [one["spray"] for one in of_kind if "spray" in one]
        cells = [
            kind,
            str(len(of_kind)),
            f"{len(hit)} of {len(of_kind)}",
            _mean(one["findings"][0]["accuracy_alone"] for one in hit),
            _mean(one["findings"][0]["used"]["effect"] for one in hit),
            f"{_mean(one['before'] for one in hit)} → {_mean(one['after'] for one in hit)}",
            f"{_mean(one['before_conflicting'] for one in hit)} → {_mean(one['after_conflicting'] for one in hit)}",
            f"{sum(one['named_first'] for one in spray)} ({sum(one['named_at_all'] for one in spray)}) of {len(spray)}",
            seconds,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(values: Any) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.3f}" if known else ""


if __name__ == "__main__":
    main()
