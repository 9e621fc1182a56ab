"""Overlays as files: names that do not collide, and no half-written picture."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limelight import colormaps, stores
from limelight.errors import InputError
from limelight.files import write_whole

if TYPE_CHECKING:
    from PIL.Image import Image

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
            InputError: it can't, or the colour map does not exist.
        """
        if colormap := self.look.get("colormap"):
            colormaps.colormap(colormap)
        try:
            if not stores.is_url(self.folder):  # a store has no folders but in the names of its files
                self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "it is a file" if self.folder.is_file() else error.strerror or error
            raise InputError(f"cannot write to {self.folder}: {reason}; choose another folder") from error
        probe = self.folder / f".limelight-{os.getpid()}"
        self.put(probe, b"")
        probe.unlink()

    def others(self, paths: Sequence[Path], sources: Sequence[str | Path]) -> list[Path]:
        """The paths that don't lie in this folder, if it lies within a folder that was searched.

        Else the overlays of one run would be the photographs of the next.

        Raises:
            InputError: there are none.
        """
        folder = self.folder.resolve()
        if not any(Path(source).resolve() in folder.parents for source in sources):
            return list(paths)
        others = [path for path in paths if folder not in path.resolve().parents]
        if not others:
            raise InputError(f"there are no pictures but those in {self.folder}, where overlays go")
        return others

    def write(self, explanation: Explanation, record: dict[str, Any], stem: str) -> None:
        """Draw each target of a one-image explanation, and enter the files' paths into its record.

        Raises:
            InputError: a file can't be written; what was written before stays.
        """
        for j, (target, name) in enumerate(zip(record["targets"], _names(record["targets"]), strict=True)):
            path = self.folder / f"{stem}_{name}.png"
            self.picture(path, explanation.overlay(target=j, **self.look))
            target["overlay"] = str(path)

    def picture(self, path: Path, picture: Image) -> None:
        """Write a picture as PNG.

        Raises:
            InputError: it can't be written.
        """
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        self.put(path, buffer.getvalue())

    def put(self, path: Path, content: bytes) -> None:
        """Write a file aside and rename it when it is whole.

        Raises:
            InputError: it can't be written.
        """
        try:
            write_whole(path, content)
        except OSError as error:
            raise InputError(f"{path} can't be written: {error.strerror or error}") from error


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """A file-name stem for each path, no two alike: a name that was taken gets its suffix, its folder, or a number."""
    taken: dict[str, None] = {}
    for path in paths:
        numbered = (f"{path.stem}-{number}" for number in range(2, len(paths) + 2))
        spellings = (path.stem, path.name, "_".join(path.parts[-2:]), *numbered)
        taken[next(spelling for spelling in spellings if spelling not in taken)] = None
    return list(taken)


def _names(targets: Sequence[Mapping[str, Any]]) -> list[str]:
    """A part of a file name for each target of one picture, no two alike."""
    names: list[str] = []
    for target in targets:
        name = slug(target["label"])
        spellings = (name, f"{name}-{target['index']}", *(f"{name}-{number}" for number in range(2, len(targets) + 2)))
        names.append(next(spelling for spelling in spellings if spelling not in names))
    return names


def slug(label: str | None) -> str:
    """A label as a part of a file name."""
    return re.sub(r"\W+", "-", (label or "").lower()).strip("-") or "map"
