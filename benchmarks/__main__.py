"""``python -m benchmarks [NAME...]`` from the root of the clone."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import tempfile
import time
from pathlib import Path

from lsst.utils.threads import disable_implicit_threading

from .report import format_rows
from .scale import FULL, TINY

BENCHMARKS = {
    "ingest": "butler ingest-simulated",
    "ingest_level2": "butler ingest-level2",
    "long_lists": "lists of up to 1.4 million URIs, before the first file is opened",
    "get": "butler.get of an image, its components and a cutout",
    "get_s3": "butler.get of a cutout from S3",
    "put": "butler.put of an image",
    "subtract": "SubtractTask.run",
    "combine_dark": "CombineDarkTask.run",
    "calibration_lookup": "pipetask qgraph with darks by time",
    "quantum": "pipetask run, for each quantum",
    "fork_server": "pipetask run -j N",
    "command_help": "butler --help with the plugin",
    "one_target": "MeasureTargetsTask, one target on many images",
    "many_targets": "MeasureTargetsTask, many targets on whole frames",
    "end_to_end": "register-targets and pipetask run, from targets to channels",
    "patches": "spectra of patches: graph, join, channels, one target",
    "stale_spectra": "butler stale-spectra",
    "find": "butler find-images, and images at a point",
    "common_skypix": "candidates for the common pixelization",
}
"""Names of modules that have a function ``run``, and what they measure."""


def main(arguments: list[str] | None = None) -> None:
    """Run benchmarks and print their tables."""
    listing = "\n".join(f"  {name:18} {what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure spherex_butler against floors taken in the same run.\n\nBenchmarks:\n" + listing,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run; all by default")
    parser.add_argument("--scratch", type=Path, help="folder for files, which are kept; by default a new one")
    parser.add_argument("--rounds", type=int, help="repetitions of work that takes seconds")
    parser.add_argument("--tiny", action="store_true", help="only see whether they run")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - BENCHMARKS.keys():
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    # As pipetask does: threads of a linear algebra library spend the CPU of both cores on small matrices.
    disable_implicit_threading()
    scale = TINY if options.tiny else FULL
    if options.rounds is not None:
        if options.rounds < 1:
            parser.error("--rounds must be at least 1")
        scale = dataclasses.replace(scale, rounds=options.rounds)
    with tempfile.TemporaryDirectory(prefix="spherex-benchmarks-") as temporary:
        scratch = (options.scratch or Path(temporary)).absolute()
        for name in options.names or BENCHMARKS:
            folder = scratch / name
            folder.mkdir(parents=True, exist_ok=True)
            begin, load = time.monotonic(), os.getloadavg()[0]
            rows = importlib.import_module(f"benchmarks.{name}").run(folder, scale)
            print(f"\n{name}: {BENCHMARKS[name]}")
            print(f"({time.monotonic() - begin:.0f} s, load {load:.1f} before and {os.getloadavg()[0]:.1f} after)\n")
            print(format_rows(rows), flush=True)


if __name__ == "__main__":
    main()
