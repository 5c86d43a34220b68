"""``butler register-plates``."""

from __future__ import annotations

import click
from lsst.daf.butler.cli.opt import repo_argument
from lsst.daf.butler.cli.utils import ButlerCommand


@click.command(cls=ButlerCommand, short_help="Register the plates of a plate book.")
@repo_argument(required=True)
@click.argument("plate_book", type=click.Path(exists=True, dir_okay=False))
@click.option("--update", is_flag=True, help="Correct the records of plates that differ from the table.")
@click.option(
    "--scans",
    metavar="DIRECTORY",
    type=click.Path(exists=True, file_okay=False),
    help="Ingest the files plate_NUMBER.fits there, too.",
)
@click.option("--run", default="scans", show_default=True, help="RUN of the scans: one for each version of them.")
def register_plates(repo: str, plate_book: str, update: bool, scans: str | None, run: str) -> None:
    """Register the plates that the table PLATE_BOOK lists."""
    from .script import register_plates as script

    done = script(repo, plate_book, update, scans, run)
    click.echo(f"{done.inserted} plates registered, {done.updated} updated, {done.unchanged} unchanged")
    if scans is not None:
        click.echo(f"{done.ingested} scans ingested, {done.kept} unchanged")


def get_cli_subcommands() -> list[click.Command]:
    """Return the commands, for the entry point in pyproject.toml."""
    return [register_plates]
