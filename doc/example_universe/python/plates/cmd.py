"""``butler register-plates``."""

from __future__ import annotations

import click
from lsst.daf.butler.cli.opt import repo_argument
from lsst.daf.butler.cli.utils import ButlerCommand


@click.command(cls=ButlerCommand, short_help="Register the plates of a plate book.")
@repo_argument(required=True)
@click.argument("plate_book")
def register_plates(repo: str, plate_book: str) -> None:
    """Register the plates that the table PLATE_BOOK lists."""
    from .script import register_plates as script

    click.echo(f"{script(repo, plate_book)} plates registered")


def get_cli_subcommands() -> list[click.Command]:
    """Return the commands, for the entry point in pyproject.toml."""
    return [register_plates]
