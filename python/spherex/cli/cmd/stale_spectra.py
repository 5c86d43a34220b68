"""``butler stale-spectra``."""

from __future__ import annotations

__all__ = ["stale_spectra"]

from typing import Any

import click
from lsst.daf.butler.cli.opt import options_file_option, repo_argument, where_option
from lsst.daf.butler.cli.utils import ButlerCommand


@click.command("stale-spectra", cls=ButlerCommand, short_help="List spectra whose inputs have been superseded.")
@repo_argument(required=True, help="REPO is the URI or path of an existing repository.")
@click.argument("collection")
@click.option("--dataset-type", default="spectrum", show_default=True, help="Dataset type of the spectra.")
@click.option(
    "--images", default="SPHEREx/level2", show_default=True, help="Collection of the images, the newest first."
)
@click.option("--calibrations", default="SPHEREx/calib", show_default=True, help="Collection of the calibrations.")
@click.option(
    "--catalogs",
    default="catalogs/{catalog}",
    show_default=True,
    help="Collection of the catalogue, the newest version first; {catalog} stands for its name.",
)
@where_option(help="Data query that the spectra were made with. Images that it does not choose are not missed.")
@click.option(
    "--failed",
    is_flag=True,
    help="List spectra with measurements that failed, too, so that they can be made again.",
)
@click.option(
    "--reason",
    help="List those of --failed alone whose reason, as their rows tell it, has this text, such as 'no pixels'.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "ecsv"]),
    default="text",
    show_default=True,
    help="Form of the list.",
)
@click.option(
    "--print-query",
    type=click.Choice(["targets", "images"]),
    help="Instead of the list, print data queries that make pipetask remake these spectra, one a line: of their "
    "targets, or of the images that have to be measured again. There is no output if no spectrum is stale.",
)
@options_file_option()
def stale_spectra(**kwargs: Any) -> None:
    """List the spectra in COLLECTION that would be others today.

    Either a newer version of an image is there, or another image that
    contains the target, or another calibration is valid at the time of an
    exposure, or the target has another position in the catalogue. The exit status is 0 whether there are any or not.
    """
    from ..script import stale_spectra as script

    script(**kwargs)
