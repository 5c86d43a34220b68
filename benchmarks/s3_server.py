"""Server of the files of a folder by the protocol of S3, which counts requests and bytes.

Run as ``python -m benchmarks.s3_server FOLDER``: it prints its port, and for
each line on its input the number of requests and of bytes sent so far. Its
only bucket is ``files``. The tests use moto; for benchmarks it is too slow, as
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
from collections.abc import Callable, Iterator
from pathlib import Path

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
def serve(folder: Path) -> Iterator[tuple[int, Callable[[], tuple[int, int]]]]:
    """Serve a folder; yield the port, and a function that returns the numbers of requests and bytes."""
    command = [sys.executable, "-m", "benchmarks.s3_server", str(folder)]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
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


class Counts:
    """Requests and bytes."""

    requests = 0
    sent = 0
    lock = threading.Lock()

    @classmethod
    def add(cls, nbytes: int) -> None:
        """Count a request and the bytes sent for it."""
        with cls.lock:
            cls.requests += 1
            cls.sent += nbytes


class Handler(http.server.BaseHTTPRequestHandler):
    """Handler of HEAD and GET of objects, with byte ranges."""

    protocol_version = "HTTP/1.1"
    # Otherwise each body waits for the acknowledgement of the headers: 40 ms.
    disable_nagle_algorithm = True
    root: Path

    def do_GET(self) -> None:  # noqa: N802
        """Send an object, or a range of its bytes."""
        path = self.root / self.path.partition("?")[0].removeprefix("/files/")
        if not path.is_file():
            self._answer(404, b"", {"Content-Length": "0"})
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
        self._answer(206 if wanted else 200, content, headers)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        Counts.add(len(content))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


def main() -> None:
    Handler.root = Path(sys.argv[1])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
        for _ in sys.stdin:
            print(Counts.requests, Counts.sent, flush=True)
        server.shutdown()


if __name__ == "__main__":
    main()
