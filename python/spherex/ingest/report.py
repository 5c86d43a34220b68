"""Report of an ingest run."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from spherex.errors import Remark, counted

if TYPE_CHECKING:
    from .engine import IngestOptions


@dataclasses.dataclass
class IngestReport:
    """Counts and failures of an ingest."""

    found: int = 0
    """Files that were found."""

    ingested: int = 0
    """Files that became datasets."""

    present: int = 0
    """Files that were looked at and found in the repository, unchanged."""

    skipped: int = 0
    """Files passed over because their dataset is in the repository."""

    not_tried: int = 0
    """Files left alone because the ingest had to stop before."""

    new_records: int = 0
    """Dimension records that were inserted."""

    changed_records: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Dimension records that were completed or updated, by dimension element."""

    unknown: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Files that were ingested although they do not tell something, by what
    they do not tell.
    """

    remarks: collections.Counter[Remark] = dataclasses.field(default_factory=collections.Counter)
    """Files that were ingested and have a peculiarity, by peculiarity."""

    derived: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Datasets that were made from the contents of files, by dataset type."""

    stored: list[str] = dataclasses.field(default_factory=list)
    """Originals that can be removed, if they were to be listed."""

    unsafe: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Originals that have to stay, if they were to be listed, by reason."""

    notes: list[str] = dataclasses.field(default_factory=list)
    """What else the user is to be told, line by line."""

    failures: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """Address and reason of each failure."""

    dry_run: bool = False
    """Whether nothing was written."""

    @property
    def is_success(self) -> bool:
        """Whether all that was found is in the repository now."""
        return not self.failures and not self.not_tried

    def fail(self, address: str, reason: object) -> None:
        """Note that a file, or a place to look for files, failed.

        Parameters
        ----------
        address
            Path or URI.
        reason
            What was wrong and what to do about it.
        """
        self.failures.append((address, " ".join(str(reason).split())))

    def add(self, other: IngestReport) -> None:
        """Add the counts and failures of a part of the ingest.

        Parameters
        ----------
        other
            Report on that part.
        """
        for field in ("ingested", "present", "skipped", "not_tried", "new_records"):
            setattr(self, field, getattr(self, field) + getattr(other, field))
        self.changed_records.update(other.changed_records)
        self.unknown.update(other.unknown)
        self.remarks.update(other.remarks)
        self.derived.update(other.derived)
        self.stored.extend(other.stored)
        self.unsafe.update(other.unsafe)
        self.notes.extend(other.notes)
        self.failures.extend(other.failures)

    def note_skipped(self, address: str, reason: str) -> None:
        """Have a line on a file that was passed over.

        Parameters
        ----------
        address
            Path or URI.
        reason
            Why it was.
        """
        self.notes.append(f"skipped: {_shown(address)}: {reason}")

    def failure_lines(self) -> list[str]:
        """Say one line on each failure."""
        return [f"failed: {_shown(address)}: {reason}" for address, reason in self.failures]

    def summary_lines(self) -> list[str]:
        """Sum up in a few lines."""
        counts = [
            f"{self.ingested} {'would be ingested' if self.dry_run else 'ingested'}",
            f"{self.present} already there",
            f"{self.skipped} skipped",
            f"{len(self.failures)} failed",
        ]
        if self.not_tried:
            counts.append(f"{self.not_tried} not tried")
        lines = [f"{'dry run, ' if self.dry_run else ''}{counted(self.found, 'file')} found: {', '.join(counts)}"]
        lines += [
            f"{count} of them without {name}: left unknown in the repository"
            for name, count in sorted(self.unknown.items())
        ]
        lines += [remark.of(count) for remark, count in sorted(self.remarks.items())]
        lines += [f"{counted(count, 'dataset')} {name} made from them" for name, count in sorted(self.derived.items())]
        lines += [f"{counted(count, 'original')} not listed: {reason}" for reason, count in sorted(self.unsafe.items())]
        verb = "would be changed" if self.dry_run else "changed"
        lines += [
            f"{counted(count, f'{element} record')} {verb}" for element, count in sorted(self.changed_records.items())
        ]
        return lines + self.notes


def _shown(address: str) -> str:
    """Address without what would break the line, or cannot be printed."""
    return "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in address])


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

    def skip(self, count: int) -> None:
        """Note that files were passed over.

        Parameters
        ----------
        count
            How many.
        """
        self.report.skipped += count
        self.report.not_tried -= count

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
