"""A name or a checkpoint -> network + preprocessing + labels."""

from limelight.models.catalogue import Available, available
from limelight.models.checkpoint import read_card, save
from limelight.models.loading import load
from limelight.models.model import Model

__all__ = ["Available", "Model", "available", "load", "read_card", "save"]
