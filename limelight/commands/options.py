"""Options that several commands share, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from limelight import stores
from limelight.errors import InputError, LimelightError, one_line
from limelight.shell import option

if TYPE_CHECKING:
    import torch

    from limelight.models import Model

DEFAULT_MODEL = "efficientnet_lite0"
DEFAULT_OUT = Path("limelight-out")


def placed(_: click.Context, __: click.Parameter, name: str | None) -> Path | None:
    """An option's file or folder, of this machine or by its URL of a store."""
    try:
        return None if name is None else stores.path_of(name)
    except LimelightError as error:
        raise click.BadParameter(str(error)) from error


NATURAL = click.IntRange(min=1)
NORMS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "unit": ((0.0,) * 3, (1.0,) * 3),
}
FITS = click.Choice(["crop", "whole", "pad"])
FIT = "What the network sees: the middle, as it was evaluated; all of it, squeezed; or all of it, letter-boxed."

# Which heading of the help an option stands under.
network = partial(option, heading="The network")
question = partial(option, heading="What is explained")
pictures = partial(option, heading="The pictures")
json_option = option("--json", "as_json", is_flag=True, help="One JSON document on stdout, and nothing else there.")


_MODEL = "A name from `limelight models`, or a checkpoint."
WEIGHTS = 'A file, or "random".  [default: the published ones]'
_TRUST = "Let a file run what it says, to read a network that was saved whole. Only if you know where it is from."
_SIZE = "What a network that comes without preprocessing is given: pictures of this size."
_NORM = "And how their values are scaled: as for ImageNet, to [-1, 1], or to [0, 1]."
_DEVICE = "cpu, cuda, cuda:1 or mps.  [default: the fastest here]"


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--model`` and :func:`network_options`: what :func:`load_model` takes."""
    return _model(network_options(function))


def network_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--weights``, ``--device`` and :func:`file_options`."""
    return _weights(file_options(function))


def file_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--input-size``, ``--norm`` and ``--trust``, which :func:`load_model` reads itself."""
    kept = partial(network, expose_value=False, callback=_kept)
    scaled = click.Choice(list(NORMS))
    function = kept("--trust", is_flag=True, help=_TRUST)(function)
    function = kept("--norm", type=scaled, default="imagenet", show_default=True, help=_NORM)(function)
    return kept("--input-size", type=Size(), metavar="N|HxW", help=_SIZE)(function)


def named_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--model``, ``--weights`` and ``--device``: for what can't work on a network that is nothing but a file."""
    return _model(_weights(function))


def _model(function: Callable[..., Any]) -> Callable[..., Any]:
    return network("--model", default=DEFAULT_MODEL, metavar="NAME|PATH", show_default=True, help=_MODEL)(function)


def _weights(function: Callable[..., Any]) -> Callable[..., Any]:
    function = network("--device", default="auto", metavar="NAME", help=_DEVICE)(function)
    return network("--weights", default="default", metavar="FILE", help=WEIGHTS)(function)


def _kept(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep an option that :func:`load_model` reads, so that no command has to hand it on."""
    ctx.meta[f"limelight.{param.name}"] = value


class Size(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """A side, or height and width."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        """(height, width)."""
        sides = str(value).lower().split("x")
        if not all(side.isdecimal() and int(side) for side in sides) or len(sides) > 2:
            self.fail(f"{value!r} is neither PIXELS nor HEIGHTxWIDTH", param, ctx)
        return int(sides[0]), int(sides[-1])


def load_model(model: str, weights: str, device: str) -> Model:
    """The network that the shared options name, on its device.

    Raises:
        InputError: no such device, or it can't be used here; a network of other channels than photographs have.
        ModelError: no such network, or no weights for it.
    """
    from limelight.models import load
    from limelight.preparing import channels_of
    from limelight.preprocessing import Preprocessing

    context = click.get_current_context(silent=True)
    told = {} if context is None else context.meta
    loaded = load(model, weights=weights, device=find_device(device), trust=told.get("limelight.trust", False))
    if (size := told.get("limelight.input_size")) is None:
        return loaded
    if loaded.preprocessing is not None:
        return replace(loaded, preprocessing=replace(loaded.preprocessing, size=size))
    mean, std = NORMS[told["limelight.norm"]]
    if (channels := channels_of(loaded.network)) == 1:  # a greyscale network
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    elif channels != 3:
        raise InputError(
            f"{loaded.name} takes pictures of {channels} channels, and photographs have 3, or 1 in grey: give it "
            "tensors, limelight.explain(network, tensors)"
        )
    return replace(loaded, preprocessing=Preprocessing(size, mean, std, crop=1.0))


def find_device(name: str) -> torch.device:
    """The device that ``--device`` names, tried.

    Raises:
        InputError: no such device, or it can't be used here.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"no device is called {name!r}: give cpu, cuda, cuda:1, mps or auto") from None
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {name!r} can't be used here: {one_line(error).partition('. ')[0]}") from error
    return device


def layer_of(layers: Sequence[str]) -> Any:
    """Where maps are drawn by ``--layer``, which may be repeated: a name alone may be "auto"; None for none."""
    return list(layers) if len(layers) > 1 else next(iter(layers), None)


def target_of(targets: Sequence[str], top: int | None, labels: Sequence[str] | None) -> Any:
    """What is asked of the network by ``--target`` and ``--top``."""
    from limelight.targets import Each, Top

    # A number is an index, unless the network has a class of that very name (digits, years).
    asked = [int(name) if name.isdecimal() and name not in (labels or ()) else name for name in targets]
    asked += [Top(top)] if top else []
    return Each(tuple(asked)) if asked else None
