"""What a file tells besides its picture: size, proportions, compression, camera."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

_MAKE, _MODEL, _SOFTWARE = 271, 272, 305


def facts(path: Path) -> dict[str, float | str]:
    """Named facts of one file, from its header alone."""
    with Image.open(path) as picture:
        exif = picture.getexif()
        tables = getattr(picture, "quantization", None) or {}
        return {
            "width": float(picture.width),
            "height": float(picture.height),
            "proportions": round(picture.width / picture.height, 2),
            "format": str(picture.format),
            "mode": picture.mode,
            "compression": float(np.mean([np.mean(table) for table in tables.values()])) if tables else 0.0,
            "resolution tag": str(picture.info.get("dpi", "")),
            "colour profile": str(len(picture.info.get("icc_profile") or b"")),
            "camera": " ".join(str(exif.get(tag, "")) for tag in (_MAKE, _MODEL)).strip(),
            "software": str(exif.get(_SOFTWARE, "")),
        }


def columns(paths: Sequence[Path]) -> dict[str, np.ndarray]:
    """Each fact that differs between files, as (n, features) numbers; a column for each frequent word."""
    rows = [facts(path) for path in paths]
    found = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if len(set(values)) < 2:
            continue
        if isinstance(values[0], float):
            found[name] = np.log(np.array(values)[:, None] + 1)
        else:
            words = sorted(set(values), key=lambda word: (-values.count(word), word))[:12]
            found[name] = np.array([[value == word for word in words] for value in values], float)
    return found
