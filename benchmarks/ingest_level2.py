"""``butler ingest-level2`` against bulk insertion of what it inserts, and from a server."""

from __future__ import annotations

__all__ = ["run"]

from pathlib import Path

from .ingest import compare, ingest_once
from .level2_files import make_level2_files
from .report import Row
from .s3_server import environment, serve
from .scale import Scale

_REMOTE = ((1, 0.0), (8, 0.0), (8, 0.04), (32, 0.04))
"""Threads, and times by which the answers of the server are late (s)."""

_LEAST_RATE = 250
"""Files that 32 threads should read in a second from a server far away."""


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    parts = make_level2_files(scratch / "files", scale.many_files, scale.few_files, scale.side)
    rows = compare(scratch, scale, "level2", parts, 2.5)
    names = sorted(path.name for path in parts[0].iterdir())[: scale.remote_files]
    addresses = scratch / "addresses.txt"
    addresses.write_text("".join(f"s3://files/{name}\n" for name in names))
    for threads, latency in _REMOTE:
        with serve(parts[0], latency) as (port, look):
            before = look()
            cost = ingest_once(scratch, "level2", f"threads={threads}", [addresses], environment(port))
            requests, sent, _, server = ((b - a) / len(names) for a, b in zip(before, look(), strict=True))
        label = f"from S3, {len(names)} files, {threads} threads, answers {latency * 1e3:.0f} ms late"
        rate = len(names) / cost.wall
        target = _LEAST_RATE if (threads, latency) == _REMOTE[-1] else None
        rows += [
            Row(
                f"{label}, files per second",
                f"{rate:.0f}",
                f"{target}" if target else "",
                target / rate if target else None,
                target=1.0 if target else None,
            ),
            Row(
                f"{label}, for each file",
                f"{cost.cpu / len(names) * 1e3:.2f} ms CPU, {server:.2f} ms of the server, {sent:.0f} bytes, "
                f"{requests:.2f} requests",
            ),
            Row(f"{label}, memory", f"{cost.memory / 1e6:.0f} MB"),
        ]
    return rows
