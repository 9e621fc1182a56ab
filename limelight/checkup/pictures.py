"""Checks of how the pictures reach the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from limelight.checkup.finding import Finding
from limelight.checkup.patient import Patient, both_sides
from limelight.targets import logits_of

BYTES = 20.0
"""No normalised picture has a value as large."""
BETTER = 0.25
"""How much more probability another preprocessing must give to the best class, on the mean, to be suspected."""


def bytes_as_floats(patient: Patient) -> Iterator[Finding]:
    """Values of 0 to 255, as they come from a file."""
    largest = float(patient.images.abs().amax())
    if patient.real and largest > BYTES:
        yield Finding(
            "range",
            f"the network is given values up to {largest:.0f}: these look like bytes",
            "Divide by 255 and normalise as in its training; ll.load(...) with preprocessing= does so for photographs",
        )


def not_normalised(patient: Patient) -> Iterator[Finding]:
    """Values of 0 to 1 for a network that says it was trained on normalised ones."""
    least, largest = float(patient.images.amin()), float(patient.images.amax())
    card = getattr(patient.network, "pretrained_cfg", None)
    if not patient.real or card is None or not (least >= 0 and 0.5 < largest <= 1):
        return
    mean, std = card.get("mean"), card.get("std")
    if mean and std and (any(mean) or any(each != 1 for each in std)):
        yield Finding(
            "range",
            f"the network is given values in [{least:.2f}, {largest:.2f}], and says it was trained on pictures less "
            f"{tuple(mean)}, divided by {tuple(std)}",
            "Normalise them so: limelight.load(network) does it for photographs",
        )


def constant_pictures(patient: Patient) -> Iterator[Finding]:
    """Pictures of one colour."""
    spread = patient.images.flatten(1).float().std(dim=1)
    if patient.real and float(spread.amax()) < 1e-3:
        yield Finding(
            "range",
            "the pictures are of one colour, or nearly so, when they reach the network",
            "Look at them: they were perhaps divided by 255 twice",
        )


def preprocessing(patient: Patient) -> Iterator[Finding]:
    """Photographs prepared in another usual way, of which the network is much surer."""
    own, known = patient.preprocessing, patient.probabilities
    if own is None or known is None or not patient.pixels or own.channels != 3:
        return
    like = patient.images
    sure, best = float(known.amax(dim=1).mean()), None
    for name, mean, std in _USUAL:
        if (tuple(own.mean), tuple(own.std)) == (mean, std):
            continue
        other = replace(own, mean=mean, std=std)
        given = torch.stack([other(pixels, "crop")[0] for pixels in patient.pixels]).to(like)
        logits = logits_of(patient.run(given))
        assert logits is not None, "there were probabilities"
        surer = float(both_sides(logits.float()).amax(dim=1).mean())
        if surer > sure + BETTER and (best is None or surer > best[1]):
            best = name, surer
    if best is not None:
        yield Finding(
            "preprocessing",
            f"it gives its best classes {sure:.0%} of probability on the mean, and {best[1]:.0%} where the pictures "
            f"are normalised {best[0]}",
            "Look up how its training normalised pictures: limelight.load(network, preprocessing=...)",
        )


_USUAL = (
    ("by ImageNet's mean and deviation", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ("to [-1, 1]", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ("to [0, 1]", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    ("to [0, 255]", (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
)

CHECKS = (bytes_as_floats, not_normalised, constant_pictures, preprocessing)
