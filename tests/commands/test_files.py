"""Networks that a file holds whole, at a shell: grey or in colour, explained where it is worth most."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from limelight.cli import main
from tests.pictures import noise

SIDE = 16


def network(channels: int) -> nn.Module:
    torch.manual_seed(0)
    body = nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, channels in {"grey": 1, "colour": 3, "four": 4}.items():
        torch.save(network(channels), folder / f"{name}.pt")
    noise().save(folder / "photo.png")
    return folder


def run(*args: object) -> dict:
    result = CliRunner().invoke(main, [*map(str, args), "--json"])
    assert result.exit_code in (0, 1), (result.stderr, result.exception)
    return json.loads(result.stdout)


def refused(*args: object) -> str:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert (result.exit_code, result.stdout) == (2, ""), result.exception
    (said,) = result.stderr.splitlines()
    return said


def saved(folder: Path, name: str) -> tuple[object, ...]:
    return folder / f"{name}.pt", "--trust", "--input-size", SIDE


@pytest.mark.parametrize("command", ["explain", "compare"])
def test_the_layers_that_layers_calls_auto_are_explained(folder, command):
    names = run("layers", *saved(folder, "colour"), "--on", folder / "photo.png")["best"]
    methods = ("--methods", "gradcam") if command == "compare" else ()
    found = run(command, folder / "photo.png", "--layer", "auto", *methods, "--model", *saved(folder, "colour"))
    (entry,) = found["methods"] if command == "compare" else found["images"][0]["targets"]
    assert [entry["layer"]] == names


def test_a_greyscale_network_is_given_grey_photographs(folder):
    (image,) = run("explain", folder / "photo.png", "--model", *saved(folder, "grey"))["images"]
    assert image["error"] is None and image["predictions"]
    assert run("layers", *saved(folder, "grey"))["layers"]
    assert run("doctor", *saved(folder, "grey"))["checks"]


def test_a_network_of_other_channels_is_refused(folder):
    assert "4 channels" in refused("explain", folder / "photo.png", "--model", *saved(folder, "four"))
