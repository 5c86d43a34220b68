"""Reading many files, in threads or not."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from spherex.fits import read_many


def read(path: Path, delay: float = 0.0) -> bytes:
    time.sleep(delay)
    return path.read_bytes()


@pytest.mark.parametrize("threads", [1, 4])
def test_results_in_order_and_errors_where_they_belong(tmp_path: Path, threads: int) -> None:
    paths = [tmp_path / str(number) for number in range(50)]
    for number, path in enumerate(paths):
        if number != 7:
            path.write_bytes(bytes([number]))
    delays = [0.001 * (number % 3) for number in range(50)]
    for number, future in enumerate(read_many(read, paths, delays, threads=threads)):
        if number == 7:
            with pytest.raises(FileNotFoundError, match=str(paths[7])):
                future.result()
        else:
            assert future.result() == bytes([number])


@pytest.mark.parametrize("threads", [1, 4])
def test_files_are_read_as_their_results_are_taken(threads: int) -> None:
    calls: list[int] = []
    futures = read_many(calls.append, range(10_000), threads=threads)
    for _, future in zip(range(10), futures, strict=False):
        future.result()
    futures.close()  # type: ignore[attr-defined]
    assert 10 <= len(calls) <= 10 + 8 * threads


def test_threads_work_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=30)
    assert sorted(future.result() for future in read_many(lambda n: barrier.wait(), range(3), threads=3)) == [0, 1, 2]


def test_arguments_of_different_length() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        list(read_many(read, [1, 2], [1]))
