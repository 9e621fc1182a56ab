"""A layer's output <-> ``(batch, channels, *grid)``, and which layers have a grid at all.

Nothing outside this room knows how a layer lays its cells out. What was found of a network is remembered, weakly, for
the network and the input's shape.
"""

from limelight.grid.choice import candidates, default_layer
from limelight.grid.known import Tokens, layout_of, remember, remembered, tokens
from limelight.grid.layout import Layout
from limelight.grid.walking import Visit, Walk, walk

__all__ = [
    "Layout",
    "Tokens",
    "Visit",
    "Walk",
    "candidates",
    "default_layer",
    "layout_of",
    "remember",
    "remembered",
    "tokens",
    "walk",
]
