"""``butler register-targets``."""

from __future__ import annotations

__all__ = ["register_targets"]

from collections.abc import Callable
from typing import Any

import click
from lsst.daf.butler.cli.opt import options_file_option, repo_argument
from lsst.daf.butler.cli.utils import ButlerCommand

_COLUMNS = {
    "name": "names",
    "ra": "right ascensions",
    "dec": "declinations",
    "pmra": "proper motions in right ascension on the sky, cos(dec) included",
    "pmdec": "proper motions in declination",
    "ref_epoch": "Julian years in which the positions hold",
}


def _column_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, text in reversed(_COLUMNS.items()):
        option = f"--{name.replace('_', '-')}-column"
        command = click.option(option, metavar="NAME", help=f"Column with the {text}. Default is a usual name.")(
            command
        )
    return command


@click.command("register-targets", cls=ButlerCommand, short_help="Register a catalogue of targets.")
@repo_argument(required=True)
@click.argument("catalog_name")
@click.argument("file")
@_column_options
@click.option("--update", is_flag=True, help="Replace the rows of a catalogue that is there: add and move targets.")
@click.option("--dry-run", is_flag=True, help="Check the file, say what would be done, and do nothing.")
@options_file_option()
def register_targets(**kwargs: Any) -> None:
    """Register the sources of FILE as targets of the catalogue CATALOG_NAME.

    FILE is an ECSV, CSV, FITS, VOTable or parquet table with a name, a right
    ascension and a declination (ICRS) in each row, perhaps proper motions with
    their epoch, and any other columns. It is kept whole as the dataset
    target_catalog in the collection catalogs/CATALOG_NAME, which pipelines
    take as input.

    If any row cannot be a target, all such rows are told, nothing is
    registered and the exit status is 1.
    """
    from ..script import register_targets as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)
