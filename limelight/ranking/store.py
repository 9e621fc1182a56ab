"""A folder of finished parts: one Parquet file a shard, there whole or not at all, and a manifest that says of what.

What a killed run finished stays and is not done again; what it was at in that moment is done again from the start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limelight.errors import InputError, MissingExtra
from limelight.files import aside, forget_partial, write_whole

MANIFEST = "manifest.json"
PART = "part-{:05d}.parquet"


@dataclass(frozen=True)
class Store:
    """Rows in parts. Made by :meth:`open`."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, folder: str | Path, manifest: Mapping[str, Any]) -> Store:
        """Begin in an empty folder, or go on with what the same manifest began.

        Raises:
            InputError: the folder holds the parts of something else; the message says what differs.
            MissingExtra: pyarrow is not installed.
        """
        _pyarrow()
        folder = Path(folder)
        file = folder / MANIFEST
        if file.exists():
            try:
                before = json.loads(file.read_text())
            except json.JSONDecodeError:
                raise InputError(f"{file} is damaged: remove {folder}, or choose another folder") from None
            now = json.loads(json.dumps(manifest))
            if differing := [name for name in {**before, **now} if before.get(name) != now.get(name)]:
                raise InputError(
                    f"{folder} holds another evaluation ({', '.join(sorted(differing))} differ): choose another --out, "
                    "or remove it"
                )
            forget_partial(folder)
        else:
            write_whole(file, json.dumps(manifest, indent=2))
        return cls(folder, manifest)

    def done(self) -> set[int]:
        """The numbers of the parts that are there."""
        names = (re.fullmatch(r"part-(\d+)\.parquet", file.name) for file in self.folder.iterdir())
        return {int(match[1]) for match in names if match}

    def write(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a part."""
        arrow, parquet = _pyarrow()
        with aside(self.folder / PART.format(number)) as partial:
            parquet.write_table(arrow.Table.from_pylist(list(rows), schema=_schema(arrow)), partial, compression="zstd")

    def rows(self) -> list[dict[str, Any]]:
        """The rows of all parts, in order."""
        _, parquet = _pyarrow()
        parts = sorted(self.done())
        return [row for number in parts for row in parquet.read_table(self.folder / PART.format(number)).to_pylist()]


def _schema(arrow: Any) -> Any:
    text, whole, number = arrow.string(), arrow.int32(), arrow.float64()
    return arrow.schema(
        [
            ("picture", whole), ("path", text), ("target", whole), ("method", text), ("chance", arrow.bool_()),
            ("metric", text), ("value", number), ("seconds", number), ("error", text),
        ]
    )  # fmt: skip


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as missing:
        raise MissingExtra("pyarrow", "train", "A table of results") from missing
    return pyarrow, pyarrow.parquet
