"""Does the audit find what was planted, nothing where nothing was, and does the remedy help? Beside SpRAy.

    python -m benchmarks.bias --work FOLDER [--seeds 0 1 ...] [--kinds none watermark ...] [--no-spray]

For each kind and seed: grains are rendered with the shortcut in 95 % of the rice of train and val (and 5 % of the
beans; half and half in test), a linear head is fitted on EfficientNet-Lite0's frozen features, train and val are
audited, and the head is fitted again in two ways: on weights that rebalance the first finding, and beside counterparts
that have it the other way round. All three heads are judged on test.
"Conflicting" are the test pictures in which the shortcut speaks for the other class. Every set's result is a file in
FOLDER and is not made again, so the work may be done in pieces.

SpRAy (Lapuschkin et al. 2019; ``pip install corelay``, or ``--no-spray``) is given the same pictures: Grad-CAM maps of
each class are clustered spectrally, the eigengap says how many clusters, and the class with the largest gap comes
first. It names a mark if in half the maps of one of that class's clusters the peak lies on it, and a background or tint
if one of them holds the pictures that bear it (balanced accuracy 0.8 within the class).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from limelight.studies.bias.remedy import counterparts, weights

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
            found = json.loads(result.read_text()) if result.exists() else {}
            spray = kind != "none" and not given.no_spray and "spray" not in found
            if found and not spray:
                continue
            pictures = prepared(given.work / f"{kind}-{seed}", kind, seed, given.pictures)
            found = found or {"kind": kind, "seed": seed, **measured(pictures, kind)}
            if spray:
                found["spray"] = sprayed(pictures.model, pictures.audited, kind)
            result.write_text(json.dumps(found, indent=1))
            print(kind, seed, json.dumps(found["findings"][:1]), flush=True)
    print(table([json.loads(file.read_text()) for file in sorted(given.work.glob("result-*.json"))]))


@dataclass(frozen=True, eq=False)
class Prepared:
    """A data set and a network that learnt from it.

    data: the rows of labels.csv. model: the body with a head for (beans, rice). features: (pictures, features) of the
    body. labels, seen, conflicting: (pictures,) bool, whether it is rice, was learnt from, and is a test picture whose
    shortcut speaks for the other class.
    """

    data: list[dict[str, Any]]
    model: Model
    head: nn.Linear
    features: torch.Tensor
    labels: np.ndarray
    seen: np.ndarray
    conflicting: np.ndarray

    @property
    def audited(self) -> list[dict[str, Any]]:
        return [row for row, used in zip(self.data, self.seen, strict=True) if used]

    def judged(self, head: nn.Linear, name: str) -> dict[str, float | None]:
        """A head's accuracy on the test pictures, and on the conflicting ones."""
        return {
            name: right(head, self.features, self.labels, ~self.seen),
            f"{name}_conflicting": right(head, self.features, self.labels, self.conflicting),
        }


def prepared(folder: Path, kind: str, seed: int, pictures: int) -> Prepared:
    """Render the pictures, and fit a head to those of train and val."""
    shortcut = None if kind == "none" else f"{kind}:{STRENGTH}:rice"
    grains.write(folder, pictures, seed=seed, shortcut=shortcut, splits=SPLITS, workers=1)
    data = rows(folder)
    model = ll.load("efficientnet_lite0")
    features = cached_features(model, data, folder.with_name(f"features-{folder.name}.pt"))
    labels = np.array([row["label"] == "rice" for row in data])
    seen = np.array([row["split"] != "test" for row in data])
    bears = np.array([bool(row["shortcut"]) for row in data])
    head = fitted(features[seen], labels[seen])
    model.network.classifier = head
    model = replace(model, labels=("beans", "rice"), num_classes=2)
    return Prepared(data, model, head, features, labels, seen, ~seen & (bears != labels))


def measured(of: Prepared, kind: str) -> dict[str, Any]:
    """What the audit finds, and what either remedy of its first finding gives."""
    start = time.process_time()
    findings = audit(of.model, [row["path"] for row in of.audited], [row["label"] for row in of.audited])
    found: dict[str, Any] = {
        "audited": int(of.seen.sum()),
        "tested": int((~of.seen).sum()),
        "seconds": time.process_time() - start,
        "findings": [{k: v for k, v in one.as_dict().items() if k != "regions"} for one in findings],
        "rank": next((n for n, one in enumerate(findings, 1) if is_planted(one, kind, of.audited)), None),
        **of.judged(of.head, "before"),
    }
    if findings:
        again = fitted(of.features[of.seen], of.labels[of.seen], weights(findings[0]))
        found |= of.judged(again, "after") | beside_counterparts(of, findings[0])
    return found


def beside_counterparts(of: Prepared, finding: Finding) -> dict[str, float | None]:
    """The figures of a head that learns from each picture and its counterpart."""
    if finding.candidate.edit is None:
        return {}
    numbers, pictures = zip(*counterparts(finding), strict=True)
    added = body_features(of.model, [torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures])
    own = of.labels[of.seen]
    both = fitted(torch.cat([of.features[of.seen], added]), np.concatenate([own, own[list(numbers)]]))
    return of.judged(both, "counterparts")


def rows(folder: Path) -> list[dict[str, Any]]:
    import csv

    with (folder / "labels.csv").open() as file:
        return [{**row, "path": folder / row["path"], "folder": folder} for row in csv.DictReader(file)]


def cached_features(model: Model, data: list[dict[str, Any]], cache: Path) -> torch.Tensor:
    if cache.exists():
        return torch.load(cache, weights_only=True)
    features = body_features(model, [ll.read(row["path"]).pixels for row in data])
    torch.save(features, cache)
    return features


@torch.inference_mode()
def body_features(model: Model, pictures: Sequence[torch.Tensor]) -> torch.Tensor:
    """(pictures, features) What the head is given of pictures (3, height, width) uint8."""
    assert model.preprocessing is not None
    network: Any = model.network
    found = []
    for start in range(0, len(pictures), 16):
        batch = torch.stack([model.preprocessing(picture)[0] for picture in pictures[start : start + 16]])
        found.append(network.forward_head(network.forward_features(batch), pre_logits=True))
    return torch.cat(found)


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
    return float(np.mean([_on_mark(by_path[str(one["path"])], one["box"]) for one in finding.regions])) > 0.5


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


def spectral(maps: np.ndarray, most: int = 8) -> tuple[float, np.ndarray]:
    """The largest eigengap of the maps' graph of neighbours, and the clusters it asks for, by CoRelAy."""
    from corelay.pipeline.spectral import SpectralEmbedding
    from corelay.processor.clustering import KMeans
    from corelay.processor.embedding import EigenDecomposition

    values, vectors = SpectralEmbedding(embedding=EigenDecomposition(n_eigval=most + 1))(maps)
    order = np.argsort(values)
    gaps = np.diff(values[order])[1:]  # two clusters at least
    count = int(gaps.argmax()) + 2
    return float(gaps.max()), KMeans(n_clusters=count, kwargs={"random_state": 0})(vectors[:, order[:count]])


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
        "conflicting before → after | beside counterparts: test, conflicting | SpRAy names it first (at all) | "
        "seconds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for kind in KINDS:
        of_kind = [one for one in results if one["kind"] == kind]
        if not of_kind:
            continue
        seconds = f"{np.median([one['seconds'] for one in of_kind]):.0f}"
        if kind == "none":
            empty = sum(not one["findings"] for one in of_kind)
            before = _mean(one["before"] for one in of_kind)
            lines.append(f"| nothing | {len(of_kind)} | no finding in {empty} | | | {before} | | | | {seconds} |")
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
            f"{_mean(one.get('counterparts') for one in hit)}, "
            f"{_mean(one.get('counterparts_conflicting') for one in hit)}",
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
