"""What can go wrong, in few kinds; each message says what was wrong and what to do.

A room raises the fact; ``explain`` adds layer, target and shapes; ``cli`` alone decides how it is printed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def one_line(message: object, most: int | None = None) -> str:
    """A message in one line, however it was broken, of at most so many characters."""
    return " ".join(str(message).split())[:most]


class LimelightError(Exception):
    """Anything limelight refuses. The command line prints its message on one line and exits with ``exit_code``."""

    exit_code = 2


class InputError(LimelightError, ValueError):
    """A picture, tensor or folder that can't be used."""


class ModelError(LimelightError, ValueError):
    """A network that can't be found, loaded or run."""


class LayerError(LimelightError, ValueError):
    """A layer that does not exist, is never reached, or has no grid."""


class TargetError(LimelightError, ValueError):
    """A question that can't be asked of these outputs."""


class MethodError(LimelightError, ValueError):
    """A method that is unknown, or needs what this network or layer lacks."""


class MetricError(LimelightError, ValueError):
    """A metric that is unknown, or needs what was not given."""


class MissingExtra(LimelightError, ImportError):
    """An optional library that is not installed."""

    def __init__(self, library: str, extra: str, purpose: str):
        super().__init__(f"{purpose} needs {library}: pip install 'limelight[{extra}]'")


class LimelightWarning(UserWarning):
    """Something the user should know about a result that was given all the same."""


class ZeroMapWarning(LimelightWarning):
    """A map without any evidence for its target."""


class FallbackWarning(LimelightWarning):
    """A network that allows no gradient, explained by a method that needs none."""


class SharedLayerWarning(LimelightWarning):
    """A module that ran more than once in the pass."""


def closest(name: str, known: Iterable[str], most: int = 3) -> str:
    """``' Did you mean a, b?'`` for a misspelt name, or an empty string when nothing is near."""
    known = list(known)
    lowered = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=most, cutoff=0.6)
    if not near:  # a part of a name is the usual way to remember a long one
        near = [candidate for candidate in lowered if name.lower() in candidate][:most]
    return f" Did you mean {', '.join(repr(lowered[candidate]) for candidate in near)}?" if near else ""
