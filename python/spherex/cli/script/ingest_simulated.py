"""``butler ingest-simulated``: from options to an ingest."""

from __future__ import annotations

__all__ = ["ingest_simulated"]

from collections.abc import Sequence

import click

from spherex.ingest.simulated import RAW_REGEX, SimulatedDescriber

from ._run import run_ingest


def ingest_simulated(
    repo: str,
    locations: Sequence[str],
    regex: str | None,
    ingest_type: str,
    output_run: str | None,
    group: str | None,
    transfer: str,
    processes: int,
    fail_fast: bool,
    skip_existing: bool,
    update_records: bool,
    dry_run: bool,
    track_file_attrs: bool,
) -> bool:
    """Ingest files of the SPHEREx simulator.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    locations
        Paths or URIs of files and directories.
    regex
        Searched for in names of files; by default it matches raw images.
    ingest_type
        Name of the dataset type.
    output_run
        Name of the RUN collection; by default ``ingest_type`` and ``r``.
    group
        Name of the group of the exposures; by default their date.
    transfer
        Transfer mode.
    processes
        Number of threads that read headers.
    fail_fast
        Stop at the first file that fails.
    skip_existing
        Pass over files that are there without reading them.
    update_records
        Let headers overwrite dimension records.
    dry_run
        Do everything but write.
    track_file_attrs
        Record the sizes of files.

    Returns
    -------
    bool
        Whether every file is in the repository now.
    """
    try:
        describer = SimulatedDescriber(ingest_type, output_run or f"{ingest_type}r", group)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--group") from None
    return run_ingest(
        repo,
        describer,
        locations,
        regex or RAW_REGEX,
        transfer=transfer,
        threads=processes,
        fail_fast=fail_fast,
        skip_existing=skip_existing,
        update_records=update_records,
        dry_run=dry_run,
        track_file_attrs=track_file_attrs,
    )
