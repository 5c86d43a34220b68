"""``butler ingest-simulated``."""

from __future__ import annotations

__all__ = ["ingest_simulated"]

from typing import Any

import click
from lsst.daf.butler.cli.opt import run_option
from lsst.daf.butler.cli.utils import ButlerCommand

from ._options import ingest_arguments, ingest_options


@click.command("ingest-simulated", cls=ButlerCommand, short_help="Ingest files of the SPHEREx simulator.")
@ingest_arguments(
    "By default it matches the raw images, sim_exposure_<exposure>_array_<detector>.fits. "
    "For dark current maps use 'dark_current.fits'."
)
@click.option(
    "--ingest-type",
    default="rawexp",
    show_default=True,
    help="Name of the dataset type that the files become.",
)
@run_option(help="Name of the RUN collection that the files go to. Default is the ingest type and 'r'.")
@click.option(
    "--group",
    help="Name of the group of the exposures. Default is the date of the observation, YYYYMMDD, or if the "
    "header does not tell it the date of the first ingest of that exposure.",
)
@ingest_options()
def ingest_simulated(**kwargs: Any) -> None:
    """Ingest raw images or dark current maps of the SPHEREx simulator.

    The same command can be given again at any time, after an interruption for
    instance: what is there already stays as it is.
    """
    from ..script import ingest_simulated as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)
