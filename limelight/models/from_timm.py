"""Networks of timm, named as timm names them, with or without the tag of the weights."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from torch import nn

from limelight.models.architecture import IMAGENET, Architecture, State, fetched, imagenet_labels
from limelight.preprocessing import Preprocessing

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

SOURCE = "timm"
FILES = "model.safetensors", "pytorch_model.bin"  # in the order timm looks for them


def names() -> list[str]:
    """All networks, once for each of their published weights."""
    import timm

    return timm.list_models(include_tags=True)


def find(name: str) -> Architecture | None:
    """The network of this name, if there is one; without a tag, the one timm prefers."""
    import timm
    from timm.models import get_pretrained_cfg

    try:
        config = get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # the network exists, the tag does not
        config = None
    if config is None:
        return None
    name = full_name(str(config.architecture), config.tag)
    return Architecture(
        name,
        SOURCE,
        weights=(config.tag or "published") if config.has_weights else None,
        licence=config.license,
        num_classes=config.num_classes,
        origin=_origin(config),
        preprocessing=lambda: preprocessing(config.to_dict()),
        labels=lambda: labels(config.num_classes),
        on_this_machine=lambda: bool(_local(config)),
        # Unless told where the file is, timm asks its hub first, even for what lies in torch.hub's folder.
        published=lambda: timm.create_model(name, pretrained=True, pretrained_cfg_overlay=_local(config)),
        build=lambda num_classes, channels: timm.create_model(name, num_classes=num_classes, in_chans=channels),
        translate=_translate,
    )


def full_name(architecture: str, tag: str | None) -> str:
    """A network's name with the tag of its weights, where there is one."""
    return f"{architecture}.{tag}" if tag else architecture


def preprocessing(config: dict[str, Any]) -> Preprocessing:
    """A pretrained configuration -> what timm would do to a picture."""
    from timm.data.config import resolve_data_config

    data = resolve_data_config(pretrained_cfg=config)
    size, mean, std = (tuple(data[name]) for name in ("input_size", "mean", "std"))
    return Preprocessing(size[1:], mean, std, data["interpolation"], data["crop_pct"], data["crop_mode"])


def labels(num_classes: int) -> tuple[str, ...] | None:
    """Names of the classes when their number is that of an ImageNet set; timm itself goes by the number."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    if num_classes == IMAGENET:
        return imagenet_labels()
    subset = infer_imagenet_subset({"num_classes": num_classes})
    return tuple(ImageNetInfo(subset).label_descriptions()) if subset else None


def _origin(config: PretrainedCfg) -> str | None:
    from huggingface_hub.constants import ENDPOINT

    return ENDPOINT if config.hf_hub_id else _url(config)


def _url(config: PretrainedCfg) -> str | None:
    return config.url if isinstance(config.url, str) else None


def _local(config: PretrainedCfg) -> dict[str, Any]:
    """What to lay over the configuration so that the weights are read from this machine; empty if they are not here."""
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = (config.hf_hub_id or "").partition("@")
    for file in FILES if repository else ():
        found = try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(found, str):
            return {"file": found}
    url = _url(config)
    if url and fetched(url).is_file():
        return {"file": str(fetched(url)), "custom_load": config.custom_load}
    return {}


def _translate(state: State, network: nn.Module) -> State:
    # timm publishes some weights as their authors spelt them, and keeps the translation beside the network.
    spell = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if spell is None or state.keys() == network.state_dict().keys():
        return state
    try:
        return spell(dict(state), network)
    except Exception:  # made for timm's own files; what is wrong with any other is said when it is filled in
        return state
