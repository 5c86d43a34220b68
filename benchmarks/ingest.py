"""``butler ingest-simulated`` against bulk insertion of what it inserts."""

from __future__ import annotations

__all__ = ["run"]

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .files import make_raw_files, make_repository
from .measure import Cost, median_cost, run_process, search_path, take_turns
from .report import Row, ratio_row
from .scale import Scale


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    raw = make_raw_files(scratch.parent / "raw", scale.many_files, scale.few_files, scale.side)
    folders = {
        count: raw[: count // scale.few_files] for count in (scale.few_files, scale.files, scale.many_files)
    }
    base = take_turns(
        {
            "ours": _ingest(scratch, "ours", folders[scale.files]),
            "floor": _ingest(scratch, "floor", folders[scale.files]),
        },
        scale.rounds,
    )
    growth = take_turns(
        {
            "many": _ingest(scratch, "ours", folders[scale.many_files]),
            "few": _ingest(scratch, "ours", folders[scale.few_files]),
        },
        max(1, scale.rounds - 2),
    )
    few, many = growth["few"], growth["many"]
    return [
        ratio_row(
            f"ingest of {scale.files} files, per file", base["ours"], base["floor"], 2.0, per=scale.files
        ),
        ratio_row(
            f"ingest of {scale.many_files} files, per file, against {scale.few_files}",
            [cost / scale.many_files for cost in many],
            [cost / scale.few_files for cost in few],
            1.2,
        ),
        _memory_row(scale, many, few),
    ]


def _memory_row(scale: Scale, many: Sequence[Cost], few: Sequence[Cost]) -> Row:
    most, least = median_cost(many).memory, median_cost(few).memory
    return Row(
        f"memory, {scale.many_files} files against {scale.few_files}",
        f"{most / 1e6:.0f} MB",
        f"{least / 1e6:.0f} MB",
        most / least,
        target=1.3,
    )


def _ingest(scratch: Path, kind: str, folders: Sequence[Path]) -> Callable[[], Cost]:
    """Return a function that ingests into a new repository and measures it."""

    def measure() -> Cost:
        repo = make_repository(scratch / "repo")
        command: list[str | Path] = [sys.executable, "-m", "benchmarks.ingest_process", kind, repo, *folders]
        process, output = run_process(command, search_path())
        shutil.rmtree(repo)
        work = json.loads(output.splitlines()[-1])
        return dataclasses.replace(process, cpu=work["cpu"], wall=work["wall"])

    return measure
