"""The pointing game (section 4.3), as Zhang et al. 2016 play it, and the paper's own variant with recall."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from limelight.evaluation import chance_maps
from limelight.evaluation.localisation import pointing
from limelight.heatmap import rectify
from limelight.paper.protocol import (
    GRADCAM,
    Bench,
    Outcome,
    Protocol,
    Row,
    Seen,
    figure,
    most_probable,
    per_picture,
    probabilities,
)
from limelight.paper.shown import Shown
from limelight.targets import Each

BEST = 5
TOLERANCE = 15 / 500
"""Zhang et al.'s 15 pixels, as a share of the width of the data sets' photographs."""
PUBLISHED = {GRADCAM: 0.7058, "contrastiveexcitation": 0.6030}
"""Of the variant with recall, on COCO (section 4.3)."""
CENTRE = "centre"
KINDS = {"keep": "no map is ever rejected", "reject": "every map is rejected"}


def fits(shown: Shown) -> bool:
    """A picture with something on it that the network knows."""
    return bool(shown.things)


def measure(bench: Bench, seen: Seen) -> Iterator[Row]:
    """Every thing that is there is asked about, then each of the five best classes, there or not."""
    scores = probabilities(bench.model, seen.image)[0]
    masks = [(thing.classes, seen.shown.mask(thing, seen.view, seen.photo)) for thing in seen.shown.things]
    there = [(classes, mask) for classes, mask in masks if mask is not None]
    if not there:
        return
    asked = [most_probable(classes, scores) for classes, _ in there]
    guesses = scores.topk(min(BEST, len(scores))).indices.tolist()
    on = [next((mask for classes, mask in there if guess in classes), None) for guess in guesses]
    for method in bench.methods:
        found = bench.maps(method, seen.image, Each((*asked, *guesses)))
        raw = rectify(found.raws[0][0].float().cpu())
        if method == bench.methods[0]:
            middle = chance_maps(CENTRE, seen.image, (raw.shape[-2], raw.shape[-1]))[0].cpu()
            for index, (_, mask) in zip(asked, there, strict=True):
                yield seen.row("standard", _hit(middle, mask), CENTRE, index, chance=True)
        for index, one, (_, mask) in zip(asked, raw, there, strict=False):
            yield seen.row("standard", _hit(one, mask), method, index)
        for index, one, mask in zip(guesses, raw[len(asked) :], on, strict=True):
            yield seen.row("highest", float(one.max()), method, index)
            yield seen.row("present", float(mask is not None), method, index)
            yield seen.row("inside", 0.0 if mask is None else _hit(one, mask), method, index)


def _hit(raw: Tensor, mask: Tensor) -> float:
    return float(pointing(raw[None], mask[None].cpu(), tolerance=TOLERANCE * mask.shape[-1])[0])


def outcome(rows: Sequence[Row], bench: Bench) -> Outcome:
    """Both games. The threshold of the second is found on one half of the pictures and used on the other."""
    figures, notes = [], []
    for method in (*bench.methods, CENTRE):
        values = per_picture(rows, "standard", method)
        figures.append(figure("Pointing game, of what is there", method, values, control=method == CENTRE))
    for method in bench.methods:
        guesses = _guesses(rows, method)
        if len(guesses) < 2:
            notes.append("One picture is too few to find a threshold on one half and use it on the other.")
            continue
        values, thresholds = crossed(guesses)
        published = PUBLISHED.get(method)
        figures.append(figure("Top-5 with rejection (recall)", method, values, published))
        notes.append(
            f"A map by {method} is rejected where its highest raw value is below {thresholds[0]:.3g} or "
            f"{thresholds[1]:.3g}: each found on the half of the pictures that it is not used on."
        )
        if method == bench.methods[0]:
            for kind, threshold in (("keep", -torch.inf), ("reject", torch.inf)):
                blind = [float(hits(one, threshold).mean()) for one in guesses]
                figures.append(figure(f"Top-5, {KINDS[kind]}", method, blind, control=True))
    recall = next((one for one in figures if "recall" in one.what), None)
    answer = f"Of what is there {figures[0].said(figures[0].found)} is pointed at by {figures[0].method}"
    if recall:
        blind = next(one for one in figures if one.what.endswith(KINDS["reject"]))
        answer += (
            f"; with the five best classes, of which absent ones are to be rejected, {recall.said(recall.found)} "
            f"(rejecting every map gives {blind.said(blind.found)})"
        )
    return Outcome(answer + ".", figures, notes)


def _guesses(rows: Sequence[Row], method: str) -> list[Tensor]:
    """For each picture ``(guesses, 3)``: the highest value, whether it is there, whether the peak is on it."""
    found: dict[int, dict[str, list[float]]] = {}
    for row in rows:
        if row["method"] == method and row["metric"] in ("highest", "present", "inside"):
            found.setdefault(row["picture"], {}).setdefault(row["metric"], []).append(row["value"])
    return [torch.tensor([one["highest"], one["present"], one["inside"]]).T for one in found.values()]


def hits(guesses: Tensor, threshold: float) -> Tensor:
    """``(guesses,)`` 1 for each that is there and pointed at, or absent and rejected."""
    highest, present, inside = guesses.T
    return torch.where(highest >= threshold, inside, 1 - present)


def crossed(guesses: Sequence[Tensor]) -> tuple[list[float], tuple[float, float]]:
    """Each picture's share of hits, with the threshold that is best on the other half; and both thresholds."""
    halves = guesses[::2], guesses[1::2]
    even, odd = (best_threshold(half) for half in halves)
    values = [float(hits(one, (odd, even)[i % 2]).mean()) for i, one in enumerate(guesses)]
    return values, (odd, even)


def best_threshold(guesses: Sequence[Tensor]) -> float:
    """The one that gives the most hits, pictures counting alike."""
    candidates = torch.cat([one[:, 0] for one in guesses]).unique()
    worth = [float(sum(hits(one, float(each)).mean() for one in guesses)) for each in candidates]
    return float(candidates[int(torch.tensor(worth).argmax())])


PROTOCOL = Protocol(
    "pointing",
    "Is the map's highest point on the object, and is a map of what is absent weak?",
    "section 4.3",
    "As quoted; the paper itself was not at hand.",
    (GRADCAM, "contrastiveexcitation"),
    fits,
    "an object that the network knows",
    measure,
    outcome,
    (
        "The published figures are GoogLeNet's, fine-tuned on COCO, on COCO; here it is the network that was given. A "
        "class of the data set that is several of the network's is asked about as the most probable of these.",
        "The paper rejects a map whose maximum is below a threshold that it does not state; here it is found on "
        "the other half of the pictures.",
        "Zhang et al. allow 15 pixels on photographs of about 500; here it is 3 % of the input's width.",
        "Pictures count alike; Zhang et al. average over classes.",
    ),
)
