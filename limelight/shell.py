"""A command-line program whose errors are one line and an exit code, and whose help has headings."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import click

from limelight.errors import LimelightError, ZeroMapWarning, closest, one_line

INTERRUPTED = 130  # as shells have it: 128 and the number of the signal
OTHER = "Other options"


class Refused(click.ClickException):
    """An error that has been understood, or not; one line either way."""

    exit_code = 2


class Option(click.Option):
    """An option that says under which heading the help lists it."""

    def __init__(self, *args: Any, heading: str = OTHER, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.heading = heading

    def get_help_extra(self, ctx: click.Context) -> Any:
        """What click adds to the help, without the ranges: "[x>=1]" is said better by the name of the value."""
        return {name: fact for name, fact in super().get_help_extra(ctx).items() if name != "range"}


class Command(click.Command):
    """A command whose errors are one line, with ``--debug`` to see where they came from."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.params.append(Option(["--debug"], is_flag=True, help="Show where an error came from."))

    def invoke(self, ctx: click.Context) -> Any:
        """Run; turn any error into one line."""
        debug = ctx.params.pop("debug")
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", category=ZeroMapWarning)  # each is told with its own picture
                warnings.showwarning = lambda message, *where, **more: _say(f"warning: {one_line(message)}")
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException, BrokenPipeError):
            raise
        except Exception as error:
            if debug:
                traceback.print_exc()
            raise Refused(_told(error)) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options under their headings."""
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        headings = dict.fromkeys(_heading(option) for option in options if isinstance(option, Option))
        for heading in headings:
            records = (option.get_help_record(ctx) for option in options if _heading(option) == heading)
            with formatter.section(heading):
                formatter.write_dl([record for record in records if record])


class Group(click.Group):
    """Commands, with "did you mean" for a misspelt one; what stops one is told on stderr, in one line."""

    command_class = Command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a program: ends with an exit code, 2 for whatever was refused."""
        try:
            sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except click.Abort:
            _say("interrupted: what was done is kept")
            sys.exit(INTERRUPTED)
        except click.UsageError as error:
            where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
            _say(f"error: {one_line(error.format_message()).rstrip('.')}{where}")
            sys.exit(error.exit_code)
        except click.ClickException as error:
            _say(f"error: {error.format_message()}")
            sys.exit(error.exit_code)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command named first."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}.{closest(args[0], self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)


def command(**facts: Any) -> Callable[[Callable[..., Any]], Command]:
    """A command, as in click, whose errors are one line. A group takes it up with ``add_command``."""
    return click.command(cls=Command, **facts)


def option(*names: str, heading: str = OTHER, **facts: Any) -> Callable[..., Any]:
    """An option of a command, as in click, listed under a heading."""
    return click.option(*names, cls=Option, heading=heading, **facts)


def _heading(option: click.Option) -> str:
    return getattr(option, "heading", OTHER)


def _told(error: Exception) -> str:
    """An error in one line: our own as it is, any other with its kind and how to learn more."""
    text = one_line(error) or type(error).__name__
    if isinstance(error, LimelightError):
        return text
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return f"{type(error).__name__}: {text[:300]}{notes}; --debug shows where"


def _say(text: str) -> None:
    click.echo(text, err=True)
