"""What can go wrong between a network, its pictures and its maps: one small check a fault, and what to do about it."""

from limelight.checkup.examining import CHECKS, Examination, doctor
from limelight.checkup.finding import Finding

__all__ = ["CHECKS", "Examination", "Finding", "doctor"]
