"""``butler check-provenance``."""

from __future__ import annotations

__all__ = ["check_provenance"]

from typing import Any

import click
from lsst.daf.butler.cli.opt import collections_option, options_file_option, repo_argument, where_option
from lsst.daf.butler.cli.utils import ButlerCommand


@click.command(
    "check-provenance", cls=ButlerCommand, short_help="Compare images with the calibrations they were made with."
)
@repo_argument(required=True)
@click.option("--dataset-type", default="level2", show_default=True, help="Name of the dataset type of the images.")
@collections_option(help="Collections with the images, all versions of which are looked at. Default is SPHEREx/level2.")
@click.option("--instrument", default="SPHEREx", show_default=True, help="Name of the instrument of the images.")
@where_option()
@click.option(
    "-j",
    "--processes",
    "threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of threads that read headers. More than one helps where files are slow to reach.",
)
@options_file_option()
def check_provenance(**kwargs: Any) -> None:
    """Compare images with the calibrations that they were made with.

    The header of an image lists the dataset ids of its calibrations. It
    reports how many of them are in the repository, by dataset type, and
    images with a calibration that is younger than they claim to be: those
    were made anew under an old name. Of each image the header is read.

    The exit status is 1 if an image could not be read, was made anew, or
    contradicts the repository. Calibrations that have not been ingested are
    no failure.
    """
    from ..script import check_provenance as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)
