"""The step as a ``torch.export`` program: a file that PyTorch runs without limelight or the network's code."""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.errors import ModelError, one_line
from limelight.export.agreement import Agreement, compared
from limelight.export.lower import lower
from limelight.files import write_whole

if TYPE_CHECKING:
    from limelight.export.compiled import Compiled

FACTS = "limelight.json"
"""The file inside the program's that says what it is."""


@dataclass(frozen=True, eq=False)
class Program:
    """A program, with inputs ``image[, class_index]`` and the outputs ``scores, classes, *raws, map`` as a tuple.

    Attributes:
        exported: what torch runs: ``exported.module()(images)``.
        facts: what it says of itself.
        agreement: how far its answers are from the network's own.
    """

    exported: torch.export.ExportedProgram = field(repr=False)
    facts: dict[str, object] = field(repr=False)
    agreement: Agreement

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it, whole or not at all; ``torch.export.load`` reads it. Gives the path."""
        content = io.BytesIO()
        torch.export.save(self.exported, content, extra_files={FACTS: json.dumps(self.facts)})
        return write_whole(path, content.getvalue())


def program(compiled: Compiled, batches: list[tuple[Tensor, ...]]) -> Program:
    """The question of a compiled graph as a program, after it answered ``batches`` as the network does.

    Raises:
        ModelError: torch can't export it, or it does not answer as the network does.
    """
    step, rows = compiled.step, compiled.batch or 2
    examples = tuple(torch.cat([each[:1]] * rows) for each in batches[0])
    free = {} if compiled.batch else {0: torch.export.Dim("batch")}
    try:
        with torch.no_grad():
            exported = torch.export.export(lower(step, *examples), examples, dynamic_shapes=(free,) * len(examples))
    except Exception as error:  # torch.export's kinds have no common one
        raise ModelError(f"{compiled.model.name} can't be exported as a program: {one_line(error, 300)}") from error
    names, module = list(step(*batches[0]).named), exported.module()
    agreement = compared(step, lambda *batch: dict(zip(names, module(*batch), strict=True)), batches)
    if not agreement.good:
        raise ModelError(f"the program of {compiled.model.name} does not answer as the network does: {agreement}")
    return Program(exported, {**compiled.facts, "agreement": asdict(agreement)}, agreement)
