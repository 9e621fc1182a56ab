"""A folder of pictures -> a classifier, its figures, and all that says how far to believe them."""

from __future__ import annotations

from limelight.training.folder import Dataset as Dataset
from limelight.training.folder import Picture as Picture
from limelight.training.folder import read_dataset as read_dataset
from limelight.training.run import Run as Run
from limelight.training.run import read_run as read_run
from limelight.training.settings import Settings as Settings
from limelight.training.trainer import Trained as Trained
from limelight.training.trainer import train as train

__all__ = ["Dataset", "Picture", "Run", "Settings", "Trained", "read_dataset", "read_run", "train"]
