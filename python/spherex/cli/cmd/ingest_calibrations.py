"""``butler ingest-calibrations``."""

from __future__ import annotations

__all__ = ["ingest_calibrations"]

from typing import Any

import click
from lsst.daf.butler.cli.utils import ButlerCommand

from ._calibrations import calibration_collection_option, validity_options
from ._options import ARCHIVE_TRANSFER, ingest_arguments, ingest_options


@click.command(
    "ingest-calibrations", cls=ButlerCommand, short_help="Ingest and certify calibrations of the SPHEREx archive."
)
@ingest_arguments("By default it matches names of the archive, except those of images.")
@calibration_collection_option()
@validity_options("Begin of the validity.", "End of the validity.")
@click.option(
    "--id",
    "ids",
    metavar="FILE=UUID",
    multiple=True,
    help="Dataset id that the SPHEREx pipeline gave to a calibration, as in the HISTORY of images; FILE is its name "
    "without directory. May be given several times.",
)
@click.option(
    "--ids",
    "ids_file",
    metavar="URI",
    help="YAML or JSON file with such ids: a mapping from names of files to UUIDs.",
)
@click.option(
    "--dataset-type-prefix",
    default="",
    help="Put in front of the archive's names of dataset types, where those are taken. Default is nothing.",
)
@ingest_options(**ARCHIVE_TRANSFER)
def ingest_calibrations(**kwargs: Any) -> None:
    """Ingest calibrations of the SPHEREx archive, and certify them.

    Each processing run becomes a RUN collection SPHEREx/calib/<run>. In the
    CALIBRATION collection SPHEREx/calib the newest run is valid: it takes the
    place of older ones where they overlap, and never the other way.

    The same command can be given again at any time, after an interruption for
    instance: what is there already stays as it is, its validity too unless
    --begin-date or --end-date is given.
    """
    from ..script import ingest_calibrations as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)
