"""Is the data set biased, and does the network use it? Asked of pictures and labels alone.

    from limelight.studies.bias import audit

    findings = audit(model, paths, labels)           # strongest first; empty for an unbiased set
    findings[0].sentence                             # in words
    findings[0].as_dict()                            # for JSON, as ``study.json`` holds it

``model`` is a :class:`limelight.Model` that classifies (``limelight.load(...)``); ``paths`` the pictures' files,
``labels`` a class's name, or its number in ``classes``, for each. No masks or group labels are needed. Findings are
judged on the pictures given: give those the network was trained on (a bias that only the training pictures have is what
misleads it), up to ``most`` of them.

Four things are looked for, and each is then taken out of pictures and put into others to see whether the network
minds: ``marks`` (small patches that repeat), ``properties`` (of the border, the light, the grain), ``metadata`` (of
files) and ``places`` (the side on which lies what the network looks at). ``remedy`` takes a finding away from the
training pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from limelight.models import Model
    from limelight.preprocessing import Fit
    from limelight.studies.bias.album import Album
    from limelight.studies.bias.findings import Finding as Finding

MOST = 600
"""Pictures that are looked at: a bias worth knowing shows in as many."""


def audit(
    model: Model,
    paths: Sequence[str | Path],
    labels: Sequence[int | str],
    classes: Sequence[str] | None = None,
    *,
    masks: Sequence[str | Path | None] | None = None,
    fit: Fit = "crop",
    seed: int = 0,
    most: int = MOST,
    progress: bool = False,
) -> list[Finding]:
    """What tells the classes apart without being the object, and what the network makes of it; strongest first.

    Args:
        model: a classifier with preprocessing; its outputs are in the order of ``classes``.
        paths: one file a picture.
        labels: of each picture, a name or a number in ``classes``.
        classes: the classes' names in the order of the outputs; None for the model's labels, or the names sorted.
        masks: one file a picture (0 is background), or None; then findings say how much of them lies off the object.
        fit: how a photograph becomes the network's input, as in :func:`limelight.explain`.
        seed: of what is left to chance; the same seed gives the same findings.
        most: so many pictures are looked at, drawn evenly from the classes.
        progress: show a bar.

    Raises:
        InputError: fewer than two classes, a class with too few pictures, a file that is no picture.
        ModelError: the network can't be shown photographs.
    """
    import numpy as np

    from limelight.errors import InputError
    from limelight.progress import tracked
    from limelight.studies.bias import candidates
    from limelight.studies.bias.album import read_album
    from limelight.studies.bias.effects import Effect, Scorer, effect
    from limelight.studies.bias.findings import ALPHA, finding, ranked, worth
    from limelight.studies.bias.places import places

    if len(paths) != len(labels):
        raise InputError(f"{len(paths)} pictures but {len(labels)} labels: give one label for each picture.")
    classes = classes if classes is not None else _named(model, labels)
    chosen = _some(labels, most, seed)
    album = read_album([paths[i] for i in chosen], [labels[i] for i in chosen], classes)
    score = Scorer(model, fit)
    found = candidates.marks(album, seed)
    marked = {i: box for one, _, _ in worth(found, len(album)) for i, box in one.boxes.items()}
    found += candidates.properties(album, marked, seed)
    found += candidates.files(album, seed)
    kept = worth(found, len(album))
    stated = []
    for one, p, interval in tracked(kept, "taking out and putting in", len(kept), progress):
        used = Effect(0.0, (0.0, 0.0), None, None, 0)
        if one.edit is not None:
            own = album.labels == one.label
            bearing, lacking = np.flatnonzero(own & one.present), np.flatnonzero(~own & ~one.present)
            used = effect(
                one.edit, score, one.label, bearing, lacking, confidence=1 - ALPHA / max(1, len(kept)), seed=seed
            )
        outside = _outside(album, one.boxes, [masks[i] for i in chosen]) if masks is not None else None
        stated.append(finding(album, one, p, interval, used, outside))
    return ranked([*stated, *places(album, score, sum(one.kind == "mark" for one in stated), seed)])


def _named(model: Model, labels: Sequence[int | str]) -> Sequence[str] | None:
    names = set(map(str, labels))
    if model.labels is not None and (names <= set(model.labels) or not any(isinstance(one, str) for one in labels)):
        return model.labels
    return None


def _some(labels: Sequence[int | str], most: int, seed: int) -> np.ndarray:
    """Which pictures to look at: all, or as many of each class as ``most`` allows."""
    import numpy as np

    values = np.array([str(label) for label in labels])
    rng = np.random.default_rng(seed)
    names = np.unique(values)
    if len(values) <= most:
        return np.arange(len(values))
    each = most // len(names)
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(values == name))[:each] for name in names]))


def _outside(
    album: Album,
    boxes: dict[int, tuple[float, float, float, float]],
    masks: Sequence[str | Path | None],
) -> float | None:
    """The share of the regions' pixels that no mask holds, over the pictures that have both."""
    import numpy as np
    from PIL import Image

    shares = []
    for i, box in boxes.items():
        path = masks[i]
        if path is None:
            continue
        with Image.open(path) as picture:
            width, height = (int(side) for side in album.sizes[i])
            mask = np.asarray(picture.resize((width, height), Image.Resampling.NEAREST)) > 0
        x0, y0, x1, y1 = album.in_file(i, box)
        shares.append(1 - mask[y0:y1, x0:x1].mean())
    return float(np.mean(shares)) if shares else None


def __getattr__(name: str) -> object:
    if name == "Finding":
        from limelight.studies.bias.findings import Finding

        return Finding
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
