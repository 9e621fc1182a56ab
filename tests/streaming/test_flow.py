"""`ll.stream`: whatever gives pictures, in their order, read ahead within bounds, one bad picture nobody else's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import limelight as ll
from limelight.errors import InputError, TargetError
from limelight.streaming.flow import WINDOW
from tests.networks import Plain
from tests.pictures import noise
from tests.streaming.conftest import encoded, packed

COUNT = 5


def sources(photos: Path, folder: Path) -> dict[str, object]:
    """The same five pictures in every form."""
    files = sorted(photos.rglob("*.png"), key=lambda path: path.name)[:COUNT]
    (folder / "list.txt").write_text("".join(f"{path}\n" for path in files))
    tar = packed(folder / "all.tar", {f"{n}.png": encoded(n) for n in range(COUNT)})
    numbers = range(COUNT)
    return {
        "paths": files,
        "a generator of paths": (str(path) for path in files),
        "a list file": folder / "list.txt",
        "a tar": str(tar),
        "PIL": [noise(n) for n in numbers],
        "with labels": [(noise(n), n) for n in numbers],
        "arrays": [np.asarray(noise(n)) for n in numbers],
        "a batch of uint8": [torch.stack([torch.tensor(np.asarray(noise(n))).permute(2, 0, 1) for n in numbers])],
        "rows of a data set": [{"image": noise(n), "label": n} for n in numbers],
        "undecoded rows": [{"image": {"bytes": encoded(n), "path": f"{n}.png"}, "label": n} for n in numbers],
        "webdataset": [{"__key__": f"{n}", "png": encoded(n), "cls": n} for n in numbers],
    }


def test_every_form_of_source_gives_the_same_explanations(model, photos, tmp_path):
    wanted = ll.explain(model, [noise(n) for n in range(COUNT)])
    for form, source in sources(photos, tmp_path).items():
        found = list(ll.stream(model, source, batch_size=2))
        assert [one.number for one in found] == list(range(COUNT)), form
        for i, one in enumerate(found):
            assert one.error is None, form
            torch.testing.assert_close(one.explanation.raw, wanted[i].raw, rtol=1e-3, atol=1e-5)
            assert one.explanation.overlay().size == (96, 72), form
        if form in ("with labels", "rows of a data set", "undecoded rows", "webdataset"):
            assert [one.label for one in found] == list(range(COUNT)), form


def test_tensors_come_alone_or_from_a_loader():
    """A network without preprocessing takes what its own loader gives."""
    network, images = Plain(), torch.randn(7, 3, 16, 16)
    loader = DataLoader(TensorDataset(images, torch.arange(7)), batch_size=3)
    wanted = ll.explain(network, images)
    for source in (loader, list(images), [images]):
        found = list(ll.stream(network, source, batch_size=2))
        torch.testing.assert_close(torch.cat([one.explanation.raw for one in found]), wanted.raw)
    assert [one.label for one in ll.stream(network, loader)] == list(range(7))


def test_shapes_run_together_and_come_back_in_order():
    """A batch is of one shape; a rare shape is not waited for longer than the window is."""

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.network, self.shapes = Plain(), []

        def forward(self, x):
            self.shapes.append(tuple(x.shape[::2]))
            return self.network(x)

    network = Counting()
    sides = [16, 24, 16, 16, 24, 16, 16, 16, 16, 16, 16]
    images = [torch.randn(3, side, side) for side in sides]
    found = list(ll.stream(network, images, batch_size=4, layer="network.cut"))
    for one, image in zip(found, images, strict=True):
        torch.testing.assert_close(
            one.explanation.raw, ll.explain(network, image[None], layer="network.cut").raw, rtol=1e-3, atol=1e-5
        )
    assert {shape for shape in network.shapes if shape[0] > 1} == {(4, 16), (2, 24)}


def test_a_bad_picture_is_told_and_the_others_go_on(model, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    found = list(ll.stream(model, [noise(0), tmp_path / "bad.png", noise(1), b"neither", np.zeros((3, 3, 7), "uint8")]))
    assert [one.error is None for one in found] == [True, False, True, False, False]
    assert "bad.png is not a picture" in found[1].error
    assert found[1].explanation is None
    assert "bad.png" in repr(found[1])


def test_no_more_is_taken_from_the_source_than_the_window_holds(model):
    """An endless source streams, and stopping early leaves nothing running."""
    taken = []

    def endless():
        while True:
            taken.append(None)
            yield noise(len(taken) % 5)

    steps = ll.stream(model, endless(), batch_size=2, workers=2)
    for _ in range(5):
        next(steps)
    assert len(taken) <= 5 + 2 * WINDOW * 2
    steps.close()


def test_what_is_no_source_is_refused(model):
    for source, words in [(3, "nothing to stream"), (noise(), "nothing to stream"), ([{"text": 1}], "no picture")]:
        with pytest.raises(InputError, match=words):
            list(ll.stream(model, source))
    with pytest.raises(InputError, match="without preprocessing"):
        list(ll.stream(Plain(), [noise()]))
    with pytest.raises(TargetError):
        ll.stream(model, [], target="no such class")


def test_an_engine_takes_the_networks_place(model):
    """It is told from which step its maps are; what is no answer is refused in words."""
    pictures = [noise(n) for n in range(3)]
    engine = ll.engine("eager", model, layer="layer3")
    found = list(ll.stream(model, pictures, engine=engine))
    wanted = ll.explain(model, pictures, layer="layer3")
    for i, one in enumerate(found):
        assert (one.explanation.method, one.explanation.layer) == ("gradcam", "layer3")
        assert one.explanation.predictions[0][0].label == wanted.predictions[i][0].label
        assert one.explanation.overlay().size == (96, 72)
        torch.testing.assert_close(one.explanation.raw, wanted[i].raw, rtol=1e-3, atol=1e-5)
    with pytest.raises(InputError, match="must give scores"):
        list(ll.stream(model, pictures, engine=lambda images: (images, images)))
