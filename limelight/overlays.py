"""Overlays as files: names that do not collide, and no half-written picture."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limelight.errors import InputError

if TYPE_CHECKING:
    from limelight.explanation import Explanation


@dataclass(frozen=True)
class Overlays:
    """Where overlays are written, and how they are drawn.

    Attributes:
        folder: made by :meth:`prepare` when it is missing.
        look: ``colormap``, ``alpha``, ``contours``, ``legend`` (see :func:`limelight.render.overlay`).
    """

    folder: Path
    look: Mapping[str, Any] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make the folder, and find out now, not after an hour, whether it can be written.

        Raises:
            InputError: it can't.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write to {self.folder}: {error.strerror}; choose another folder") from error
        probe = self.folder / f".limelight-{os.getpid()}"
        self.put(probe, b"")
        probe.unlink()

    def write(self, explanation: Explanation, record: dict[str, Any], stem: str) -> None:
        """Draw each target of a one-image explanation, and enter the files' paths into its record.

        Raises:
            InputError: a file can't be written; what was written before stays.
        """
        slugs = [slug(target["label"]) for target in record["targets"]]
        for j, target in enumerate(record["targets"]):
            again = f"-{target['index']}" if slugs.count(slugs[j]) > 1 else ""  # ImageNet has two classes "crane"
            path = self.folder / f"{stem}_{slugs[j]}{again}.png"
            buffer = io.BytesIO()
            explanation.overlay(target=j, **self.look).save(buffer, "PNG")
            self.put(path, buffer.getvalue())
            target["overlay"] = str(path)

    def put(self, path: Path, content: bytes) -> None:
        """Write a file aside and rename it when it is whole.

        Raises:
            InputError: it can't be written.
        """
        aside = path.with_name(path.name + ".part")
        try:
            aside.write_bytes(content)
            os.replace(aside, path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise InputError(f"cannot write {path}: {error.strerror}") from error


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """A file-name stem for each path, no two alike: a name that was taken gets its suffix, its folder, or a number."""
    taken: dict[str, None] = {}
    for path in paths:
        numbered = (f"{path.stem}-{number}" for number in range(2, len(paths) + 2))
        spellings = (path.stem, path.name, "_".join(path.parts[-2:]), *numbered)
        taken[next(spelling for spelling in spellings if spelling not in taken)] = None
    return list(taken)


def slug(label: str | None) -> str:
    """A label as a part of a file name."""
    return re.sub(r"\W+", "-", (label or "").lower()).strip("-") or "map"
