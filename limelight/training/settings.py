"""What training can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from limelight.errors import InputError, closest
from limelight.preprocessing import Fit
from limelight.training.augment import AUGMENTATIONS
from limelight.training.networks import DEFAULT
from limelight.training.splits import SHARES

AUTO = "auto"
OPTIMISERS = ("adamw", "sgd")


@dataclass(frozen=True)
class Settings:
    """All that decides, with the pictures and the machine, which weights come out. ``InputError`` for nonsense."""

    model: str = DEFAULT
    """A network's name."""
    weights: str = "default"
    """Where it starts: "default" (the published ones; random where none are), "random" or a file."""
    size: int | str | None = AUTO
    """The side of its input in pixels; None for the one its weights were made for; "auto" to choose it."""
    fit: str = AUTO
    """How a picture is fitted into it: "crop", "whole", "pad"; "auto" to choose it, see ``training.inputs``."""
    frozen: bool = False
    """Train the head alone, on features computed once."""
    augment: str = AUTO
    """"none", "light", "medium", "strong", or "auto", which goes by the number of pictures."""
    views: int | None = None
    """How many varied views of each picture the head is fitted to besides the picture itself; None: by their number."""
    epochs: int = 20
    """The most; early stopping may make them fewer."""
    patience: int = 5
    """Epochs without a better validation loss after which it stops."""
    batch_size: int = 32
    optimiser: str = "adamw"
    learning_rate: float | None = None
    """The highest of the schedule; None: 3e-5 for a published body, 3e-3 from scratch (SGD: ten times as much)."""
    weight_decay: float = 0.05
    warmup: float = 0.1
    """The share of the epochs in which the learning rate rises."""
    label_smoothing: float = 0.0
    balance: bool = False
    """Weigh the classes as if there were as many pictures of each."""
    shares: tuple[float, ...] = SHARES
    """Of train, val and test, where no splits are given."""
    seed: int = 0

    def __post_init__(self):
        known = (AUTO, *AUGMENTATIONS)
        if self.augment not in known:
            raise InputError(
                f"Augmentation {self.augment!r} is not one of {', '.join(known)}.{closest(self.augment, known)}"
            )
        if self.optimiser not in OPTIMISERS:
            raise InputError(f"Optimiser {self.optimiser!r} is not one of {', '.join(OPTIMISERS)}.")
        fits = (AUTO, *get_args(Fit))
        if self.fit not in fits:
            raise InputError(f"fit {self.fit!r} is not one of {', '.join(fits)}.")
        if isinstance(self.size, str) and self.size != AUTO:
            raise InputError(f"size is a number of pixels or {AUTO!r}, not {self.size!r}.")
        least = {"epochs": 1, "patience": 1, "batch_size": 1, "views": 0, "size": 8, "seed": 0, "weight_decay": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value not in (None, AUTO) and value < low:
                raise InputError(f"{name} must be at least {low}, not {value}.")
        if not 0 <= self.label_smoothing < 1 or not 0 <= self.warmup < 1:
            raise InputError("label_smoothing and warmup are shares, from 0 to below 1.")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise InputError(f"learning_rate must be above 0, not {self.learning_rate}.")
