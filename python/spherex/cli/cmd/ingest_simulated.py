"""``butler ingest-simulated``."""

from __future__ import annotations

__all__ = ["ingest_simulated"]

from typing import Any

import click
from lsst.daf.butler.cli.opt import (
    locations_argument,
    options_file_option,
    processes_option,
    regex_option,
    repo_argument,
    run_option,
    track_file_attrs_option,
    transfer_option,
)
from lsst.daf.butler.cli.utils import ButlerCommand


@click.command("ingest-simulated", cls=ButlerCommand, short_help="Ingest files of the SPHEREx simulator.")
@repo_argument(required=True, help="REPO is the URI or path of an existing repository.")
@locations_argument(
    required=True,
    help="LOCATIONS are files, or directories to search for files, on disk or at any URI that lsst.resources reads.",
)
@regex_option(
    help="Regular expression that is searched for in the names of files. By default it matches the raw "
    "images, sim_exposure_<exposure>_array_<detector>.fits. For dark current maps use 'dark_current.fits'."
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
@transfer_option()
@processes_option(help="Number of threads that read headers. More than one helps where files are slow to reach.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first file that fails.")
@click.option(
    "--skip-existing",
    is_flag=True,
    help="Pass over files whose dataset is in the repository, without reading them. Without this option "
    "they are compared with what was ingested.",
)
@click.option(
    "--update-records",
    is_flag=True,
    help="Let headers overwrite dimension records that differ. Unknown values are filled in without it.",
)
@click.option("--dry-run", is_flag=True, help="Do everything but write, and report what would be done.")
@track_file_attrs_option()
@options_file_option()
def ingest_simulated(**kwargs: Any) -> None:
    """Ingest raw images or dark current maps of the SPHEREx simulator.

    The same command can be given again at any time, after an interruption for
    instance: what is there already stays as it is.
    """
    from ..script import ingest_simulated as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)
