"""Checks of what a network answers: to the same picture twice, to its mirror image, to noise."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from limelight.checkup.finding import Finding
from limelight.checkup.patient import Patient, both_sides
from limelight.nested import first_tensor
from limelight.targets import logits_of

SAME = 1e-3
"""By how much, relative to their size, answers may differ that should be the same."""
FLAT = 0.95
"""An entropy from this share of the largest on says that the network knows nothing."""
CERTAIN = 1 - 1e-6
LOST = 0.3
"""How much probability a class may lose in the mirror."""


def repeats(patient: Patient) -> Iterator[Finding]:
    """The same picture twice."""
    first, again = (_main(patient.run(patient.images, seed)) for seed in (1, 2))
    if first is not None and again is not None and (gap := _gap(first, again)) > SAME:
        yield Finding(
            "chance",
            f"the same pictures, asked twice in evaluation mode, are answered differently (by {gap:.1%} of the "
            "outputs' spread)",
            "Look for dropout called as a function without training=self.training, or noise that is always added",
        )


def batch(patient: Patient) -> Iterator[Finding]:
    """A picture alone, and among others."""
    together, alone = _main(patient.outputs), _main(patient.run(patient.images[:1]))
    if together is None or alone is None or len(patient.images) < 2 or together.shape[1:] != alone.shape[1:]:
        return
    gap = _gap(together[:1], alone)
    if gap > SAME and not any(repeats(patient)):
        yield Finding(
            "batch",
            f"a picture is answered differently among others than alone (by {gap:.1%} of the outputs' spread)",
            "Explain with batch_size=1, and look for batch norm that takes the batch's statistics",
        )


def constant(patient: Patient) -> Iterator[Finding]:
    """Pictures and noise."""
    own, noise = _main(patient.outputs), _main(patient.noise_outputs)
    if own is None or noise is None or own.shape != noise.shape:
        return
    if float((own - noise).abs().amax()) <= 1e-6 * float(own.abs().amax().clamp(min=1e-12)):
        yield Finding(
            "constant",
            "it answers the same to every picture",
            "A layer in it is dead, or the head's weights are zero: look for a layer whose outputs are all zero",
        )


def already_probabilities(patient: Patient) -> Iterator[Finding]:
    """A softmax or a sigmoid inside the network."""
    logits = patient.logits
    if logits is None or not bool(((logits >= 0) & (logits <= 1)).all()):
        return
    noise = logits_of(patient.noise_outputs)
    both = logits if noise is None else torch.cat([logits, noise.float()])
    sums_up = both.shape[1] > 1 and bool((both.sum(dim=1) - 1).abs().amax() < 1e-3)
    if sums_up or (both.shape[1] == 1 and bool(((both >= 0) & (both <= 1)).all()) and bool(both.any())):
        yield Finding(
            "softmax",
            "its outputs are probabilities already, in [0, 1]"
            + (" and summing to 1" if sums_up else "")
            + ": their gradient fades as it grows sure, and limelight would take them for logits",
            "Return the logits: leave the last softmax or sigmoid out",
        )


def saturated(patient: Patient) -> Iterator[Finding]:
    """Certain of everything, of noise too."""
    noise = logits_of(patient.noise_outputs)
    if noise is None or patient.probabilities is None:
        return
    both = torch.cat([patient.probabilities, both_sides(noise.float())])
    if both.shape[1] > 1 and float(both.amax(dim=1).amin()) > CERTAIN:
        yield Finding(
            "saturated",
            "it is certain of everything, of noise too: the least of its best probabilities is "
            f"{float(both.amax(dim=1).amin()):.7f}",
            "Ask for logits, not probability(...), whose gradient is zero here; its scores want a temperature",
        )


def flat(patient: Patient) -> Iterator[Finding]:
    """Real pictures, about which it knows nothing."""
    known = patient.probabilities
    if not patient.real or known is None or known.shape[1] < 3:
        return
    entropy = -(known * known.clamp(min=1e-30).log()).sum(dim=1) / math.log(known.shape[1])
    if float(entropy.mean()) > FLAT:
        yield Finding(
            "flat",
            f"its answers are as good as even: their entropy is {float(entropy.mean()):.0%} of the largest possible",
            "Its head is untrained, or the pictures are not prepared as in its training: compare size, mean, std and "
            "the order of the channels",
        )


def mirrored(patient: Patient) -> Iterator[Finding]:
    """Real pictures and their mirror images."""
    known = patient.probabilities
    if not patient.real or known is None or patient.images.ndim != 4:
        return
    logits = logits_of(patient.run(patient.images.flip(3)))
    if logits is None:
        return
    best = known.argmax(dim=1)
    left = both_sides(logits.float()).gather(1, best[:, None])[:, 0]
    lost = known.amax(dim=1) - left
    changed = (both_sides(logits.float()).argmax(dim=1) != best) & (lost > LOST)
    if float(changed.float().mean()) >= 0.5:
        yield Finding(
            "mirror",
            f"{int(changed.sum())} of {len(best)} pictures get another class in the mirror, and lose "
            f"{float(lost[changed].mean()):.0%} of probability",
            "Unless left and right matter to it, its preprocessing or its weights are not what it was trained with",
        )


def labels(patient: Patient) -> Iterator[Finding]:
    """As many labels as classes."""
    if patient.labels is None or patient.logits is None:
        return
    classes = patient.logits.shape[1]
    if len(patient.labels) != classes and not (classes == 1 and len(patient.labels) == 2):
        yield Finding(
            "labels",
            f"it has {classes} outputs and {len(patient.labels)} labels",
            "Give the labels in the order of the outputs, one for each; some networks count the background as a class",
        )


def not_finite(patient: Patient) -> Iterator[Finding]:
    """NaN among the outputs."""
    own = _main(patient.outputs)
    if own is not None and not own.isfinite().all():
        yield Finding(
            "overflow",
            "its outputs hold NaN or infinity",
            "Look at its weights and at the range of the pictures, and try network.float()",
        )


def _main(outputs: object) -> Tensor | None:
    logits = logits_of(outputs)
    found = logits if logits is not None else first_tensor(outputs)
    return None if found is None else found.float()


def _gap(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the outputs' deviation."""
    scale = float(one.std(unbiased=False)) if one.numel() > 1 else float(one.abs().mean())
    return float((one - other).abs().amax()) / max(scale, 1e-12)


CHECKS = (not_finite, repeats, batch, constant, already_probabilities, saturated, flat, mirrored, labels)
