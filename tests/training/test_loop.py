"""Training the whole network: from nothing, from what has learnt; the schedule; interruption at every write."""

from __future__ import annotations

import csv
import json
import os

import pytest
import torch

from limelight.errors import InputError
from limelight.training import Settings, train
from limelight.training.loop import schedule
from tests.training.sets import learnt, two_classes

SIZE, EPOCHS = 16, 3
HOW = {"model": "small_cnn", "size": SIZE, "epochs": EPOCHS, "augment": "light", "batch_size": 8}


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return two_classes(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """A run that nothing disturbed, and how many files it put in place."""
    placed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda a, b, put=os.replace: placed.append(str(b)) or put(a, b))
        run = train(folder, tmp_path_factory.mktemp("runs") / "whole", **HOW)
    return run, placed


def contents(run):
    """The bytes of all that a finished run leaves, but for the card's date."""
    files = {file.name: file.read_bytes() for file in run.folder.iterdir()}
    card = json.loads(files.pop("card.json"))
    del card["finished"]
    return files, card | {"weights": None}


def test_a_small_network_learns_from_nothing(whole):
    run, _ = whole
    assert run.accuracy == 1.0
    assert run.model().name == "limelight/small_cnn"
    assert run.report["phase"] == "from scratch"


def test_a_run_leaves_what_it_promises_and_nothing_else(whole):
    run, _ = whole
    assert {file.name for file in run.folder.iterdir()} == {
        "model.safetensors",
        "card.json",
        "report.json",
        "predictions.parquet",
        "log.csv",
        "log.jsonl",
    }
    rows = list(csv.DictReader((run.folder / "log.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[0]["train_loss"]) > 0
    assert [json.loads(line)["epoch"] for line in (run.folder / "log.jsonl").read_text().splitlines()] == [1, 2, 3]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(whole, folder, tmp_path):
    run, _ = whole
    assert contents(train(folder, tmp_path / "again", **HOW)) == contents(run)
    other = train(folder, tmp_path / "other", **HOW, seed=1)
    assert (other.folder / "model.safetensors").read_bytes() != (run.folder / "model.safetensors").read_bytes()


def test_a_run_killed_before_any_write_and_resumed_ends_the_same(whole, folder, tmp_path, monkeypatch):
    run, placed = whole
    wanted, put = contents(run), os.replace
    last_epoch = [i for i, path in enumerate(placed) if path.endswith("epoch.pt")][1]
    for moment in [0, *range(last_epoch - 1, len(placed))]:  # the epochs between are alike
        left = moment

        def kill(source, target):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            put(source, target)

        out = tmp_path / str(moment)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(os, "replace", kill)
            train(folder, out, **HOW)
        assert contents(train(folder, out, **HOW, resume=True)) == wanted, placed[moment]


def test_the_caller_s_random_numbers_are_left_alone(folder, tmp_path):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    train(folder, tmp_path / "run", **HOW | {"epochs": 1})
    assert torch.equal(torch.rand(3), wanted)


def test_it_stops_when_nothing_is_gained_and_keeps_the_best(folder, tmp_path):
    run = train(folder, tmp_path / "run", **HOW | {"epochs": 40, "patience": 1, "learning_rate": 5.0})
    rows = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    best = min(range(len(rows)), key=lambda i: rows[i]["val_loss"])
    assert len(rows) < 40
    assert run.report["best_epoch"] == best + 1 == len(rows) - 1
    logits = run.report["splits"]["val"]["accuracy"]
    assert logits == pytest.approx(rows[best]["val_accuracy"])


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_either_optimiser_and_every_knob_trains(folder, tmp_path, optimiser):
    seen = []
    run = train(
        folder,
        tmp_path / "run",
        **HOW | {"augment": "strong"},
        optimiser=optimiser,
        label_smoothing=0.1,
        balance=True,
        warmup=0.0,
        loggers=[lambda step, values: seen.append((step, values["val_loss"]))],
    )
    assert [step for step, _ in seen] == [1, 2, 3]
    assert all(torch.isfinite(value).all() for value in run.model().network.state_dict().values())


def test_a_body_that_has_learnt_is_first_frozen_then_tuned(folder, tmp_path):
    learnt(tmp_path / "body.pt", "small_cnn")
    run = train(folder, tmp_path / "run", **HOW, weights=tmp_path / "body.pt", views=1)
    assert run.report["phase"] == "fine-tuned"
    assert run.accuracy == 1.0


def test_the_schedule_rises_then_falls_to_nothing():
    assert schedule(0.05, 0.1) == pytest.approx(0.5)
    assert schedule(0.1, 0.1) == pytest.approx(1.0)
    assert schedule(0.55, 0.1) == pytest.approx(0.5)
    assert schedule(1.0, 0.1) == pytest.approx(0.0)
    assert schedule(0.0, 0.0) == 1.0


class TestTheRunsFolder:
    def test_a_finished_run_is_not_overwritten_and_is_given_back(self, whole, folder):
        run, _ = whole
        with pytest.raises(InputError, match="holds a finished run: give another folder"):
            train(folder, run.folder, **HOW)
        assert train(folder, run.folder, **HOW, resume=True).report == run.report

    def test_a_folder_with_other_things_is_refused(self, folder, tmp_path):
        (tmp_path / "letter.txt").write_text("dear")
        for resume in (False, True):
            with pytest.raises(InputError, match="is not empty"):
                train(folder, tmp_path, **HOW, resume=resume)
        with pytest.raises(InputError, match="is a file"):
            train(folder, tmp_path / "letter.txt", **HOW)

    def test_an_interrupted_run_goes_on_with_the_same_job_only(self, folder, tmp_path, monkeypatch):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(Killed()))
            train(folder, tmp_path / "run", **HOW)
        with pytest.raises(InputError, match=r"interrupted run \(--resume goes on with it\)"):
            train(folder, tmp_path / "run", **HOW)
        with pytest.raises(InputError, match="was begun with epochs 3, not 4"):
            train(folder, tmp_path / "run", **HOW | {"epochs": 4}, resume=True)
        others = two_classes(tmp_path / "pictures", 6)
        with pytest.raises(InputError, match="was begun with other pictures or labels"):
            train(others, tmp_path / "run", **HOW, resume=True)

    def test_a_full_disk_is_told_and_nothing_is_lost(self, whole, folder, tmp_path, monkeypatch):
        """Full in the middle of the second epoch's checkpoint; then there is space again."""
        import errno
        from pathlib import Path

        write, written = Path.write_bytes, []

        def disk(self, content):
            written.append(self.name)
            if sum(name.endswith("epoch.pt") for name in written) == 2:
                write(self, content[:100])
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(self, content)

        out = tmp_path / "run"
        with (
            monkeypatch.context() as patch,
            pytest.raises(InputError, match=r"epoch\.pt can't be written: the disk is"),
        ):
            patch.setattr(Path, "write_bytes", disk)
            train(folder, out, **HOW)
        assert {file.name for file in (out / "state").iterdir()} == {"job.json", "best.safetensors", "epoch.pt"}
        assert contents(train(folder, out, **HOW, resume=True)) == contents(whole[0])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"augment": "stong"}, r"not one of .*Did you mean 'strong'"),
        ({"optimiser": "adam"}, "not one of adamw, sgd"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"size": 4}, "size must be at least 8"),
        ({"label_smoothing": 1.0}, "from 0 to below 1"),
        ({"learning_rate": 0.0}, "above 0"),
    ],
)
def test_settings_that_make_no_sense(wrong, said):
    with pytest.raises(InputError, match=said):
        Settings(**wrong)


def test_what_has_learnt_nothing_can_not_be_frozen(folder, tmp_path):
    with pytest.raises(InputError, match="has learnt nothing yet"):
        train(folder, tmp_path / "run", **HOW, frozen=True)
