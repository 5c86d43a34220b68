"""Report of an ingest: counts, failures, and when to stop."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable

from spherex.errors import counted, without_secrets

from .lists import DiskList


class StopIngest(BaseException):
    """Request to end the ingest with the report as it is.

    It is not an error: what handles any `Exception` of a file lets it pass.
    """


@dataclasses.dataclass
class IngestReport:
    """Counts and failures of an ingest, or of a part of it."""

    dry_run: bool = False
    """Whether nothing was written."""

    fail_fast: bool = False
    """Whether the first failure ends the ingest."""

    is_stopped: Callable[[], bool] = bool
    """Function that returns whether the user wants the ingest to stop."""

    found: int = 0
    """Files that were found."""

    ingested: int = 0
    """Files that became datasets."""

    existing: int = 0
    """Files that were compared with existing datasets, and are the same."""

    skipped: int = 0
    """Files that were skipped: their dataset exists, or they are duplicates."""

    failed: int = 0
    """Files that failed. Other failures are locations that cannot be searched."""

    new_records: int = 0
    """Dimension records that were inserted."""

    changed_records: collections.Counter[tuple[str, str]] = dataclasses.field(default_factory=collections.Counter)
    """Dimension records that were completed or updated, by dimension element and what has changed."""

    ignored: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Files of directories that were left out, by reason."""

    unknown: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Files that were ingested although they lack a property, by property."""

    remarks: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Files that were ingested and have a peculiarity, by peculiarity."""

    differing: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Files that were ingested and differ from another processing run of their exposure, by field of the records."""

    outlasting: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Files that were ingested and differ from a record without images, by field of the record."""

    derived: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Datasets that were made from the contents of files, by dataset type."""

    stored: DiskList[str] = dataclasses.field(default_factory=DiskList)
    """Originals that can be removed, if they were to be listed."""

    unsafe: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Originals that have to stay, if they were to be listed, by reason."""

    notes: list[str] = dataclasses.field(default_factory=list)
    """Further lines for the user."""

    failures: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """URI and reason of each failure."""

    obstacle: str = ""
    """Why no other file could be tried, and what to do."""

    @property
    def not_tried(self) -> int:
        """Files that were found, but not tried because the ingest stopped."""
        return self.found - self.ingested - self.existing - self.skipped - self.failed

    @property
    def is_success(self) -> bool:
        """Whether all that was found is in the repository now."""
        return not self.failures and not self.not_tried

    @property
    def is_over(self) -> bool:
        """Whether a failure ends the ingest."""
        return self.fail_fast and bool(self.failures)

    def check(self) -> None:
        """Stop if a failure or the user requires it.

        Raises
        ------
        StopIngest
            Raised if so.
        """
        if self.is_over or self.is_stopped():
            raise StopIngest

    def fail(self, uri: str, reason: object) -> None:
        """Add a failure.

        Parameters
        ----------
        uri
            URI or local path of a file or a location.
        reason
            What is wrong, and what to do.
        """
        self.failures.append((uri, " ".join(str(reason).split())))

    def fail_file(self, uri: str, reason: object) -> None:
        """Add a failure of a file that was found, see `fail`."""
        self.fail(uri, reason)
        self.failed += 1

    def add(self, part: IngestReport) -> None:
        """Add the counts and failures of a part of the ingest.

        Parameters
        ----------
        part
            Report on that part.
        """
        for field in ("ingested", "existing", "skipped", "failed", "new_records"):
            setattr(self, field, getattr(self, field) + getattr(part, field))
        for field in (
            "changed_records",
            "ignored",
            "unknown",
            "remarks",
            "differing",
            "outlasting",
            "derived",
            "unsafe",
        ):
            getattr(self, field).update(getattr(part, field))
        for field in ("stored", "notes", "failures"):
            getattr(self, field).extend(getattr(part, field))

    def note_duplicate(self, uri: str, original: str) -> None:
        """Add a line on a file that was skipped as a copy of another one.

        Parameters
        ----------
        uri, original
            URIs or local paths of both files.
        """
        self.notes.append(f"skipped: {_printable(uri)}: it is a copy of {_printable(original)}")

    def failure_lines(self) -> list[str]:
        """Return one line for each failure, and one for what stopped the ingest."""
        lines = [f"failed: {_printable(uri)}: {without_secrets(reason)}" for uri, reason in self.failures]
        return [*lines, f"stopped: {self.obstacle}"] if self.obstacle else lines

    def summary_lines(self) -> list[str]:
        """Return the counts in a few lines."""
        counts = [
            f"{self.ingested} {'would be ingested' if self.dry_run else 'ingested'}",
            f"{self.existing} already there",
            f"{self.skipped} skipped",
            f"{len(self.failures)} failed",
        ]
        if self.not_tried:
            counts.append(f"{self.not_tried} not tried")
        verb = "would be changed" if self.dry_run else "changed"
        unknown = sorted(self.unknown.items())
        differing, outlasting = (
            ", ".join(f"{name} of {n}" for name, n in sorted(fields.items()))
            for fields in (self.differing, self.outlasting)
        )
        ignored = ", ".join(f"{n} {reason}" for reason, n in sorted(self.ignored.items()))
        return [
            f"{'dry run, ' if self.dry_run else ''}{counted(self.found, 'file')} found: {', '.join(counts)}",
            *(
                [f"{counted(self.ignored.total(), 'other file')} in these directories left out: {ignored}"]
                if ignored
                else []
            ),
            *(f"{n} of them without {name}: left unknown in the repository" for name, n in unknown),
            *(f"{n} of them: {remark}" for remark, n in sorted(self.remarks.items())),
            *(
                [f"{differing} of them differ from another processing run; searches use the newest"]
                if differing
                else []
            ),
            *(
                [f"{outlasting} of them differ from the records of removed files; searches use the new values"]
                if outlasting
                else []
            ),
            *(f"{counted(n, 'dataset')} {name} made from them" for name, n in sorted(self.derived.items())),
            *(f"{counted(n, 'original')} not listed: {reason}" for reason, n in sorted(self.unsafe.items())),
            *(
                f"{counted(n, f'{name} record')} {verb}: {what}"
                for (name, what), n in sorted(self.changed_records.items())
            ),
            *self.notes,
        ]


def _printable(uri: str) -> str:
    """Return a URI without secrets, and without characters that would break the line or cannot be printed."""
    uri = without_secrets(uri)
    return "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in uri])
