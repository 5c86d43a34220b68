"""``butler list-calibrations``."""

from __future__ import annotations

__all__ = ["list_calibrations"]

from typing import Any

import click
from lsst.daf.butler.cli.opt import dataset_type_option, options_file_option, repo_argument
from lsst.daf.butler.cli.utils import ButlerCommand

from ._calibrations import calibration_collection_option, detector_option


@click.command("list-calibrations", cls=ButlerCommand, short_help="List calibrations with their validity.")
@repo_argument(required=True)
@calibration_collection_option()
@dataset_type_option(
    help="Names of dataset types, or glob-style patterns such as 'spectral_*', separated by commas. Default is all."
)
@detector_option()
@options_file_option()
def list_calibrations(**kwargs: Any) -> None:
    """List what is certified: type, detector, run, validity (TAI) and file.

    The exit status is 1 if nothing is.
    """
    from ..script import list_calibrations as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)
