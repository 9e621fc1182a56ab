"""What an interrupted run goes on from: every piece is written aside and renamed, so it is whole or not there.

Nothing here holds the state of a random generator: all random numbers of a step are drawn anew from the seed and the
step's own number, so a step done again is the same step.
"""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limelight.errors import InputError
from limelight.files import forget_partial, told, write_whole
from limelight.models.checkpoint import own_copies
from limelight.training.run import STATE, finished
from limelight.training.settings import Settings

JOB = "job.json"


class State:
    """The folder RUN/state."""

    def __init__(self, run: Path):
        self.folder = run / STATE

    def tensors(self, name: str) -> dict[str, Tensor] | None:
        """The tensors kept under ``name``, or None."""
        from safetensors.torch import load_file

        file = self.folder / f"{name}.safetensors"
        return load_file(file) if file.is_file() else None

    def keep_tensors(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Keep tensors under ``name``, in the place of others of that name."""
        from safetensors.torch import save

        write_whole(self.folder / f"{name}.safetensors", save(own_copies(tensors)))

    def values(self, name: str) -> dict[str, Any] | None:
        """The nested values and tensors kept under ``name``, or None. No code from the file is run."""
        file = self.folder / f"{name}.pt"
        return torch.load(file, map_location="cpu", weights_only=True) if file.is_file() else None

    def keep_values(self, name: str, values: dict[str, Any]) -> None:
        """Keep nested plain values and tensors under ``name``."""
        file = io.BytesIO()  # written to a file, torch.save hides why the system refused it
        torch.save(values, file)
        write_whole(self.folder / f"{name}.pt", file.getvalue())

    def same_job(self, facts: dict[str, Any]) -> None:
        """Write down what this run is of, or see that it is what was written down. ``InputError`` where it is not."""
        file = self.folder / JOB
        facts = json.loads(json.dumps(facts))
        kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        changed = [name for name in facts if kept.get(name, facts[name]) != facts[name]]
        if changed:
            name = changed[0]
            was = "other pictures or labels" if name == "pictures" else f"{name} {kept[name]!r}, not {facts[name]!r}"
            raise InputError(f"{self.folder.parent} was begun with {was}: go on with those, or give another folder.")
        if not facts.keys() <= kept.keys():
            write_whole(file, json.dumps(kept | facts, indent=1))

    def forget_unbegun(self) -> None:
        """Remove the run's folder where there is nothing in it to go on from: no more than what it was to be of."""
        if {file.name for file in self.folder.parent.rglob("*")} <= {STATE, JOB}:
            shutil.rmtree(self.folder.parent)

    def clear(self) -> None:
        """Remove it: the run is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)


def claim(run: Path, resume: bool) -> bool:
    """Make the folder ours; whether a run has already finished in it.

    Raises ``InputError`` for a folder that holds anything else, or a run that was not to be gone on with.
    """
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} is a file: give a folder for the run.")
    done, begun = finished(run), (run / STATE).is_dir()
    if (done or begun) and not resume:
        what = "a finished run" if done else "an interrupted run (--resume goes on with it)"
        raise InputError(f"{run} holds {what}: give another folder.")
    if not done and not begun and run.is_dir() and any(run.iterdir()):
        raise InputError(f"{run} is not empty: give a new folder.")
    if not done:
        with told(run / STATE):
            (run / STATE).mkdir(parents=True, exist_ok=True)
    forget_partial(run)
    return done


def settings_as_facts(settings: Settings) -> dict[str, Any]:
    """Every setting by name, for the card and for :meth:`State.same_job`."""
    return asdict(settings)
