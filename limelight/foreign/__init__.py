"""Networks that were made elsewhere, as modules whose layers can be seen: Keras models, TorchScript,
sessions of ONNX Runtime.
"""

from limelight.foreign.keras import keras_side
from limelight.foreign.script import is_script, opened
from limelight.foreign.session import RunsOnnx, session_side

__all__ = ["RunsOnnx", "is_script", "keras_side", "opened", "session_side"]
