"""``butler decertify-calibrations``."""

from __future__ import annotations

__all__ = ["decertify_calibrations"]

from typing import Any

import click
from lsst.daf.butler.cli.opt import options_file_option, repo_argument
from lsst.daf.butler.cli.utils import ButlerCommand

from ._calibrations import calibration_collection_option, detector_option, validity_options


@click.command("decertify-calibrations", cls=ButlerCommand, short_help="Take calibrations out of a range of time.")
@repo_argument(required=True)
@click.argument("dataset-type")
@calibration_collection_option()
@validity_options("Begin of the range.", "End of the range.")
@detector_option()
@click.option("--dry-run", is_flag=True, help="Report what would be taken out.")
@options_file_option()
def decertify_calibrations(**kwargs: Any) -> None:
    """Take the calibrations of DATASET_TYPE out of a range of time.

    What is valid beyond the range stays valid there. The files and datasets
    stay in the repository. The exit status is 1 if nothing was valid there.
    """
    from ..script import decertify_calibrations as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)
