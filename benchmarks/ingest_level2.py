"""``butler ingest-level2`` against bulk insertion of what it inserts, and from a server."""

from __future__ import annotations

__all__ = ["run"]

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from .ingest import compare, ingest_once
from .level2_files import make_level2_files
from .report import Row
from .scale import Scale

_ROOT = Path(__file__).parents[1]
_THREADS = (1, 8)


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    parts = make_level2_files(scratch / "files", scale.many_files, scale.few_files, scale.side)
    rows = compare(scratch, scale, "level2", parts, 2.5)
    with _server(parts[0]) as (port, look):
        names = sorted(path.name for path in parts[0].iterdir())[: scale.remote_files]
        addresses = scratch / "addresses.txt"
        addresses.write_text("".join(f"s3://files/{name}\n" for name in names))
        for threads in _THREADS:
            before = look()
            cost = ingest_once(scratch, "level2", f"threads={threads}", [addresses], _environment(port))
            after = look()
            requests, sent = ((b - a) / len(names) for a, b in zip(before, after, strict=True))
            rows.append(
                Row(
                    f"from S3, {len(names)} files, {threads} threads, files per second",
                    f"{len(names) / cost.wall:.0f}",
                )
            )
            rows.append(Row("the same, for each file", f"{sent:.0f} bytes, {requests:.2f} requests"))
    return rows


def _environment(port: int) -> dict[str, str]:
    return {
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "LSST_DISABLE_BUCKET_VALIDATION": "1",
    }


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[tuple[int, Callable[[], tuple[int, int]]]]:
    """Serve a folder, and give the port and a function that returns the counts of requests and bytes."""
    command = [sys.executable, "-m", "benchmarks.s3_server", str(folder)]
    with subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def look() -> tuple[int, int]:
            stdin.write("\n")
            stdin.flush()
            requests, sent = map(int, stdout.readline().split())
            return requests, sent

        try:
            yield int(stdout.readline()), look
        finally:
            stdin.close()
