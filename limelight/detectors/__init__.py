"""Object detectors, asked for their candidates: the network as it is, seen through a view that hears its heads."""

from limelight.detectors.recognise import recognised
from limelight.detectors.view import Reader, View, detector, levels_of

__all__ = ["Reader", "View", "detector", "levels_of", "recognised"]
