"""What runs a network and its explanation: the network itself, or one graph of both on a faster engine.

An engine is a function of a batch: preprocessed images ``(batch, channels, height, width)`` in, an
:class:`limelight.Answer` out: ``scores`` ``(batch, classes)``, ``classes`` ``(batch[, k])``, ``raws``, which is a raw
map ``(batch[, k], *grid)`` for each layer, and ``map`` ``(batch[, k], height, width)``, all on the CPU. Any number of
images may come at once. :func:`engine` makes one by name: "eager", "compile", "onnx", "openvino", or "auto" for the one
that a short trial finds fastest. Each was shown to answer as the network does before it is given
(:mod:`limelight.export.agreement`); where it does not, or can't run this network, it is refused.
``Engine.scores`` gives the class scores alone, for who asks for nothing else: metrics (:mod:`limelight.evaluation`).
"""

from limelight.engines.choosing import AUTO, Trial, engine
from limelight.engines.engine import NAMES, PRECISIONS, Engine

__all__ = ["AUTO", "NAMES", "PRECISIONS", "Engine", "Trial", "engine"]
