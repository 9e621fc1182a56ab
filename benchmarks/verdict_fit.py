"""What the verdict's figures weigh, and how well they tell maps apart on photographs that nothing was fitted on.

    python -m benchmarks.verdict_fit --out DIR [--write]

Reads what ``benchmarks.verdict`` measured. Fits a logistic sum on the first half of the photographs, true maps against
planted ones, each method and each kind of planted map weighing the same, and, beside them, well- against
badly-localised true maps of mosaics. Prints tables for the second half. ``--write`` writes
``limelight/judging/weights.json``, ``docs/images/reliability.png`` and the tables as JSON beside the measurements.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from benchmarks.verdict import FITTED, PLANTED, UNSEEN
from limelight.judging import verdict
from limelight.statistics import bootstrap, wilson

HOME = Path(__file__).resolve().parents[1]
FIGURES = (
    "margin", "over_centre", "agreement", "over_mirrored", "stability", "steadiness", "class_contrast", "probability",
)  # fmt: skip
CAUSAL = ("margin", "over_centre")
"""What comes from taking parts of the picture away; the rest comes from gradients, or from the network's answer."""
MOSAICS = 0.25
"""What the mosaics weigh in the fit, beside the planted maps."""
WELL = 0.5
"""The share of a map on the right photograph of a mosaic from which on it is well localised."""
UNTRUE = (*PLANTED, "another class")
"""What is fitted against: the seven kinds of the acceptance, and what a question about another class gives."""
Record = dict[str, Any]


def read(out: Path, network: str, name: str) -> list[Record]:
    """The records of one set; none where it was not measured."""
    file = out / f"{network}-{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def rows_of(records: Sequence[Record], name: str) -> np.ndarray:
    """A row of figures for each picture's map of that name; NaN for one that said nothing."""
    empty = dict.fromkeys(FIGURES, np.nan)
    return np.array([[(record["maps"][name] or empty)[figure] for figure in FIGURES] for record in records])


def fit(pictures: Sequence[Record], mosaics: Sequence[Record]) -> dict[str, Any]:
    """Means, deviations, weights and the limits of the labels."""
    parts: list[tuple[np.ndarray, float, float]] = []
    for name in FITTED:
        parts.append((rows_of(pictures, name), 1.0, 1 / len(FITTED)))
    for name in UNTRUE:
        parts.append((rows_of(pictures, name), 0.0, 1 / len(UNTRUE)))
    shares = np.array([record["share"] for record in mosaics])
    located = rows_of(mosaics, "gradcam")
    for well in (True, False):
        some = located[(shares >= WELL) == well]
        parts.append((some, float(well), MOSAICS * len(pictures) / max(len(some), 1)))
    x = np.concatenate([rows for rows, _, _ in parts])
    y = np.concatenate([np.full(len(rows), label) for rows, label, _ in parts])
    weight = np.concatenate([np.full(len(rows), each) for rows, _, each in parts])
    said = ~np.isnan(x).any(axis=1)
    x, y, weight = x[said], y[said], weight[said]
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    slopes, bias = non_negative((x - mean) / deviation, y, weight)
    found = {
        "figures": {
            name: {"mean": round(m, 4), "deviation": round(d, 4), "weight": round(w, 4)}
            for name, m, d, w in zip(FIGURES, mean.tolist(), deviation.tolist(), slopes.tolist(), strict=True)
        },
        "bias": round(bias, 4),
    }
    return found | {"limits": {"supported": 0.75, "weak": 0.25}}


def non_negative(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
    """A logistic regression in which no figure counts against what it stands for; a little pull towards 0 (L2, C = 1).

    Figures that say nearly the same would otherwise be played off against each other, and that does not transfer.
    """

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ beta[:-1] + beta[-1]
        error = weight * (1 / (1 + np.exp(-z)) - y)
        value = (weight * (np.logaddexp(0, z) - y * z)).sum() + (beta[:-1] ** 2).sum() / 2
        return value, np.append(x.T @ error + beta[:-1], error.sum())

    bounds = [(0, None)] * x.shape[1] + [(None, None)]
    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    return found.x[:-1], float(found.x[-1])


def support(weights: dict[str, Any], rows: np.ndarray) -> np.ndarray:
    """The support of each row, as the package works it out; 0 for a map that says nothing."""
    verdict.fitted = lambda: weights  # type: ignore[assignment]
    return np.array(
        [0.0 if np.isnan(row).any() else verdict.weighed(dict(zip(FIGURES, row, strict=True))) for row in rows]
    )


def auc(good: np.ndarray, bad: np.ndarray) -> float:
    return float(roc_auc_score([1] * len(good) + [0] * len(bad), np.concatenate([good, bad])))


def auc_interval(good: np.ndarray, bad: Sequence[np.ndarray]) -> tuple[float, float]:
    """Drawing pictures again, each with all its maps."""
    columns = np.stack([good, *bad], axis=1)
    return bootstrap(columns, lambda drawn: np.array([auc(d[:, 0], d[:, 1:].ravel()) for d in drawn]), resamples=300)


def planted_table(weights: dict[str, Any], records: Sequence[Record], methods: Sequence[str]) -> list[Record]:
    """A row a method: AUC against each kind, against all seven, with an interval."""
    bad = {kind: support(weights, rows_of(records, kind)) for kind in UNTRUE}
    table = []
    for method in methods:
        good = support(weights, rows_of(records, method))
        row: Record = {"method": method, "pictures": len(records)}
        row |= {kind: auc(good, scores) for kind, scores in bad.items()}
        seven = [bad[kind] for kind in PLANTED]
        row |= {"all seven": auc(good, np.concatenate(seven)), "interval": auc_interval(good, seven)}
        row["labels"] = [verdict.label_of(value) for value in good]
        table.append(row)
    return table


def single_table(weights: dict[str, Any], records: Sequence[Record]) -> dict[str, float]:
    """AUC of Grad-CAM's maps against all seven kinds by one figure alone, by the causal ones, and by all."""
    good = rows_of(records, "gradcam")
    bad = np.concatenate([rows_of(records, kind) for kind in PLANTED])
    bad = bad[~np.isnan(bad).any(axis=1)]
    found = {name: auc(good[:, i], bad[:, i]) for i, name in enumerate(FIGURES)}
    scale = [weights["figures"][name] for name in FIGURES]
    causal = [each["weight"] / each["deviation"] * (name in CAUSAL) for name, each in zip(FIGURES, scale, strict=True)]
    return found | {"margin and over_centre": auc(good @ causal, bad @ causal)}


def labels_table(weights: dict[str, Any], records: Sequence[Record], methods: Sequence[str]) -> dict[str, list[int]]:
    """How many maps of each origin are called supported, weak, contradicted."""
    found = {}
    for name in (*methods, *UNTRUE):
        said = [verdict.label_of(value) for value in support(weights, rows_of(records, name))]
        found[name] = [said.count(label) for label in ("supported", "weak", "contradicted")]
    return found


def reliability(weights: dict[str, Any], records: Sequence[Record], bins: int = 8) -> list[tuple[Any, ...]]:
    """(mean support, share of true maps, interval, maps) a bin, as many true as planted: planted maps count a 7th."""
    good = np.concatenate([support(weights, rows_of(records, name)) for name in FITTED])
    bad = np.concatenate([support(weights, rows_of(records, name)) for name in PLANTED])
    ratio = len(good) / len(bad)
    points = []
    for low, high in zip(np.linspace(0, 1, bins + 1)[:-1], np.linspace(0, 1, bins + 1)[1:], strict=True):
        inside = [(v >= low) & ((v < high) | (high == 1)) for v in (good, bad)]
        true, false = inside[0].sum(), inside[1].sum() * ratio
        if true + false < 5:
            continue
        claimed = (good[inside[0]].sum() + ratio * bad[inside[1]].sum()) / (true + false)
        n = round(true + false)
        points.append((float(claimed), true / (true + false), wilson(min(int(true), n), n), n))
    return points


def independent(weights: dict[str, Any], records: Sequence[Record], what: Sequence[str]) -> dict[str, Any]:
    """The means of measures the verdict knows nothing of, for each label; the AUC of support for a good place."""
    scores = support(weights, rows_of(records, "gradcam"))
    labels = np.array([verdict.label_of(value) for value in scores])
    found: dict[str, Any] = {}
    for label in ("supported", "weak", "contradicted"):
        some = [record for record, own in zip(records, labels, strict=True) if own == label]
        found[label] = {"maps": len(some)} | {
            name: (
                float(np.mean([r[name] for r in some])),
                bootstrap([r[name] for r in some]) if len(some) > 1 else None,
            )
            for name in what
            if some
        }
    for name, good in (
        ("well localised", np.array([record["share"] >= WELL for record in records])),
        ("peak inside", np.array([record["hit"] for record in records])),
    ):
        if 0 < good.sum() < len(good):
            found[name] = {"share": float(good.mean()), "auc": auc(scores[good], scores[~good])}
    return found


def markdown(report: dict[str, Any]) -> str:
    """The tables of docs/verdict.md."""
    kinds = [*UNTRUE, "all seven"]
    parts = []
    for network, found in report.items():
        if "planted" in found:
            pictures = found["planted"][0]["pictures"]
            lines = [f"| {network}, {pictures} pictures: AUC | {' | '.join(kinds)} |", "|---|" + "--:|" * len(kinds)]
            for row in found["planted"]:
                low, high = row["interval"]
                cells = [f"{row[kind]:.2f}" for kind in UNTRUE] + [f"**{row['all seven']:.3f}** ({low:.2f}-{high:.2f})"]
                lines.append(f"| {row['method']} | {' | '.join(cells)} |")
            parts.append("\n".join(lines))
            lines = [f"| {network}: maps called | supported | weak | contradicted |", "|---|--:|--:|--:|"]
            lines += [f"| {name} | {' | '.join(map(str, counts))} |" for name, counts in found["labels"].items()]
            parts.append("\n".join(lines))
            lines = ["| " + " | ".join([f"{network}: one figure alone", *found["single"]]) + " |"]
            lines += ["|---|" + "--:|" * len(found["single"])]
            lines += ["| AUC of Grad-CAM | " + " | ".join(f"{v:.2f}" for v in found["single"].values()) + " |"]
            parts.append("\n".join(lines))
        for name in ("mosaics-second", "boxes"):
            if name in found:
                parts.append(_independent(f"{network}, {name.removesuffix('-second')}", found[name]))
    return "\n\n".join(parts)


def _independent(title: str, found: dict[str, Any]) -> str:
    what = [name for name in ("share", "hit", "inpainted") if name in found["supported"]]
    said = {
        "share": "share of the map inside",
        "hit": "peak inside",
        "inpainted": "log probability lost by in-painting",
    }
    lines = [f"| {title} | maps | {' | '.join(said[name] for name in what)} |", "|---|--:|" + "--:|" * len(what)]
    for label in ("supported", "weak", "contradicted"):
        row = found[label]
        cells = []
        for name in what:
            mean, interval = row.get(name, (None, None))
            within = f" ({interval[0]:.2f}-{interval[1]:.2f})" if interval else ""
            cells.append("" if mean is None else f"{mean:.2f}{within}")
        lines.append(f"| {label} | {row['maps']} | {' | '.join(cells)} |")
    told = [f"{name}: AUC {found[name]['auc']:.2f}" for name in ("well localised", "peak inside") if name in found]
    return "\n".join(lines) + f"\n\nSupport against {', '.join(told)}."


def draw(points: dict[str, list[tuple[Any, ...]]]) -> None:
    """Support against the share of true maps, as docs/verdict.md shows it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
    for (network, bins), colour, mark, shift in zip(points.items(), ("C0", "C1"), "os", (-0.006, 0.006), strict=False):
        claimed, found, intervals, _ = zip(*bins, strict=True)
        low, high = zip(*intervals, strict=True)
        axes.vlines([each + shift for each in claimed], low, high, color=colour, linewidth=1.2)
        axes.plot([each + shift for each in claimed], found, mark, color=colour, label=network)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="support", ylabel="share of true maps")
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(HOME / "docs" / "images" / "reliability.png", dpi=110)


def main() -> None:
    options = argparse.ArgumentParser(description="What the verdict's figures weigh.")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--write", action="store_true")
    given = options.parse_args()
    pictures, mosaics = read(given.out, "lite0", "first"), read(given.out, "lite0", "mosaics-first")
    weights = fit(pictures, mosaics)
    weights["provenance"] = (
        f"benchmarks/verdict.py and verdict_fit.py: EfficientNet-Lite0 on {len(pictures)} photographs and "
        f"{len(mosaics)} mosaics of the first half of imagenet-1k-samples; true maps: {', '.join(FITTED)}; planted: "
        f"{', '.join(UNTRUE)}; limits as round numbers"
    )
    print(json.dumps(weights, indent=2))
    report: dict[str, Any] = {}
    for network in ("lite0", "mobilenet_v2"):
        second = read(given.out, network, "second")
        if second:
            methods = (*FITTED, *UNSEEN)
            table = planted_table(weights, second, methods)
            for row in table:
                row.pop("labels")
                print(network, {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})
            report[network] = {
                "planted": table,
                "single": single_table(weights, second),
                "labels": labels_table(weights, second, methods),
                "reliability": reliability(weights, second),
            }
            print(network, "single", report[network]["single"])
            print(network, "labels", report[network]["labels"])
            print(
                network, "reliability", [(round(c, 2), round(f, 2), n) for c, f, _, n in report[network]["reliability"]]
            )
        for name, what in (("mosaics-second", ("share", "hit")), ("boxes", ("share", "hit", "inpainted"))):
            if records := read(given.out, network, name):
                report.setdefault(network, {})[name] = independent(weights, records, what)
                print(network, name, json.dumps(report[network][name]))
    print(markdown(report))
    if given.write:
        (HOME / "limelight" / "judging" / "weights.json").write_text(json.dumps(weights, indent=2) + "\n")
        draw({network: found["reliability"] for network, found in report.items() if "reliability" in found})
        (given.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
