"""``butler ingest-level2`` against bulk insertion of what it inserts, and from a server."""

from __future__ import annotations

__all__ = ["run"]

from pathlib import Path

from .ingest import compare, ingest_once
from .level2_files import make_level2_files
from .report import Row
from .s3_server import environment, serve
from .scale import Scale

_THREADS = (1, 8)


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    parts = make_level2_files(scratch / "files", scale.many_files, scale.few_files, scale.side)
    rows = compare(scratch, scale, "level2", parts, 2.5)
    with serve(parts[0]) as (port, look):
        names = sorted(path.name for path in parts[0].iterdir())[: scale.remote_files]
        addresses = scratch / "addresses.txt"
        addresses.write_text("".join(f"s3://files/{name}\n" for name in names))
        for threads in _THREADS:
            before = look()
            cost = ingest_once(scratch, "level2", f"threads={threads}", [addresses], environment(port))
            after = look()
            requests, sent, _ = ((b - a) / len(names) for a, b in zip(before, after, strict=True))
            rows.append(
                Row(
                    f"from S3, {len(names)} files, {threads} threads, files per second",
                    f"{len(names) / cost.wall:.0f}",
                )
            )
            rows.append(Row("the same, for each file", f"{sent:.0f} bytes, {requests:.2f} requests"))
    return rows
