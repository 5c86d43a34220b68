"""What the user of an ingest can choose, and why one cannot begin."""

from __future__ import annotations

__all__ = ["IngestError", "IngestOptions"]

import dataclasses


class IngestError(Exception):
    """An ingest cannot begin or go on. The message is one line for the user."""


@dataclasses.dataclass(frozen=True)
class IngestOptions:
    """Choices that do not depend on the kind of file.

    Parameters
    ----------
    transfer
        How files get into the datastore: a transfer mode of the Butler. None
        leaves remote files where they are and is ``auto`` for local ones.
    threads
        Number of threads that read headers.
    skip_existing
        Pass over files whose dataset is there already without looking into
        them.
    update_records
        Let headers overwrite dimension records that differ.
    track_file_attrs
        Record the sizes of files.
    fail_fast
        Stop at the first file that fails.
    dry_run
        Do everything but write.
    batch_size
        Number of files in a transaction, more only if one exposure has more.
    """

    transfer: str | None = "auto"
    threads: int = 1
    skip_existing: bool = False
    update_records: bool = False
    track_file_attrs: bool = True
    fail_fast: bool = False
    dry_run: bool = False
    batch_size: int = 5000
