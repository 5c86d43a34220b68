"""Rows of the table that the benchmarks print."""

from __future__ import annotations

__all__ = ["Row", "format_rows", "ratio_row"]

import dataclasses
from collections.abc import Sequence

from .measure import Cost, median_cost


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    name
        What was measured, and against what.
    ours
        The figure with its unit.
    floor
        What it is compared with; empty if there is nothing.
    ratio
        Their ratio, of processor time where it is a time.
    wall_ratio
        The same of time gone by; None where it is not a time.
    target
        Largest ratio that is good; None if there is no target.
    """

    name: str
    ours: str
    floor: str = ""
    ratio: float | None = None
    wall_ratio: float | None = None
    target: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the ratio is good, or nothing was asked of it."""
        return self.target is None or self.ratio is None or self.ratio <= self.target


def ratio_row(name: str, ours: Sequence[Cost], floor: Sequence[Cost], target: float | None, per: float = 1.0) -> Row:
    """Return the line for a work and its floor.

    Parameters
    ----------
    name
        What was measured.
    ours, floor
        Costs of each round.
    target
        Largest ratio that is good.
    per
        Number of pieces in a round; figures are given for one of them.
    """
    mine, least = median_cost(ours) / per, median_cost(floor) / per
    return Row(
        name,
        _text(mine),
        _text(least),
        _quotient(mine.cpu, least.cpu),
        _quotient(mine.wall, least.wall),
        target,
    )


def _quotient(one: float, other: float) -> float:
    return one / other if other > 0 else float("inf")


def _text(cost: Cost) -> str:
    return f"{cost.cpu * 1e3:.3g} / {cost.wall * 1e3:.3g} ms"


def format_rows(rows: Sequence[Row]) -> str:
    """Return the table in Markdown; times are CPU / wall."""
    lines = [
        "| what | ours | floor | ratio (CPU) | ratio (wall) | target | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}" if row.ratio >= 0.1 else f"{row.ratio:.4f}"
        wall = "" if row.wall_ratio is None else f"{row.wall_ratio:.2f}"
        target = "" if row.target is None else f"{row.target:g}"
        verdict = "" if row.target is None else "met" if row.is_met else "MISSED"
        lines.append(f"| {row.name} | {row.ours} | {row.floor} | {ratio} | {wall} | {target} | {verdict} |")
    return "\n".join(lines)
