"""Many picture files, one record each: what can be read is explained, what can't is reported, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from limelight.cut import AUTO
from limelight.errors import InputError
from limelight.explainer import compare
from limelight.explanation import Explanation
from limelight.images import Photo, read
from limelight.methods.registry import Method
from limelight.models import Model
from limelight.overlays import Overlays, slug, unique_stems
from limelight.targets import Target


def explain_files(
    model: Model,
    paths: Sequence[Path],
    overlays: Overlays | None = None,
    methods: Sequence[str | Method] = ("gradcam",),
    *,
    batch_size: int = 16,
    check: bool = False,
    instead: Callable[[Sequence[Photo]], Explanation] | None = None,
    aim: Callable[[Photo], Target] | None = None,
    **how: Any,
) -> Iterator[dict[str, Any]]:
    """Explain picture files; yield each one's record (see :meth:`Explanation.records`) as soon as it is done.

    A file that is no usable picture gives a record with its ``error`` and no targets; the others go on.

    Args:
        model: a loaded model with preprocessing.
        paths: the files.
        overlays: where to write pictures; None for none.
        methods: each gives an entry for every target, and its name to the files where there are several.
        batch_size: how many are read and run at once.
        check: give every map its verdict (see :meth:`Explanation.verdict`), as "verdict" of its target.
        instead: what explains photographs in place of :func:`limelight.explain`, asked the same.
        aim: a photograph's own target, in place of one for all.
        **how: ``target``, ``layer``, ``fit``, ``fusion`` as for :func:`limelight.explain`; the target is
            one that any picture can be asked, not a list with one for each.

    Raises:
        LimelightError: something is wrong that is not one picture's fault.
    """
    stems = unique_stems(paths)
    for start in range(0, len(paths), batch_size):
        batch = slice(start, start + batch_size)
        yield from _explain_batch(model, paths[batch], stems[batch], overlays, methods, check, instead, aim, how)


def _explain_batch(
    model: Model,
    paths: Sequence[Path],
    stems: Sequence[str],
    overlays: Overlays | None,
    methods: Sequence[str | Method],
    check: bool,
    instead: Callable[[Sequence[Photo]], Explanation] | None,
    aim: Callable[[Photo], Target] | None,
    how: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """The records of one batch, whose photographs are forgotten with it."""
    photos = [_read_or_error(path) for path in paths]
    good = [photo for photo in photos if isinstance(photo, Photo)]
    if not good:
        found = []
    elif instead is not None:
        found = [instead(good)]
    else:
        asked = how if aim is None else {**how, "target": [aim(photo) for photo in good]}
        found = list(compare(model, good, methods, batch_size=len(good), progress=False, **asked).values())
        if how.get("layer") == AUTO:  # the next batches' maps are of the same layers
            how["layer"] = list(found[0].layers)
    explanations = zip(*found, strict=True)
    for path, stem, photo in zip(paths, stems, photos, strict=True):
        if isinstance(photo, InputError):
            yield {"path": str(path), "size": None, "predictions": [], "targets": [], "notes": [], "error": str(photo)}
            continue
        yield _record(next(explanations), overlays, stem, check)


def _record(explanations: Sequence[Explanation], overlays: Overlays | None, stem: str, check: bool) -> dict[str, Any]:
    """One picture's record: its targets by the first method, then by the next."""
    records = [record for explanation in explanations for record in explanation.records()]
    for explanation, record in zip(explanations, records, strict=True):
        if overlays:
            overlays.write(explanation, record, f"{stem}_{slug(explanation.method)}" if len(records) > 1 else stem)
        if check:
            for number, target in enumerate(record["targets"]):
                target["verdict"] = explanation.verdict(target=number).record()
    return {**records[0], "targets": [target for record in records for target in record["targets"]]}


def _read_or_error(path: Path) -> Photo | InputError:
    try:
        return read(path)
    except InputError as error:
        return error
