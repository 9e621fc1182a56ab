"""Networks whose code wants a picture's channels one after the other are run so, everywhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from limelight.evaluation import Scene
from limelight.memory_format import channels_last, takes_channels_last
from tests.evaluation.worlds import grad_cam_case
from tests.networks import Plain, pictures


class Textbook(nn.Module):
    """Flattens as textbooks do: ``view`` refuses activations whose channels lie last."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(channels, 4, 3, padding=1), nn.Linear(4 * 12 * 12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        return self.fc(x.view(x.size(0), -1))


def test_only_what_flattens_by_view_can_not_be_laid_out_with_channels_last():
    assert takes_channels_last(Plain().eval(), pictures(2))
    assert not takes_channels_last(Textbook(), pictures(2))
    grey = Textbook(channels=1).to(memory_format=torch.channels_last)  # whose pictures lie both ways at once
    assert not takes_channels_last(grey, pictures(2)[:, :1])


def test_metrics_are_measured_on_a_network_that_flattens_by_view():
    x, network = pictures(2), Textbook()
    scene = Scene.of(network, x, 1)
    torch.testing.assert_close(scene.scores, network(x).softmax(dim=1)[:, 1].detach())
    assert grad_cam_case(network, x, 1).measure("deletion").isfinite().all()


def test_another_error_of_the_network_is_not_tried_away():
    calls = []

    def run(images: Tensor) -> Tensor:
        calls.append(images)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        channels_last(run, pictures(1))
    assert len(calls) == 1
