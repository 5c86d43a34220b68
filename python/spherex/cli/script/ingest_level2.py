"""``butler ingest-level2``: from options to an ingest."""

from __future__ import annotations

__all__ = ["ingest_level2"]

from collections.abc import Sequence
from typing import Any

import click

from spherex.archive import ArchiveNameError, ProcessingRun
from spherex.ingest.level2 import FITS_REGEX, Level2Describer

from ._run import run_ingest


def ingest_level2(
    repo: str,
    locations: Sequence[str],
    regex: str | None,
    dataset_type: str,
    processing_run: str | None,
    processes: int,
    **choices: Any,
) -> bool:
    """Ingest Level 2 images of the archive.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    locations
        Paths or URIs of files, of directories, and of lists of such addresses.
    regex
        Searched for in names of files; by default it matches FITS files.
    dataset_type
        Name of the dataset type.
    processing_run
        Run of files that do not tell it.
    processes
        Number of threads that read headers.
    **choices
        Other fields of `spherex.ingest.IngestOptions`.

    Returns
    -------
    bool
        Whether every file is in the repository now.
    """
    try:
        run = None if processing_run is None else ProcessingRun.parse(processing_run)
    except ArchiveNameError as error:
        raise click.BadParameter(f"{error}.", param_hint="--processing-run") from None
    describer = Level2Describer(dataset_type, run)
    return run_ingest(repo, describer, locations, regex or FITS_REGEX, threads=processes, **choices)
