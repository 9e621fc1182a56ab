"""Networks that were made elsewhere, as modules whose layers can be seen: Keras models, TorchScript."""

from limelight.foreign.keras import keras_side
from limelight.foreign.script import is_script, opened

__all__ = ["is_script", "keras_side", "opened"]
