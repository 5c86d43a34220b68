"""``butler register-plates``."""

from __future__ import annotations

import click
from lsst.daf.butler.cli.opt import repo_argument
from lsst.daf.butler.cli.utils import ButlerCommand


@click.command(cls=ButlerCommand, short_help="Register the plates of a plate book.")
@repo_argument(required=True)
@click.argument("plate_book")
@click.option("--update", is_flag=True, help="Correct the records of plates that differ from the table.")
@click.option("--scans", metavar="DIRECTORY", help="Ingest the files plate_NUMBER.fits there, too.")
def register_plates(repo: str, plate_book: str, update: bool, scans: str | None) -> None:
    """Register the plates that the table PLATE_BOOK lists."""
    from .script import register_plates as script

    inserted, updated, unchanged = script(repo, plate_book, update, scans)
    click.echo(f"{inserted} plates registered, {updated} updated, {unchanged} unchanged")


def get_cli_subcommands() -> list[click.Command]:
    """Return the commands, for the entry point in pyproject.toml."""
    return [register_plates]
