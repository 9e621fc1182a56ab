"""A contact sheet's pictures as data in the page: what they are filtered by at once, the rest read as it is shown."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any

from limelight.report.blocks import Cell, ContactSheet

CHUNK = 96
"""Pictures whose data are read together: those that are not in sight stay text."""
PARTS = 1000
"""What shares are told in: a whole number is half as long as a fraction."""


def data(sheet: ContactSheet) -> str:
    """``<script>`` elements that hold data and no script."""
    cells = sheet.cells
    facts = {
        "chunk": CHUNK,
        "page": sheet.page,
        "colours": _text(sheet.colours),
        "alpha": sheet.alpha,
        "full": sheet.full,
        "veil": sheet.veil,
        **_numbered("group", [cell.group for cell in cells]),
        **_numbered("verdict", [cell.verdict for cell in cells]),
        "confidence": [_parts(cell.confidence) for cell in cells],
        "spread": [_parts(cell.spread) for cell in cells],
        "right": [-1 if cell.right is None else int(cell.right) for cell in cells],
    }
    chunks = ([_cell(cell) for cell in cells[start : start + CHUNK]] for start in range(0, len(cells), CHUNK))
    return "\n".join([_script("facts", facts), *(_script("cells", chunk) for chunk in chunks)])


def _numbered(name: str, values: list[str]) -> dict[str, Any]:
    """Values as numbers, and the names that these stand for, the most frequent first."""
    counts = Counter(values)
    names = sorted(counts, key=lambda value: (-counts[value], value))
    numbers = {value: number for number, value in enumerate(names)}
    return {f"{name}s": names, name: [numbers[value] for value in values]}


def _parts(share: float | None) -> int:
    return -1 if share is None else round(share * PARTS)


def _cell(cell: Cell) -> list[Any]:
    """Photograph, where the map lies, its columns, its strengths, caption, words."""
    strengths = bytes(value for row in cell.map for value in row)
    return [
        _text(cell.photo or b""),
        [round(edge, 4) for edge in cell.seen],
        len(cell.map[0]) if cell.map else 0,
        _text(strengths),
        cell.caption,
        cell.alt,
    ]


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _script(kind: str, content: Any) -> str:
    """JSON that can't end its element early, whatever stands in it."""
    text = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" data-part="{kind}">{text}</script>'
