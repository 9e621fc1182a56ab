"""A small network and a few pictures in every form that a source can have."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from limelight.models import Model
from tests.pictures import noise, write_classes
from tests.tiny import tiny


@pytest.fixture(scope="session")
def model() -> Model:
    return tiny()


@pytest.fixture
def photos(tmp_path) -> Path:
    """Seven pictures in two folders named after classes."""
    return write_classes(tmp_path / "photos")


def packed(file: Path, members: dict[str, bytes]) -> Path:
    """A tar of these members."""
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


def encoded(number: int) -> bytes:
    """A picture as the bytes of a PNG."""
    buffer = io.BytesIO()
    noise(number).save(buffer, "PNG")
    return buffer.getvalue()
