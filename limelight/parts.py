"""A folder of finished parts: one Parquet file a shard, there whole or not at all, and a manifest that says of what.

What a killed run finished stays and is not done again; what it was at in that moment is done again from the start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from limelight import stores
from limelight.errors import InputError, MissingExtra
from limelight.files import aside, forget_partial, write_whole

MANIFEST = "manifest.json"
PART = "part-{:05d}.parquet"


@dataclass(frozen=True)
class Parts:
    """Rows in parts. Made by :meth:`open`, or by :meth:`found` of a folder that is only read."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, folder: str | Path, manifest: Mapping[str, Any], what: str = "evaluation") -> Self:
        """Begin in an empty folder, or go on with what the same manifest began; ``what`` the parts are of.

        Raises:
            InputError: the folder holds the parts of something else; the message says what differs.
            MissingExtra: pyarrow is not installed.
        """
        pyarrow()
        folder = stores.path_of(folder)
        file = folder / MANIFEST
        if file.exists():
            before, now = _read(file), json.loads(json.dumps(manifest))
            if differing := [name for name in {**before, **now} if before.get(name) != now.get(name)]:
                told = ", ".join(sorted(differing))
                raise InputError(
                    f"{folder} holds another {what} (not the same: {told}): choose another --out, or remove it"
                )
            forget_partial(folder)
        else:
            write_whole(file, json.dumps(manifest, indent=2))
        return cls(folder, manifest)

    @classmethod
    def found(cls, folder: str | Path) -> Self:
        """What lies in a folder.

        Raises:
            InputError: no run's results are there.
            MissingExtra: pyarrow is not installed.
        """
        pyarrow()
        folder = stores.path_of(folder)
        file = folder / MANIFEST
        if not file.is_file():
            raise InputError(f"{folder} holds no results: there is no {MANIFEST} in it")
        return cls(folder, _read(file))

    def done(self) -> set[int]:
        """The numbers of the parts that are there."""
        names = (re.fullmatch(r"part-(\d+)\.parquet", name) for name in stores.names(self.folder))
        return {int(match[1]) for match in names if match}

    def put(self, number: int, table: Any) -> None:
        """Write a part: one of pyarrow's tables.

        Raises:
            InputError: it can't be written.
        """
        _, parquet = pyarrow()
        with aside(self.folder / PART.format(number)) as partial:
            parquet.write_table(table, partial, compression="zstd")

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """The parts in order, as pyarrow's tables; of these columns only, where they are named."""
        _, parquet = pyarrow()
        for number in sorted(self.done()):
            with stores.opened(self.folder / PART.format(number)) as file:
                yield parquet.read_table(file, columns=columns and list(columns))


def begun_with(folder: str | Path) -> str | None:
    """The engine that made the parts in a folder; None where it holds none."""
    try:
        return Parts.found(folder).manifest.get("engine")
    except InputError:
        return None


def _read(manifest: Path) -> dict[str, Any]:
    try:
        return json.loads(manifest.read_text())
    except json.JSONDecodeError:
        raise InputError(f"{manifest} is damaged: remove {manifest.parent}, or choose another folder") from None


def pyarrow() -> tuple[Any, Any]:
    """pyarrow, and its module for Parquet.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as missing:
        raise MissingExtra("pyarrow", "table", "A table of results") from missing
    return pyarrow, pyarrow.parquet
