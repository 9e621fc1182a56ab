"""A network whose map is fine enough to lie on small things: evidence in each of many cells, told by the strongest."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

STRONGEST = 1 / 40
"""The share of the cells by whose mean a class is told: of 28 x 28, twenty; a grain or two of rice."""


class Fine(nn.Module):
    """A body, evidence for each class in each of its cells, and a score for each class: its strongest cells' mean.

    A class has no offset, and is asked by itself when the network learns (see ``limelight.training.cells``). So what is
    in the pictures of both classes must speak against both: a cell of table that spoke for rice would call every
    picture of beans rice. With the mean over all cells it may say anything, since an offset makes up for it.

    The map of a class is its evidence: Grad-CAM of the last layer weighs the channels as the score does.
    """

    def __init__(self, body: nn.Module, channels: int, classes: int, strongest: float = STRONGEST):
        """``body`` gives (batch, channels, rows, columns). With 0 ``classes`` it ends in the cells' mean."""
        super().__init__()
        self.body, self.strongest = body, strongest
        self.evidence = nn.Conv2d(channels, classes, 1, bias=False) if classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 3, height, width) -> (batch, classes) scores, or (batch, channels) features without classes."""
        return self.pooled(self.body(x))

    def pooled(self, features: Tensor) -> Tensor:
        """(batch, channels, rows, columns), the body's features -> what :meth:`forward` gives."""
        cells = self.evidence(features).flatten(2)
        if isinstance(self.evidence, nn.Identity):
            return cells.mean(2)
        return cells.topk(max(round(self.strongest * cells.shape[2]), 1), dim=2).values.mean(2)


def first_stages(network: Any, stages: int) -> tuple[nn.Module, int]:
    """timm's EfficientNet as far as the last activation of its first ``stages``, and how many channels that has.

    The last block ends before its channels are projected to few. Modules keep their names, so weights do too.
    """
    *before, last = network.blocks[stages - 1]
    ending = nn.Sequential(OrderedDict(conv_pw=last.conv_pw, bn1=last.bn1, conv_dw=last.conv_dw, bn2=last.bn2))
    blocks = nn.Sequential(*network.blocks[: stages - 1], nn.Sequential(*before, ending))
    body = nn.Sequential(OrderedDict(conv_stem=network.conv_stem, bn1=network.bn1, blocks=blocks))
    return body, last.conv_dw.out_channels
