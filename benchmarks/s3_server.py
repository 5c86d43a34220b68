"""Server of the files of a folder by the protocol of S3, which counts requests, bytes and round trips.

Run as ``python -m benchmarks.s3_server FOLDER LATENCY``: it prints its port,
and for each line on its input the `Counts` so far. Each answer comes LATENCY
seconds late. Its only bucket is ``files``. The tests use moto; for benchmarks it is too slow, as
it reads the whole object for each range: 142 ms against 4.7 ms here for 0.5 MB
of a file of 72 MB (medians of 40), and it needs a copy of all files in memory.
"""

from __future__ import annotations

__all__ = ["environment", "serve"]

import contextlib
import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).parents[1]


def environment(port: int) -> dict[str, str]:
    """Return the environment variables with the URI of the server."""
    return {
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "LSST_DISABLE_BUCKET_VALIDATION": "1",
    }


@contextlib.contextmanager
def serve(folder: Path, latency: float = 0.0) -> Iterator[tuple[int, Callable[[], Counts]]]:
    """Serve a folder.

    Parameters
    ----------
    folder
        The folder.
    latency
        Time by which each answer is late (s).

    Yields
    ------
    port, look
        The port, and a function that returns what was counted so far.
    """
    command = [sys.executable, "-m", "benchmarks.s3_server", str(folder), str(latency)]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def look() -> Counts:
            stdin.write("\n")
            stdin.flush()
            return Counts(*map(int, stdout.readline().split()))

        try:
            yield int(stdout.readline()), look
        finally:
            stdin.close()


class Counts(NamedTuple):
    """What a server did.

    Parameters
    ----------
    requests
        Requests.
    sent
        Bytes of the answers.
    trips
        Round trips: the longest series of requests that waited for each other.
    milliseconds
        Processor time of the server (ms).
    """

    requests: int = 0
    sent: int = 0
    trips: int = 0
    milliseconds: int = 0


class Counter:
    """Thread-safe `Counts`."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._end = 0.0
        self._lock = threading.Lock()

    def add(self, nbytes: int, arrival: float) -> None:
        """Count a request that ends now."""
        with self._lock:
            requests, sent, trips, _ = self.counts
            is_later = arrival > self._end
            self.counts = Counts(requests + 1, sent + nbytes, trips + is_later)
            if is_later:
                self._end = time.monotonic()


class Handler(http.server.BaseHTTPRequestHandler):
    """Handler of HEAD and GET of objects, with byte ranges."""

    protocol_version = "HTTP/1.1"
    # Otherwise each body waits for the acknowledgement of the headers: 40 ms.
    disable_nagle_algorithm = True
    root: Path
    latency: float
    counter = Counter()

    def do_GET(self) -> None:  # noqa: N802
        """Send an object, or a range of its bytes."""
        arrival = time.monotonic()
        time.sleep(self.latency)
        path = self.root / self.path.partition("?")[0].removeprefix("/files/")
        if not path.is_file():
            self._answer(404, b"", {"Content-Length": "0"}, arrival)
            return
        size = path.stat().st_size
        begin, end = 0, size
        headers = {"Accept-Ranges": "bytes", "ETag": '"0"', "Last-Modified": "Mon, 01 Sep 2025 00:00:00 GMT"}
        wanted = self.headers.get("Range")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last) + 1 if last else size, size)
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        headers["Content-Length"] = str(end - begin)
        content = b""
        if self.command == "GET":
            with path.open("rb") as stream:
                content = os.pread(stream.fileno(), end - begin, begin)
        self._answer(206 if wanted else 200, content, headers, arrival)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: int, content: bytes, headers: dict[str, str], arrival: float) -> None:
        self.counter.add(len(content), arrival)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


def main() -> None:
    Handler.root, Handler.latency = Path(sys.argv[1]), float(sys.argv[2])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
        for _ in sys.stdin:
            print(*Handler.counter.counts._replace(milliseconds=round(time.process_time() * 1e3)), flush=True)
        server.shutdown()


if __name__ == "__main__":
    main()
