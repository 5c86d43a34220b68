"""Byte sources: read ranges of bytes of a local file (pread) or of a remote one (S3, HTTP, WebDAV).

Files are not mapped into memory: the process would be killed by SIGBUS if
another one cuts a file short.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from spherex.errors import ProductError
from spherex.remote import access_explained

if TYPE_CHECKING:
    from lsst.resources import ResourcePath


Answer = TypeVar("Answer")

_WAITING = 8
"""Calls that are prepared for each thread before their answers are taken."""

REMOTE_READ = 15 * 2880
"""Bytes of a request for a header: the longest one of a Level 2 image (PSF, 509 cards) fits."""

_AT_ONCE = 8
"""Ranges of a file that are requested at the same time."""

_CLIENT_LOCK = threading.Lock()


class ByteSource(Protocol):
    """File that is read by ranges of bytes."""

    size: int | None
    """Size of the file in bytes, `None` if unknown."""

    is_local: bool
    """Whether many small reads are as fast as a large one."""

    def read_at(self, offset: int, nbytes: int) -> bytes:
        """Return up to ``nbytes`` bytes; fewer only at the end of the file."""
        ...

    def read_exactly(self, offset: int, nbytes: int) -> memoryview:
        """Return exactly ``nbytes`` bytes, of a local file in memory that may be changed.

        Raises
        ------
        ProductError
            If the file is cut short.
        """
        ...

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Request ranges that will be read, all at the same time; do nothing where this is not faster.

        Parameters
        ----------
        ranges
            Offset and number of bytes of each. What is never read does no harm.
        """

    def prefetched(self, offset: int) -> int:
        """Return the number of bytes from an offset on that were requested by `prefetch`."""
        ...


class _NoPrefetch:
    """File from which many small reads are as fast as a large one."""

    is_local = True

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Do nothing."""

    def prefetched(self, offset: int) -> int:
        """Return 0."""
        return 0


class _LocalSource(_NoPrefetch):
    """File of the local file system."""

    def __init__(self, path: str, sparse: bool) -> None:
        # Without O_NONBLOCK, to open a pipe waits for its writer.
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._fd)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            raise ProductError("it is not a regular file but a pipe, a socket or a device")
        if sparse and hasattr(os, "posix_fadvise"):
            # Otherwise the system reads 128 kB ahead of each header.
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_RANDOM)
        self.size: int | None = status.st_size

    def close(self) -> None:
        os.close(self._fd)

    def read_at(self, offset: int, nbytes: int) -> bytes:
        return os.pread(self._fd, nbytes, offset)

    def read_exactly(self, offset: int, nbytes: int) -> memoryview:
        # Damaged headers claim sizes that no memory has.
        _require(offset + nbytes <= (self.size or 0), offset, nbytes, self.size)
        # A bytearray would be filled with zeros first.
        content: memoryview = np.empty(nbytes, np.uint8).data
        place = 0
        while place < nbytes:
            # The system reads 2 GB at most in a call.
            count = os.preadv(self._fd, [content[place:]], offset + place)
            _require(count > 0, offset, nbytes, offset + place)
            place += count
        return content


class _RemoteSource:
    """Remote file: the handle of lsst.resources sends one range request for each read.

    Ranges of a file in S3 are requested at the same time by threads. With
    other protocols, each handle begins with requests of its own.

    Parameters
    ----------
    uri
        The file.
    handle
        Open handle of it.
    """

    is_local = False

    def __init__(self, uri: ResourcePath, handle: Any) -> None:
        self._uri = uri
        self._handle = handle
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._ahead: dict[int, tuple[int, concurrent.futures.Future[bytes]]] = {}
        self.size: int | None = None
        if uri.scheme != "s3" or not self._read_beginning():
            self.size = _remote_size(uri)

    def _read_beginning(self) -> bool:
        """Read the first header from S3, with which all readers begin; return whether that was possible.

        The answer contains the size of the file, which is otherwise a request
        of its own. If the server refuses, lsst.resources finds the reason.
        """
        from botocore.exceptions import ClientError

        client: Any = self._uri.client  # type: ignore[attr-defined]
        place = {"Bucket": self._uri.netloc.rpartition("@")[2], "Key": self._uri.relativeToPathRoot}
        try:
            answer = client.get_object(Range=f"bytes=0-{REMOTE_READ - 1}", **place)
        except ClientError:
            return False
        size = answer.get("ContentRange", "").rpartition("/")[2]
        if not size.isdecimal():
            return False
        beginning: concurrent.futures.Future[bytes] = concurrent.futures.Future()
        beginning.set_result(answer["Body"].read())
        self.size = int(size)
        self._ahead[0] = min(REMOTE_READ, self.size), beginning
        return True

    def close(self) -> None:
        """Stop all requests that are not used."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        if self._uri.scheme != "s3":
            return
        for offset, nbytes in ranges:
            length = nbytes if self.size is None else min(nbytes, self.size - offset)
            if length > self.prefetched(offset):
                self._pool = self._pool or concurrent.futures.ThreadPoolExecutor(_AT_ONCE)
                self._ahead[offset] = length, self._pool.submit(self._request, offset, length)

    def prefetched(self, offset: int) -> int:
        start = self._start(offset)
        return 0 if start is None else start + self._ahead[start][0] - offset

    def _start(self, offset: int) -> int | None:
        """Return the start of the requested range that reaches farthest from an offset on."""
        starts = [start for start, (length, _) in self._ahead.items() if start <= offset < start + length]
        return max(starts, key=lambda start: start + self._ahead[start][0], default=None)

    def _request(self, offset: int, nbytes: int) -> bytes:
        # A handle has one position, and belongs to one thread.
        with self._uri.open("rb") as handle:
            handle.seek(offset)
            return bytes(handle.read(nbytes))

    def read_at(self, offset: int, nbytes: int) -> bytes:
        if self.size is not None:
            nbytes = min(nbytes, self.size - offset)
        content = b""
        start = self._start(offset)
        if start is not None:
            content = self._ahead[start][1].result()[offset - start : offset - start + nbytes]
        # A handle takes 0 bytes for all bytes.
        if len(content) < nbytes:
            self._handle.seek(offset + len(content))
            content += bytes(self._handle.read(nbytes - len(content)))
        return content

    def read_exactly(self, offset: int, nbytes: int) -> memoryview:
        content = self.read_at(offset, nbytes)
        # Pixels are read once, and may be many.
        if self._ahead.get(offset, (0, None))[0] == nbytes:
            self._ahead.pop(offset)
        _require(len(content) == nbytes, offset, nbytes, offset + len(content))
        return memoryview(content)


class MemorySource(_NoPrefetch):
    """File whose bytes are in memory.

    Parameters
    ----------
    content
        All bytes.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size: int | None = len(content)

    def read_at(self, offset: int, nbytes: int) -> bytes:
        """Return a part; see `ByteSource`."""
        return self._content[offset : offset + nbytes]

    def read_exactly(self, offset: int, nbytes: int) -> memoryview:
        """Return a copy of a part; see `ByteSource`."""
        _require(offset + nbytes <= len(self._content), offset, nbytes, self.size)
        return memoryview(bytearray(self.read_at(offset, nbytes)))


def _require(complete: bool, offset: int, nbytes: int, size: int | None) -> None:
    if not complete:
        raise ProductError(f"the file is cut short: it ends at byte {size}, its data at byte {offset + nbytes}")


@contextlib.contextmanager
def open_source(location: str | os.PathLike[str] | ResourcePath, *, sparse: bool = False) -> Iterator[ByteSource]:
    """Open a file for reading by byte ranges.

    Parameters
    ----------
    location
        Local path, or any URI that `lsst.resources.ResourcePath` reads.
    sparse
        Whether only small separate parts will be read, such as headers.

    Raises
    ------
    OSError
        If the file does not exist or may not be read.
    ProductError
        If it is not a regular file.
    RemoteError
        If its bucket needs credentials, and there are none.
    """
    if isinstance(location, str | os.PathLike) and "://" not in str(location):
        source = _LocalSource(os.fspath(location), sparse)
    else:
        from lsst.resources import ResourcePath

        uri = location if isinstance(location, ResourcePath) else ResourcePath(os.fspath(location))
        if not uri.isLocal:
            with access_explained(), contextlib.ExitStack() as stack:
                if uri.scheme == "s3":
                    # lsst.resources keeps the client, but threads that begin together would each make one: that
                    # takes half a second and 10 MB, and boto3 does not allow it.
                    with _CLIENT_LOCK:
                        uri.client  # type: ignore[attr-defined]  # noqa: B018
                remote = _RemoteSource(uri, stack.enter_context(uri.open("rb")))
                stack.callback(remote.close)
                yield remote
            return
        source = _LocalSource(uri.ospath, sparse)
    try:
        yield source
    finally:
        source.close()


def _remote_size(uri: ResourcePath) -> int | None:
    try:
        return int(uri.size())
    except ValueError:
        # A service that makes a cutout when it is asked does not know its size.
        return None


def read_many(
    read: Callable[..., Answer], *arguments: Iterable[Any], threads: int = 1
) -> Iterator[concurrent.futures.Future[Answer]]:
    """Read many files, several at the same time.

    Parameters
    ----------
    read
        Reads one file.
    *arguments
        Arguments of the calls, as for `map`, all of the same length.
    threads
        Number of files that are read at the same time. More than one is
        faster where each file has to be waited for, and slower where files
        are in memory or on a fast disk.

    Yields
    ------
    concurrent.futures.Future
        One for each call, in order. Its ``result()`` returns what ``read``
        returned, or raises what ``read`` raised.
    """
    calls = zip(*arguments, strict=True)
    if threads == 1:
        for call in calls:
            future: concurrent.futures.Future[Answer] = concurrent.futures.Future()
            try:
                future.set_result(read(*call))
            except Exception as error:
                future.set_exception(error)
            yield future
        return
    waiting: collections.deque[concurrent.futures.Future[Answer]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        try:
            for call in calls:
                waiting.append(pool.submit(read, *call))
                # Otherwise answers that are not taken yet would fill the memory.
                if len(waiting) >= _WAITING * threads:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for future in waiting:
                future.cancel()
