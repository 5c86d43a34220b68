"""What all ingest commands have in common."""

from __future__ import annotations

__all__ = ["run_ingest"]

import re
import signal
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import click

from spherex.ingest import IngestError, IngestOptions, IngestReport, ingest
from spherex.ingest.database import refresh_statistics
from spherex.ingest.repository import open_repository, register_instrument

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

    from spherex.ingest import BatchHook, Describer

_MANY = 1000
"""Number of new files from which on the database is told to look at itself."""


def run_ingest(
    repo: str,
    describer: Describer,
    locations: Sequence[str],
    regex: str,
    begin: Callable[[Butler, bool], BatchHook] | None = None,
    **choices: Any,
) -> bool:
    """Ingest files and tell the user what came of it.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    describer
        Knows the kind of file.
    locations
        Paths or URIs of files and directories.
    regex
        Searched for in names of files.
    begin
        Called before the ingest, with whether it is a dry run. Returns what is
        to be done with the datasets in each transaction, or in a dry run what
        tells of it.
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
    options = IngestOptions(**choices)
    try:
        with _StopRequest() as stop, open_repository(repo, not options.dry_run, describer.fields) as butler:
            if not options.dry_run:
                register_instrument(butler, repo, describer.instrument)
            hook = begin(butler, options.dry_run) if begin is not None else None
            hooks = {"preview" if options.dry_run else "hook": hook}
            report = ingest(butler, describer, locations, pattern, options, stop, **hooks)
    except IngestError as error:
        raise click.ClickException(str(error)) from None
    if report.ingested >= _MANY and not options.dry_run:
        _try_refresh(repo)
    _print(report)
    return report.is_success


def _print(report: IngestReport) -> None:
    for line in report.failure_lines():
        click.echo(line, err=True)
    for line in report.summary_lines():
        click.echo(line)
    if report.not_tried:
        click.echo("Give the same command again to go on.")


def _try_refresh(repo: str) -> None:
    import sqlalchemy.exc

    try:
        refresh_statistics(repo)
    except sqlalchemy.exc.SQLAlchemyError as error:
        click.echo(f"All is well, but searches may be slow: ANALYZE failed ({str(error).splitlines()[0]}).", err=True)


class _StopRequest:
    """Notices SIGTERM and SIGINT while it is in force.

    An exception out of a signal handler may get lost in the middle of other
    people's code. So the first signal is a request, to stop when the exposures
    at hand are done, and a second one ends the process as usual.
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
