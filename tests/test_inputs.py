"""nested.py and explain: networks that take more than a picture, and answer with more than a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limelight as ll
from limelight.errors import InputError
from tests.networks import CLASSES, Plain, pictures

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")


@dataclass
class Answer:
    """As transformers' outputs: fields, some of them empty."""

    loss: Any = None
    logits: Any = None
    hidden: Any = None


class Asked(nn.Module):
    """A picture, a question in whole numbers, and switches, as visual question answering takes them."""

    def __init__(self):
        super().__init__()
        self.body = Plain()
        self.words = nn.Embedding(10, CLASSES)

    def forward(self, pixels: Tensor, ids: Tensor, scale: float = 1.0, mask: Tensor | None = None) -> Answer:
        words = self.words(ids)
        words = words if mask is None else words * mask[..., None]
        return Answer(logits=self.body(pixels) * scale + words.mean(dim=1), hidden=(words,))


def questions(batch: int = 2) -> Tensor:
    return torch.arange(3 * batch).view(batch, 3) % 10


WAYS = {
    "by position": lambda x, ids, mask: (x, ids, 1.0, mask),
    "by name": lambda x, ids, mask: {"pixels": x, "ids": ids, "mask": mask},
    "both": lambda x, ids, mask: ll.Inputs((x, ids), {"mask": mask}),
    "words first": lambda x, ids, mask: {"mask": mask, "ids": ids, "pixels": x},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "smoothgrad", "rise", "scorecam"])
def test_several_inputs_by_position_and_by_name(way, method):
    network, x, ids = Asked().eval(), pictures(3), questions(3)
    mask = torch.ones(3, 3)
    given = WAYS[way](x, ids, mask)
    found = ll.explain(network, given, target=2, method=method, layer=None if method != "gradcam" else "body.cut")
    alone = ll.explain(network, WAYS["by position"](x[1:2], ids[1:2], mask[1:2]), target=2, method=method)
    if method != "gradcam":
        torch.testing.assert_close(found.raw[1:2], alone.raw, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.scores[:, 0], network(x, ids, 1.0, mask).logits[:, 2].detach())


def test_a_batch_is_cut_through_all_inputs():
    network, x, ids = Asked().eval(), pictures(5), questions(5)
    whole = ll.explain(network, (x, ids), target=1)
    parts = ll.explain(network, (x, ids), target=1, batch_size=2)
    torch.testing.assert_close(whole.raw, parts.raw)
    torch.testing.assert_close(whole.scores, parts.scores)


def test_several_targets_of_answers_in_a_dataclass():
    network, x, ids = Asked().eval(), pictures(2), questions(2)
    found = ll.explain(network, (x, ids), target=ll.each(*range(CLASSES)))
    one = ll.explain(network, (x, ids), target=3)
    torch.testing.assert_close(found.raw[:, 3], one.raw[:, 0])


class InDataclass(Plain):
    """A layer that gives a dataclass."""

    def __init__(self):
        super().__init__()
        self.cut = _Wrap(self.cut)

    def features(self, x: Tensor) -> Tensor:
        return self.cut(self.stem(x)).hidden


class _Wrap(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Answer:
        return Answer(loss=3, hidden=self.inner(x))


def test_a_layer_that_gives_a_dataclass():
    network, x = InDataclass().eval(), pictures()
    found = ll.explain(network, x, target=2, layer="cut", method="layercam")
    inner = ll.explain(network, x, target=2, layer="cut.inner", method="layercam")
    torch.testing.assert_close(found.raw, inner.raw)
    again = ll.explain(network, x, target=2, layer="cut", method="ablationcam")
    torch.testing.assert_close(
        again.raw, ll.explain(network, x, target=2, layer="cut.inner", method="ablationcam").raw, rtol=1e-3, atol=1e-5
    )


def test_inputs_without_an_image_are_refused():
    with pytest.raises(InputError, match="no float tensor"):
        ll.explain(Asked(), {"ids": questions()})
