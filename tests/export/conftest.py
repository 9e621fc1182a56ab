"""What the tests of the room share: each graph is made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import tiny

pytest.importorskip(
    "onnxscript", reason="onnx, onnxscript or onnxruntime is not installed: pip install 'limelight[export]'"
)
pytest.importorskip(
    "onnxruntime", reason="onnx, onnxscript or onnxruntime is not installed: pip install 'limelight[export]'"
)


@pytest.fixture(scope="session")
def asking(tmp_path_factory):
    """The tiny network as a graph of one image whose class is an input."""
    import limelight as ll

    return ll.compile(tiny(), target=ll.GIVEN, layer="layer3", batch=1)


@pytest.fixture(scope="session")
def of_pixels(asking, tmp_path_factory) -> Path:
    """The same as a file that takes a photograph."""
    return asking.save(tmp_path_factory.mktemp("export") / "tiny.onnx", fit="crop")
