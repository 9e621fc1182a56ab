"""A page as HTML: everything in one file."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from limelight import __version__
from limelight.errors import MissingExtra
from limelight.report import sheet
from limelight.report.blocks import Page

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = files("limelight.report") / "templates"


def html(page: Page) -> str:
    """The page as one HTML document that refers to nothing outside itself.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    environment = _environment()
    return environment.get_template("page.html").render(page=page, version=__version__)


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as missing:
        raise MissingExtra("jinja2", "report", "A page") from missing

    def inlined(name: str) -> Any:
        return Markup(_TEMPLATES.joinpath(name).read_text(encoding="utf-8"))

    environment = Environment(
        loader=FunctionLoader(lambda name: _TEMPLATES.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["inlined"] = inlined
    environment.filters["percent"] = percent
    environment.filters["data"] = lambda block: Markup(sheet.data(block))
    return environment


def percent(share: float) -> str:
    """A share as a person would say it: whole per cents, and tenths where they matter.

    Never "100%" or "0%" for what is only nearly so.
    """
    value = share * 100
    if 0 < value < 1 or 99 < value < 100:
        return f"{min(max(value, 0.1), 99.9):.1f}%"
    return f"{value:.0f}%"
