"""``butler ingest-level2``."""

from __future__ import annotations

__all__ = ["ingest_level2"]

from typing import Any

import click
from lsst.daf.butler.cli.utils import ButlerCommand

from ._options import ARCHIVE_TRANSFER, ingest_arguments, ingest_options


@click.command("ingest-level2", cls=ButlerCommand, short_help="Ingest Level 2 images of the SPHEREx archive.")
@ingest_arguments("By default it matches all FITS files but those with names of calibrations of the archive.")
@click.option(
    "--dataset-type",
    default="level2",
    show_default=True,
    help="Name of the dataset type that the files become. Another one keeps cutouts apart.",
)
@click.option(
    "--processing-run",
    help="Processing run of files that tell it neither by their name nor by a directory <run>/<detector>/, such as "
    "l2b-v20-2025-299.",
)
@ingest_options(**ARCHIVE_TRANSFER)
def ingest_level2(**kwargs: Any) -> None:
    """Ingest Level 2 images of the SPHEREx archive, whole frames or cutouts.

    Each processing run becomes a RUN collection SPHEREx/level2/<run>. The
    collection SPHEREx/level2 finds the newest version of every image. Of
    remote files the headers are read and nothing else.

    The same command can be given again at any time, after an interruption for
    instance: what is there already stays as it is.
    """
    from ..script import ingest_level2 as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)
