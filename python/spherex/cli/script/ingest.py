"""``butler ingest-simulated`` and ``butler ingest-level2``, and the common part of the ingest commands."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import click
from sqlalchemy.exc import SQLAlchemyError

from spherex.archive import ProcessingRun
from spherex.detectors import LEVEL2_TYPE
from spherex.errors import ArchiveNameError, IngestError, UserError, counted
from spherex.ingest import (
    FITS_REGEX,
    RAW_REGEX,
    IngestOptions,
    Level2Translator,
    SimulatedTranslator,
    ingest,
)
from spherex.repository import open_repository, refresh_statistics, register_instrument

from . import MANY, refresh_statistics_after, user_errors

if TYPE_CHECKING:
    from spherex.ingest import FileTranslator


_CONNECTIONS = 10
"""Connections that lsst.resources keeps open to a server by default."""

_LONGEST_LINE = 4096
"""Bytes of the first line of a list that are read; the longest path of Linux."""


@user_errors()
def run_ingest(
    repo: str,
    translator: FileTranslator,
    locations: Sequence[str],
    regex: str,
    list_stored: str | None = None,
    statistics_after: int = MANY,
    **choices: Any,
) -> bool:
    """Ingest files and print the report.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    translator
        Translator of the kind of file.
    locations
        URIs or local paths of files, of directories, and of lists of URIs.
    regex
        Regular expression for the names of files.
    list_stored
        Path of a file for the list of the originals that can be removed.
    statistics_after
        Number of new files after which the statistics of the database are
        refreshed.
    **choices
        Fields of `IngestOptions`.

    Returns
    -------
    bool
        Whether every file is in the repository now.
    """
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise click.BadParameter(f"{regex!r} is not a regular expression: {error}.", param_hint="--regex") from None
    try:
        options = IngestOptions(list_stored=list_stored is not None, **choices)
    except IngestError as error:
        raise click.UsageError(str(error)) from None
    if options.threads > _CONNECTIONS:
        # Otherwise each further request to S3 makes a connection of its own, which takes several round trips.
        os.environ.setdefault("LSST_RESOURCES_NUM_WORKERS", str(options.threads))
    if list_stored is not None:
        _check_list(list_stored, locations)
        # A list of an earlier ingest must not be taken for that of this one.
        _write_list(list_stored, [])

    def refresh() -> bool:
        # The ingest goes on without them; the command warns at its end.
        try:
            refresh_statistics(repo)
        except (OSError, SQLAlchemyError, UserError):
            return False
        return True

    with _StopRequest() as stop, open_repository(repo, not options.dry_run, translator.fields) as butler:
        if not options.dry_run:
            register_instrument(butler, repo, translator.instrument)
        report = ingest(butler, translator, locations, pattern, options, stop, bool if options.dry_run else refresh)
    if not options.dry_run and not report.obstacle:
        refresh_statistics_after(repo, report.ingested, statistics_after)
    for line in report.failure_lines():
        click.echo(line, err=True)
    for line in report.summary_lines():
        click.echo(line)
    if report.not_tried:
        click.echo("Run the same command again to continue.")
    if list_stored is not None:
        _write_list(list_stored, report.stored)
        click.echo(f"{counted(len(report.stored), 'original')} can be removed: listed in {list_stored}.")
    return report.is_success


def _check_list(path: str, locations: Sequence[str]) -> None:
    """Refuse to overwrite a file that is not a list of an earlier ingest."""
    if not os.path.isfile(path):
        return
    for location in locations:
        local = location.removeprefix("file://")
        if os.path.exists(local) and os.path.samefile(path, local):
            raise click.BadParameter(
                f"{path} is one of LOCATIONS and would be overwritten; choose another file.", param_hint="--list-stored"
            )
    try:
        with open(path, "rb") as stream:
            beginning = stream.readline(_LONGEST_LINE)
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read: {error.strerror}.", param_hint="--list-stored") from None
    if beginning and not (beginning.startswith(b"/") or b"://" in beginning):
        raise click.BadParameter(
            f"{path} exists and is not a list of originals; choose another file, or remove it.",
            param_hint="--list-stored",
        )


def _write_list(path: str, originals: Iterable[str]) -> None:
    try:
        with open(path, "w", encoding="utf-8") as stream:
            stream.writelines(f"{original}\n" for original in originals)
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be written: {error.strerror}.", param_hint="--list-stored") from None


class _StopRequest:
    """Handler of SIGTERM and SIGINT during an ingest.

    Code of other packages may swallow an exception from a signal handler. So
    the first signal is a request to stop after the exposures at hand, and a
    second one ends the process as usual.
    """

    def __init__(self) -> None:
        self._is_made = False
        self._previous: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        return self._is_made

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._notice)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _notice(self, number: int, frame: object) -> None:
        self._is_made = True
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())


def ingest_simulated(
    repo: str,
    locations: Sequence[str],
    regex: str | None,
    ingest_type: str,
    output_run: str | None,
    group: str | None,
    processes: int,
    **choices: Any,
) -> bool:
    """Ingest files of the simulator.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    locations
        URIs or local paths of files, of directories, and of lists of URIs.
    regex
        Regular expression for the names of files; by default it matches raw
        images.
    ingest_type
        Name of the dataset type.
    output_run
        Name of the RUN collection; by default ``ingest_type`` and ``r``.
    group
        Name of the group of the exposures; by default their date.
    processes
        Number of threads that read headers.
    **choices
        Other options of `run_ingest`.

    Returns
    -------
    bool
        Whether every file is in the repository now.
    """
    try:
        translator = SimulatedTranslator(ingest_type, output_run or f"{ingest_type}r", group)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--group") from None
    return run_ingest(repo, translator, locations, regex or RAW_REGEX, threads=processes, **choices)


def ingest_level2(
    repo: str,
    locations: Sequence[str],
    regex: str | None = None,
    dataset_type: str = LEVEL2_TYPE,
    label: str | None = None,
    processing_run: str | None = None,
    processes: int = 1,
    **choices: Any,
) -> bool:
    """Ingest Level 2 images of the archive.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    locations
        URIs or local paths of files, of directories, and of lists of URIs.
    regex
        Regular expression for the names of files; by default it matches FITS
        files.
    dataset_type
        Name of the dataset type.
    label
        Name of the field that the images are of.
    processing_run
        Run of files without a run in their names or directories.
    processes
        Number of threads that read headers.
    **choices
        Other options of `run_ingest`.

    Returns
    -------
    bool
        Whether every file is in the repository now.
    """
    try:
        run = None if processing_run is None else ProcessingRun.parse(processing_run)
    except ArchiveNameError as error:
        raise click.BadParameter(f"{error}.", param_hint="--processing-run") from None
    try:
        translator = Level2Translator(dataset_type, run, label)
    except IngestError as error:
        raise click.BadParameter(str(error), param_hint="--label") from None
    return run_ingest(repo, translator, locations, regex or FITS_REGEX, threads=processes, **choices)
