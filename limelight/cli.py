"""The command line: which commands there are. Nothing heavy is imported until one runs."""

from __future__ import annotations

import click

from limelight.commands.compare import compare
from limelight.commands.doctor import doctor
from limelight.commands.evaluate import evaluate
from limelight.commands.explain import explain
from limelight.commands.export import export
from limelight.commands.gallery import gallery
from limelight.commands.grains import grains
from limelight.commands.layers import layers
from limelight.commands.methods import methods
from limelight.commands.models import models
from limelight.commands.paper import paper
from limelight.commands.study import study
from limelight.commands.train import train
from limelight.commands.video import video
from limelight.shell import Group

COMMANDS = (
    explain,
    gallery,
    video,
    compare,
    evaluate,
    train,
    study,
    paper,
    export,
    grains,
    layers,
    doctor,
    models,
    methods,
)


@click.group(cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="limelight")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Where a vision model looked, and whether to believe it.

    \b
    limelight explain cat.jpg                  what a network sees, and where
    limelight explain photos/ --json           a folder's worth, for a program
    limelight explain cat.jpg --target tabby   where it sees what you choose
    limelight compare cat.jpg --methods fast   by several methods, side by side
    limelight train photos/ --out run          a network of your own
    limelight study photos/                    what a classifier of them learns
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for each in COMMANDS:
    main.add_command(each)

if __name__ == "__main__":
    main()
