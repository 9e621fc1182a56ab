"""Does removing the bias help? The network is trained once more on pictures that the bias says nothing in.

As Selvaraju et al. 2017 (section 6.3) did by hand. Each picture that it learnt from stands beside its counterpart: the
finding taken out of where it was, and put in where it was not. The test pictures are the same for both networks.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from limelight.errors import InputError
from limelight.files import aside
from limelight.studies.bias import Finding
from limelight.studies.bias.remedy import counterparts
from limelight.training import Picture, Run, inputs, read_run, train


@dataclass(frozen=True)
class Remedy:
    """Both networks on the same test pictures.

    Attributes:
        finding: what was taken away, in words.
        before: the report of the network that was studied.
        after: that of the one that was trained without the bias.
        folder: its run.
        added: how many counterparts it learnt from besides.
    """

    finding: str
    before: dict[str, Any]
    after: dict[str, Any]
    folder: Path
    added: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        names = ("pictures", "accuracy", "interval", "balanced_accuracy", "roc_auc")
        return {
            "finding": self.finding,
            "before": {name: self.before[name] for name in names},
            "after": {name: self.after[name] for name in names},
            "run": str(self.folder),
            "added": self.added,
        }


def removed(
    run: Run,
    searched: list[Picture],
    finding: Finding,
    out: Path,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> Remedy | None:
    """Train again without the bias; None where no edit of a picture can take it away.

    Args:
        run: the network that was studied.
        searched: the pictures that were audited, in their order.
        finding: what is taken away.
        out: a folder; ``counterparts`` and ``run`` in it are made anew.
        seed: of the edits and of the training.
        device: where to compute.
        say: is told what is done.
    """
    for made in ("counterparts", "run"):
        shutil.rmtree(out / made, ignore_errors=True)
    try:
        added = [
            _written(out / "counterparts" / f"{number:05d}.png", searched[number], pixels)
            for number, pixels in counterparts(finding, seed)
        ]
    except InputError:
        return None
    tests = [run.dataset.items[i] for i in run.dataset.of("test")]
    dataset = replace(run.dataset, items=(*searched, *added, *tests))
    settings: dict[str, Any] = {name: value for name, value in run.card["settings"].items() if name != "shares"}
    settings |= {"seed": seed, **inputs.as_settings(run.card)}
    say(f"training once more, with {len(added)} counterparts that have the {finding.name} the other way round")
    after = train(dataset, out / "run", **settings, device=device)
    return Remedy(finding.name, run.report, read_run(after.folder).report, after.folder, len(added))


def _written(path: Path, picture: Picture, pixels: Any) -> Picture:
    with aside(path) as partial:
        Image.fromarray(pixels).save(partial)
    return replace(picture, path=path, mask=None)
