"""What the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something that spoils maps or answers.

    Attributes:
        check: the check that found it.
        told: what was seen, with its figure.
        remedy: what to do.
    """

    check: str
    told: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.check}: {self.told}. {self.remedy}."
