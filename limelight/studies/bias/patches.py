"""What a small patch looks like, as a vector whose cosine with another's says how nearly the two are the same.

A patch is 6 x 6 cells of 4 pixels: histograms of oriented gradients and three colours a cell. Whitened by the
statistics of the data set's own patches, what is common to all (edges, even colour) counts for little and what is
peculiar for much: exemplars so described find their like without training (Hariharan et al. 2012, "Discriminative
decorrelation for clustering and classification").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CELL = 4
"""Pixels a cell's side."""
BLOCK = 6
"""Cells a patch's side."""
_TURNS = 8
_COLOUR = 0.35  # the weight of a patch's colours beside its edges
_CHROMA = 3.0  # the weight of colour differences beside lightness
_FLOOR = 0.3  # below this much gradient a patch counts as plain
_DIMENSIONS = 48
_SAMPLE = 24_000


def cells(picture: np.ndarray) -> Tensor:
    """(h, w, 3) uint8 -> (11, h / 4, w / 4): eight orientations' gradients, lightness and two colour differences."""
    x = torch.tensor(picture).permute(2, 0, 1).float() / 255
    short = [max(0, BLOCK * CELL - side) for side in x.shape[1:]]
    if any(short):  # a very long picture: give it one patch's height or width
        x = F.pad(x[None], (0, short[1], 0, short[0]), mode="replicate")[0]
    grey = x.mean(0)
    right, down = torch.zeros_like(grey), torch.zeros_like(grey)
    right[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    down[1:-1] = grey[2:] - grey[:-2]
    turn = torch.atan2(down, right) / (2 * torch.pi) * _TURNS
    away = ((turn - torch.arange(_TURNS)[:, None, None] + _TURNS / 2) % _TURNS - _TURNS / 2).abs().clamp(max=1)
    edges = (1 - away) * (right**2 + down**2).sqrt()
    red, green, blue = x
    colours = torch.stack([grey, _CHROMA * (red - green), _CHROMA * ((red + green) / 2 - blue)])
    return F.avg_pool2d(torch.cat([edges, colours])[None], CELL)[0]


def raw(cells: Tensor) -> Tensor:
    """(11, h, w) cells -> (h', w', features): every patch, one cell apart."""
    edges, colours = cells[:_TURNS], cells[_TURNS:]
    height, width = edges.shape[1] - BLOCK + 1, edges.shape[2] - BLOCK + 1
    edge = F.unfold(edges[None], BLOCK)[0].T.sqrt()
    edge = edge / (edge.norm(dim=1, keepdim=True) + _FLOOR)
    pairs = F.unfold(F.avg_pool2d(colours[None], 2, 1), BLOCK - 1)[0].T.view(-1, 3, BLOCK - 1, BLOCK - 1)
    colour = pairs[:, :, ::2, ::2].flatten(1)
    return torch.cat([edge, _COLOUR * colour], 1).view(height, width, -1)


def contrast(cells: Tensor) -> Tensor:
    """(h', w') how much gradient each patch holds."""
    return _sum(cells[:_TURNS].square()).sqrt()


def _sum(values: Tensor) -> Tensor:
    """(k, h, w) -> (h', w') the sum over each patch."""
    return F.avg_pool2d(values.sum(0)[None, None], BLOCK, 1)[0, 0] * BLOCK**2


@dataclass(frozen=True, eq=False)
class Whitening:
    """Raw patches -> unit vectors in which the data set's patches are spread evenly."""

    mean: Tensor
    matrix: Tensor

    @classmethod
    def of(cls, pictures: Sequence[Tensor], seed: int) -> Whitening:
        """From a sample of the patches of ``pictures``, given as cells."""
        rng = np.random.default_rng(seed)
        each = max(1, _SAMPLE // max(1, min(len(pictures), 120)))
        chosen = []
        for i in rng.permutation(len(pictures))[:120]:
            patches = raw(pictures[i]).flatten(0, 1)
            chosen.append(patches[torch.from_numpy(rng.permutation(len(patches))[:each])])
        sample = torch.cat(chosen)
        mean = sample.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov((sample - mean).T))
        most = min(_DIMENSIONS, len(values))
        values, vectors = values.flip(0)[:most].clamp(min=0), vectors.flip(1)[:, :most]
        return cls(mean, vectors / (values + 1e-4).sqrt())

    def __call__(self, cells: Tensor) -> Tensor:
        """(11, h, w) cells -> (h', w', d) unit vectors; as ``raw`` and then whitened, without the raw patches."""
        edges, colours = cells[:_TURNS], cells[_TURNS:]
        size = self.matrix.shape[1]
        of_edges, of_colours = self.matrix.T.split([_TURNS * BLOCK**2, len(self.matrix) - _TURNS * BLOCK**2], dim=1)
        edge = F.conv2d(edges[None].sqrt(), of_edges.view(size, _TURNS, BLOCK, BLOCK))[0]
        edge = edge / (_sum(edges).sqrt() + _FLOOR)
        pooled = F.avg_pool2d(colours[None], 2, 1)
        colour = F.conv2d(_COLOUR * pooled, of_colours.reshape(size, 3, BLOCK // 2, BLOCK // 2), dilation=2)[0]
        offset = (self.mean @ self.matrix)[:, None, None]
        return F.normalize(edge + colour - offset, dim=0).permute(1, 2, 0).contiguous()
