"""What is asked at the shell beyond classes: a part of the photograph, all that is found, words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from limelight.commands.options import question
from limelight.errors import InputError, TargetError

if TYPE_CHECKING:
    from limelight.images import Photo
    from limelight.models import Model
    from limelight.preprocessing import Fit
    from limelight.targets.place import Place


class Numbers(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """Numbers with commas between."""

    name = "numbers"

    def __init__(self, *names: str):
        self.names = names

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        """The numbers; click's own error if they are not as many, or none."""
        try:
            found = tuple(float(each) for each in str(value).split(","))
        except ValueError:
            found = ()
        if len(found) != len(self.names):
            wanted = ",".join(self.names)
            self.fail(f"{value!r} is not {wanted}: {len(self.names)} numbers with commas between", param, ctx)
        return found


_OPTIONS = (
    question(
        "--box",
        type=Numbers("x0", "y0", "x1", "y1"),
        metavar="X0,Y0,X1,Y1",
        help="Why --target is there, in the photograph's pixels: of a detector, of a segmenter.",
    ),
    question("--point", type=Numbers("x", "y"), metavar="X,Y", help="The same of one pixel: of a segmenter."),
    question("--detections", is_flag=True, help="A map for all that a detector finds; with --top K the K best."),
    question("--word", metavar="WORD[@PLACE]", help="Of a captioner: why it says this word."),
    question("--words", is_flag=True, help="Of a captioner: a map for every word."),
    question("--sentence", is_flag=True, help="Of a captioner: a map for all its words."),
)


def question_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--box``, ``--point``, ``--detections``, ``--word``, ``--words``, ``--sentence``: what :class:`Beyond` holds."""
    for each in reversed(_OPTIONS):
        function = each(function)
    return function


@dataclass(frozen=True)
class Beyond:
    """What was asked beyond classes; at most one of these."""

    box: tuple[float, float, float, float] | None = None
    point: tuple[float, float] | None = None
    detections: bool = False
    word: str | None = None
    words: bool = False
    sentence: bool = False

    @classmethod
    def taken(cls, options: dict[str, Any]) -> Beyond:
        """Take the options out of a command's."""
        return cls(**{field.name: options.pop(field.name) for field in fields(cls)})

    @property
    def given(self) -> list[str]:
        """The options that were."""
        return [f"--{field.name}" for field in fields(self) if getattr(self, field.name) not in (None, False)]

    def check(self, targets: Sequence[str], top: int | None, plain: bool) -> None:
        """Find what does not go together.

        Raises:
            InputError: as said; ``plain`` is whether pictures are explained one by one, by the network itself.
        """
        if len(self.given) > 1:
            raise InputError(f"{' and '.join(self.given)}: ask one of them")
        if not self.given:
            return
        (name,) = self.given
        if not plain:
            raise InputError(f"{name} is for pictures explained one by one: without --format, a list, a tar, --engine")
        if self.box or self.point:
            if len(targets) > 1 or top:
                raise InputError(f"{name} asks about one class there: give one --target, and no --top")
            if self.box and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
                said = ",".join(f"{each:g}" for each in self.box)
                raise InputError(f"--box {said}: x0 must be below x1, y0 below y1")
        elif targets or (top and not self.detections):
            raise InputError(f"{name} says itself what is asked: leave --target and --top out")

    def target(self, asked: Any, top: int | None, model: Model, fit: Fit) -> Any:
        """The target; where it depends on the photograph, a function of it, in :class:`ByPhoto`."""
        from limelight import targets

        if self.detections:
            return targets.detections(most=top)
        if self.words or self.sentence:
            return targets.words() if self.words else targets.sentence()
        if self.word is not None:
            name, at, place = self.word.rpartition("@")
            said, where = (name, int(place)) if at and place.lstrip("-").isdecimal() else (self.word, None)
            labelled = said in (model.labels or ())
            return targets.word(int(said) if said.isdecimal() and not labelled else said or None, at=where)
        if self.box or self.point:
            inner = asked.targets[0] if asked is not None else None
            return ByPhoto(partial(self._placed, inner, model, fit))
        return asked

    def _placed(self, target: Any, model: Model, fit: Fit, photo: Photo) -> Place:
        """The box or point in pixels of the network's input, for one photograph."""
        from limelight.targets.place import Place

        x0, y0, x1, y1 = self.box or (*self.point, *self.point)  # type: ignore[misc]
        height, width = photo.pixels.shape[-2:]
        kind = self.given[0]
        before = min(x1, y1) <= 0 if self.box else min(x0, y0) < 0
        if before or x0 >= width or y0 >= height:
            said = ",".join(f"{each:g}" for each in self.box or self.point or ())
            raise TargetError(f"{kind} {said} lies outside the photograph of {width} x {height} (width x height)")
        if model.preprocessing is None:
            return Place(target, self.box, self.point)
        _, view = model.preprocessing(photo.pixels, fit)
        (a, b), (c, d) = view.to_input(x0, y0), view.to_input(x1, y1)
        rows, columns = view.input_size
        if not (a < columns and b < rows and c >= 0 and d >= 0):
            raise TargetError(f"{kind} lies outside what the network sees of the photograph: --fit whole shows it all")
        size = (rows, columns)
        return Place(target, (a, b, c, d), None, size) if self.box else Place(target, None, (a, b), size)


@dataclass(frozen=True)
class ByPhoto:
    """A target that each photograph has its own of."""

    of: Callable[[Photo], Place]
