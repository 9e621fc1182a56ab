"""Protocols run over a data set, resumable: what is measured is kept, a shard at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from limelight import __version__
from limelight.errors import InputError, one_line
from limelight.models.classes import IMAGENET
from limelight.models.fingerprint import fingerprint
from limelight.paper import adversarial, counterfactual, discrimination, faithfulness, localisation, pointing
from limelight.paper.layouts import Layout
from limelight.paper.protocol import RELU_LAYERS, Bench, Outcome, Protocol, is_network
from limelight.ranking.measuring import Row
from limelight.ranking.store import Store

CMWP = "contrastiveexcitation"
SHARD = 8
"""Pictures saved at once, and lost when a run is killed."""
PROTOCOLS: dict[str, Protocol] = {
    each.PROTOCOL.name: each.PROTOCOL
    for each in (localisation, pointing, faithfulness, discrimination, counterfactual, adversarial)
}
"""Those that measure picture by picture; ``bias`` trains, and stands by itself."""


@dataclass(frozen=True)
class Reproduction:
    """A protocol on a data set, in a folder: made ready by :func:`reproduce`, run by :meth:`run`.

    Attributes:
        protocol: what is measured.
        bench: on what.
        store: the finished parts.
        left_out: pictures of the data set that the protocol can't use.
    """

    protocol: Protocol
    bench: Bench
    store: Store
    left_out: int

    def __len__(self) -> int:
        return -(-len(self.bench.pictures) // SHARD)

    def run(self) -> Iterator[int]:
        """Measure what is not measured yet; yield each part's number as it is there."""
        done = self.store.done()
        for part in range(len(self)):
            if part not in done:
                numbers = range(part * SHARD, min((part + 1) * SHARD, len(self.bench.pictures)))
                self.store.write(part, [row for number in numbers for row in self._measured(number)])
            yield part

    def _measured(self, number: int) -> list[Row]:
        try:
            return list(self.protocol.measure(self.bench, self.bench.see(number)))
        except InputError as error:  # of this picture; the others go on
            said = one_line(error)
            return [{"picture": number, "path": str(self.bench.pictures[number].path), "error": said}]

    def rows(self) -> list[Row]:
        """What was measured."""
        return [row for row in self.store.rows() if row["error"] is None]

    def errors(self) -> list[tuple[str, str]]:
        """The pictures that could not be measured, and why."""
        return [(row["path"], row["error"]) for row in self.store.rows() if row["error"] is not None]

    def differences(self, layout: Layout) -> list[str]:
        """What is not as in the paper because of what was given."""
        told = []
        if layout.classes is not None and self.bench.model.num_classes == IMAGENET:
            told.append(
                "Which of ImageNet's classes show an object of Pascal VOC's was decided here; ImageNet has no person."
            )
        if self.bench.layer is None and not any(is_network(self.bench.model.name, name) for name in RELU_LAYERS):
            told.append("Maps are made at the network's last layer that has a grid.")
        if CMWP in self.bench.methods:
            told.append("c-MWP (contrastive excitation) is made where Grad-CAM is; its paper takes an earlier layer.")
        if self.left_out:
            told.append(f"{self.left_out} pictures of the data set are left out: they lack {self.protocol.needs}.")
        return told

    def outcome(self) -> Outcome:
        """What came of it.

        Raises:
            InputError: nothing could be measured.
        """
        rows = self.rows()
        if not rows:
            told = self.errors()
            raise InputError(
                "nothing could be measured" + (f": {told[0][1]}" if told else f": no picture has {self.protocol.needs}")
            )
        return self.protocol.outcome(rows, self.bench)


def reproduce(protocol: Protocol, bench: Bench, out: str | Path) -> Reproduction:
    """A protocol, made ready: everything that can be found wrong is found here.

    Args:
        protocol: one of :data:`PROTOCOLS`.
        bench: network, pictures and settings; pictures that the protocol can't use are left out.
        out: the folder of the results; one that holds a part of the same is gone on with.

    Raises:
        InputError: no picture can be used, a second network is needed, or the folder holds something else.
        LimelightError: a method or layer that there is not.
    """
    if protocol.judged and bench.judge is None:
        raise InputError(f"{protocol.name} asks a second network what the marked part shows: name one with --judge")
    usable = tuple(shown for shown in bench.pictures if protocol.fits(shown))
    if not usable:
        raise InputError(
            f"{protocol.name} takes pictures with {protocol.needs}, and none of {len(bench.pictures)} has that"
        )
    left_out = len(bench.pictures) - len(usable)
    bench = replace(bench, pictures=usable)
    return Reproduction(protocol, bench, Store.open(out, _manifest(protocol, bench)), left_out)


def _manifest(protocol: Protocol, bench: Bench) -> dict[str, Any]:
    told = repr([(str(one.path), sorted(one.answer), one.things) for one in bench.pictures])
    return {
        "limelight": __version__,
        "protocol": protocol.name,
        "model": [bench.model.name, bench.model.weights, fingerprint(bench.model)],
        "judge": bench.judge and [bench.judge.name, bench.judge.weights, fingerprint(bench.judge)],
        "methods": list(bench.methods),
        "layer": bench.layer,
        "fit": bench.fit,
        "seed": bench.seed,
        "pictures": [len(bench.pictures), hashlib.sha256(told.encode()).hexdigest()[:16]],
    }
