"""Networks of pictures and text (CLIP and its kin): alone with a picture they give the picture's embedding."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from limelight.borrow import unwrap
from limelight.cut import hooked
from limelight.errors import ModelError
from limelight.nested import describe
from limelight.targets.similarity import embedding_of
from limelight.views import view

OF_PICTURES = ("get_image_features", "encode_image")
"""What transformers and open_clip call the picture's side."""
OF_TEXT = ("get_text_features", "encode_text")


ANSWERING = ("BlipForQuestionAnswering",)
"""Networks of transformers whose decoder's scores stay inside."""


class TwoTowers:
    """What is put before such a network's own class."""

    def forward(self, *args: Any, **options: Any) -> Any:
        """A picture's embedding; with text as well, the network's own answer."""
        images = [*args, *options.values()]
        if len(images) == 1 and isinstance(images[0], Tensor) and images[0].is_floating_point():
            name = method_of(self, OF_PICTURES)
            assert name is not None, "that is what made it two towers"
            return embedding_of(getattr(self, name)(images[0]))
        return super().forward(*args, **options)  # type: ignore[misc]


class Answers:
    """What is put before a network that answers questions about pictures, and returns all but the words' scores."""

    text_decoder: nn.Module

    def forward(self, *args: Any, **options: Any) -> Any:
        """What its decoder of text says: ``logits (batch, positions, vocabulary)``, and no more."""
        heard: list[Any] = []
        with hooked(iter([(self.text_decoder, lambda module, given, gave: heard.append(gave))])):
            super().forward(*args, **options)  # type: ignore[misc]
        return {"logits": heard[-1].logits}


def method_of(network: object, names: tuple[str, ...]) -> str | None:
    """The first of these methods that a network has."""
    return next((name for name in names if callable(getattr(network, name, None))), None)


def picture_side(network: nn.Module) -> nn.Module:
    """A network of two towers seen from its pictures, one that answers questions from its words; any other as it is."""
    inner = unwrap(network)
    if any(kind.__name__ in ANSWERING for kind in type(inner).__mro__):
        return inner if isinstance(inner, Answers) else view(inner, Answers)
    if isinstance(inner, TwoTowers) or method_of(inner, OF_PICTURES) is None or method_of(inner, OF_TEXT) is None:
        return network
    return view(inner, TwoTowers)


def text_embedding(network: nn.Module, ids: Any) -> Tensor:
    """The text tower's embedding ``(texts, features)``.

    Raises:
        ModelError: the network has none.
    """
    name = method_of(network, OF_TEXT)
    if name is None:
        raise ModelError(
            f"{describe(ids)} is no picture, and this {type(network).__name__} embeds no text: it has neither "
            f"{' nor '.join(OF_TEXT)}"
        )
    return embedding_of(getattr(network, name)(**ids) if hasattr(ids, "keys") else getattr(network, name)(ids))
