"""Maps smoothed in time without lag: each frame's map is a mean over frames before it *and* after it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from limelight.video.film import Frame

CUT, TIMES, LATELY = 0.1, 2.5, 8
"""A cut is a difference of small grey pictures in [0, 1] of more than CUT, and TIMES the median of those LATELY: of 119
pairs of photographs none differed less than 0.1; 5 % of the width a frame, a fast pan, gives 0.05 and seldom 0.12."""
SMALL = (18, 32)


@dataclass(frozen=True)
class Answer:
    """What the network said of one frame.

    Attributes:
        index: the class; None where the target is none.
        label: the class's name.
        probability, score: of that class.
        raw: its raw map at the layer's grid.
    """

    index: int | None
    label: str
    probability: float | None
    score: float
    raw: Tensor = field(repr=False)


@dataclass
class Shot:
    """A frame, which shot it belongs to, and what the network said where it was asked."""

    frame: Frame
    shot: int
    answer: Answer | None = None


def weight(apart: float, radius: float) -> float:
    """How much a frame so many seconds away counts: a Hann window, 1 in the middle and 0 from the radius on.

    Of frames that are asked every ``radius`` seconds, two count for each between them, and their weights sum to 1.
    """
    return 0.5 * (1 + math.cos(math.pi * apart / radius)) if abs(apart) < radius else 0.0


def smoothed(shots: Iterable[Shot], radius: float) -> Iterator[tuple[Shot, Answer]]:
    """Each frame with the mean of the answers around it, of its own shot, weighted by :func:`weight`.

    The window is centred, so the mean neither trails behind what moves nor runs ahead of it. What is named is the class
    with the greatest weight in the window, its probability and score are means, and its map is the mean of the raw maps
    of that class there. A frame is given as soon as the frames up to ``radius`` after it are known.
    """
    waiting: deque[Shot] = deque()
    answered: deque[Shot] = deque()
    for shot in shots:
        waiting.append(shot)
        if shot.answer is not None:
            answered.append(shot)
        while waiting and waiting[0].frame.seconds + radius <= shot.frame.seconds:
            yield _around(waiting.popleft(), answered, radius)
    while waiting:
        yield _around(waiting.popleft(), answered, radius)


def _around(shot: Shot, answered: deque[Shot], radius: float) -> tuple[Shot, Answer]:
    now = shot.frame.seconds
    while len(answered) > 1 and answered[0].frame.seconds <= now - radius and answered[1].shot <= shot.shot:
        answered.popleft()
    own = [(weight(one.frame.seconds - now, radius), one.answer) for one in answered if one.shot == shot.shot]
    counted = [(share, answer) for share, answer in own if share > 0 and answer is not None]
    if not counted:  # the first frame of a shot is always asked
        nearest = min((one for one in answered if one.shot == shot.shot), key=lambda one: abs(one.frame.seconds - now))
        assert nearest.answer is not None, "only those that were asked are kept"
        return shot, nearest.answer
    by_class: dict[tuple[int | None, str], list[tuple[float, Answer]]] = {}
    for share, answer in counted:
        by_class.setdefault((answer.index, answer.label), []).append((share, answer))
    (index, label), chosen = max(by_class.items(), key=lambda each: sum(share for share, _ in each[1]))
    total = sum(share for share, _ in chosen)
    shares = torch.tensor([share / total for share, _ in chosen])
    known = [answer.probability for _, answer in chosen if answer.probability is not None]
    mean = [float((shares * torch.tensor([getattr(one, name) or 0.0 for _, one in chosen])).sum()) for name in _MEANS]
    raw = torch.einsum("k,k...->...", shares, torch.stack([answer.raw for _, answer in chosen]))
    return shot, Answer(index, label, mean[0] if known else None, mean[1], raw)


_MEANS = ("probability", "score")


def small(pixels: np.ndarray) -> np.ndarray:
    """A small grey picture in [0, 1], of means over what each of its pixels covers."""
    grey = torch.from_numpy(np.ascontiguousarray(pixels[::2, ::2].mean(axis=2, dtype=np.float32)))
    return torch.nn.functional.adaptive_avg_pool2d(grey[None], SMALL)[0].numpy() / 255


class Cuts:
    """Which frames begin a shot: those that differ from the one before much more than frames have differed lately.

    A mistaken one does little harm: means begin anew there.
    """

    def __init__(self):
        self._before: np.ndarray | None = None
        self._lately: deque[float] = deque(maxlen=LATELY)

    def begins(self, pixels: np.ndarray) -> bool:
        """Whether a shot begins with this frame; frames are given in their order."""
        before, self._before = self._before, small(pixels)
        if before is None:
            return True
        apart = float(np.abs(before - self._before).mean())
        usual = float(np.median(self._lately)) if self._lately else 0.0
        self._lately.append(apart)
        return apart > max(CUT, TIMES * usual)
