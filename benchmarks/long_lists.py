"""Lists of many URIs, up to the moment before the first file is opened, in a process of its own."""

from __future__ import annotations

__all__ = ["run"]

import json
import re
import sys
from pathlib import Path

from spherex.ingest import FITS_REGEX, IngestOptions, IngestReport, Level2Translator
from spherex.ingest.locations import find_files
from spherex.ingest.reader import FileReader, batches

from .measure import cost_of, run_process, search_path
from .report import Row
from .scale import Scale

_RUN = "l2b-v20-2025-299"
_PER_PERIOD = 24_000


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    rows: list[Row] = []
    least = 0
    for number in scale.lines:
        path = scratch / f"{number}.txt"
        with path.open("w") as stream:
            stream.writelines(f"{uri_of(image)}\n" for image in range(number))
        process, output = run_process([sys.executable, "-m", "benchmarks.long_lists", path], search_path())
        work = json.loads(output.splitlines()[-1])
        if work["found"] != number:
            raise RuntimeError(f"{work['found']} of {number} files were found")
        least = least or process.memory
        rows += [
            Row(f"list of {number} URIs, for each", f"{work['cpu'] / number * 1e6:.0f} us CPU"),
            Row(
                f"memory, against {scale.lines[0]} URIs",
                f"{process.memory / 1e6:.0f} MB",
                f"{least / 1e6:.0f} MB",
                process.memory / least,
                target=1.3,
            ),
        ]
    return rows


def uri_of(number: int) -> str:
    """Return the URI of one of many images of the archive."""
    period, rest = divmod(number, _PER_PERIOD)
    exposure, detector = divmod(rest, 6)
    name = f"2025W{1 + period % 52:02d}_{1 + period // 52}A"
    observation = f"{name}_{exposure // 4 + 1:04d}_{exposure % 4 + 1}"
    return (
        f"s3://nasa-irsa-spherex/qr2/level2/{name}/{_RUN}/{detector + 1}/"
        f"level2_{observation}D{detector + 1}_spx_{_RUN}.fits"
    )


def main() -> None:
    report = IngestReport()
    reader = FileReader(Level2Translator("level2"), IngestOptions(), report, lambda keys: set())
    pattern = re.compile(FITS_REGEX)

    def work() -> int:
        found = reader.identify(find_files(sys.argv[1:], pattern, report))
        return sum(len(batch) for batch in batches(found, IngestOptions().batch_size))

    numbers: list[int] = []
    cost = cost_of(lambda: numbers.append(work()))
    print(json.dumps({"cpu": cost.cpu, "found": numbers[0]}))


if __name__ == "__main__":
    main()
