"""``butler ingest-simulated`` against bulk insertion of what it inserts."""

from __future__ import annotations

__all__ = ["compare", "ingest_once", "run"]

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .files import make_raw_files, make_repository
from .measure import Cost, median_cost, run_process, search_path, take_turns
from .report import Row, ratio_row
from .scale import Scale


def run(scratch: Path, scale: Scale) -> list[Row]:
    """Measure; see `benchmarks.__main__`."""
    raw = make_raw_files(scratch.parent / "raw", scale.many_files, scale.few_files, scale.side)
    return compare(scratch, scale, "simulated", raw, 2.0)


def compare(scratch: Path, scale: Scale, kind: str, parts: Sequence[Path], target: float) -> list[Row]:
    """Measure the ingest of a kind of file, and how it grows.

    Parameters
    ----------
    scratch
        Where to work.
    scale
        How much.
    kind
        Kind of file, ``simulated`` or ``level2``.
    parts
        Folders with ``few_files`` files each.
    target
        Largest ratio to the floor that is good.
    """
    folders = {count: parts[: count // scale.few_files] for count in (scale.few_files, scale.files, scale.many_files)}
    base = take_turns(
        {
            "ours": _ingest(scratch, kind, "ours", folders[scale.files]),
            "floor": _ingest(scratch, kind, "floor", folders[scale.files]),
        },
        scale.rounds,
    )
    growth = take_turns(
        {
            "many": _ingest(scratch, kind, "ours", folders[scale.many_files]),
            "few": _ingest(scratch, kind, "ours", folders[scale.few_files]),
        },
        max(1, scale.rounds - 2),
    )
    few, many = growth["few"], growth["many"]
    return [
        ratio_row(f"ingest of {scale.files} files, per file", base["ours"], base["floor"], target, per=scale.files),
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


def _ingest(scratch: Path, kind: str, who: str, folders: Sequence[Path]) -> Callable[[], Cost]:
    """Return a function that ingests into a new repository and measures it."""
    return lambda: ingest_once(scratch, kind, who, folders, {})


def ingest_once(scratch: Path, kind: str, who: str, locations: Sequence[Path], environment: Mapping[str, str]) -> Cost:
    """Ingest into a new repository in a process of its own.

    Parameters
    ----------
    scratch
        Where to work.
    kind
        Kind of file, ``simulated`` or ``level2``.
    who
        ``ours``, ``floor``, or ``threads=`` and a number for ours without any
        preparation.
    locations
        Folders, or a list of addresses.
    environment
        Further variables.
    """
    repo = make_repository(scratch / "repo")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "benchmarks.ingest_process",
        kind,
        who,
        repo,
        *locations,
    ]
    process, output = run_process(command, {**search_path(), **environment})
    shutil.rmtree(repo)
    work = json.loads(output.splitlines()[-1])
    return dataclasses.replace(process, cpu=work["cpu"], wall=work["wall"])
