"""HTTP servers in threads of the tests."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator


class QuietHandler(http.server.BaseHTTPRequestHandler):
    """Handler that logs nothing."""

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def serving(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server on a free port.

    Parameters
    ----------
    handler
        Handler of the requests.

    Yields
    ------
    uri
        URI of the server, without a slash at the end.
    """
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
