"""The rows of an evaluation, in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limelight.parts import Parts, pyarrow


class Store(Parts):
    """One row for each picture, method and metric."""

    def write(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a part."""
        arrow, _ = pyarrow()
        self.put(number, arrow.Table.from_pylist(list(rows), schema=_schema(arrow)))

    def rows(self) -> list[dict[str, Any]]:
        """The rows of all parts, in order."""
        return [row for table in self.tables() for row in table.to_pylist()]


def _schema(arrow: Any) -> Any:
    text, whole, number = arrow.string(), arrow.int32(), arrow.float64()
    return arrow.schema(
        [
            ("picture", whole), ("path", text), ("target", whole), ("method", text), ("chance", arrow.bool_()),
            ("metric", text), ("value", number), ("seconds", number), ("error", text),
        ]
    )  # fmt: skip
