"""Files done, failed and left, while an ingest is on its way."""

from __future__ import annotations

__all__ = ["StopIngest", "Tally"]

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .report import IngestReport

if TYPE_CHECKING:
    from .options import IngestOptions


class StopIngest(Exception):  # noqa: N818
    """Nothing more is to be tried."""


class Tally:
    """Keeps the report, and knows when to stop.

    Parameters
    ----------
    options
        What the user chose.
    is_stopped
        Returns true when the ingest is to stop as soon as it conveniently can.
    """

    def __init__(self, options: IngestOptions, is_stopped: Callable[[], bool]) -> None:
        self.report = IngestReport(dry_run=options.dry_run)
        self._fail_fast = options.fail_fast
        self._is_move = options.transfer == "move" and not options.dry_run
        self.is_stopped = is_stopped

    @property
    def is_over(self) -> bool:
        """Whether a failure forbids to go on."""
        return self._fail_fast and bool(self.report.failures)

    def check(self) -> None:
        """Stop if a failure or the user wants it.

        Raises
        ------
        StopIngest
            Raised if so.
        """
        if self.is_over or self.is_stopped():
            raise StopIngest

    def fail(self, address: str, reason: object) -> None:
        """Note that a file failed.

        Parameters
        ----------
        address
            Path or URI.
        reason
            What was wrong and what to do about it.
        """
        self.report.fail(address, reason)
        self.report.not_tried -= 1

    def skip(self, addresses: Iterable[str], reason: str) -> None:
        """Note that files were passed over.

        Parameters
        ----------
        addresses
            Paths or URIs.
        reason
            Why they were, for those that were to be moved.
        """
        count = len(list(addresses))
        self.report.skipped += count
        self.report.not_tried -= count
        if self._is_move and count:
            self.report.left[reason] += count

    def add(self, part: IngestReport, count: int) -> None:
        """Add what came of some files.

        Parameters
        ----------
        part
            Report on them.
        count
            How many they were.
        """
        self.report.add(part)
        self.report.not_tried -= count
