"""Combination of darks, or one read of them, in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from lsst.daf.butler import Butler, DeferredDatasetHandle

import spherex.image  # noqa: F401  (its import is not measured)
from spherex.tasks import CombineDarkConfig, CombineDarkTask

from .measure import cost_of


def main(repo: str, block_size: int) -> None:
    """Measure and print times and memory as JSON.

    Parameters
    ----------
    repo
        Repository of the darks.
    block_size
        Memory for a block (MB); 0 to read the darks only.
    """
    with Butler.from_config(repo, collections="run") as butler:
        handles = [butler.getDeferred(ref) for ref in sorted(butler.query_datasets("dark"))]
        task = CombineDarkTask(config=CombineDarkConfig(blockSize=max(block_size, 1)))
        cost = cost_of(lambda: task.run(handles) if block_size else _read(handles))
    print(json.dumps({"cpu": cost.cpu, "wall": cost.wall, "memory": _peak()}))


def _peak() -> int:
    # The resource usage of a child, as its parent sees it, includes the size of
    # the parent.
    with open("/proc/self/status") as stream:
        (line,) = (line for line in stream if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _read(handles: Sequence[DeferredDatasetHandle]) -> None:
    for handle in handles:
        image = handle.get()
        for plane in (image.data, image.variance, image.flags):
            assert plane.size


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
