"""Whether the rows of a catalogue can be targets."""

from __future__ import annotations

__all__ = ["LONGEST_NAME", "CatalogProblem", "check_catalog", "check_catalog_name"]

import dataclasses
import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astropy.table import Table

LONGEST_NAME = 64
"""Characters of a name, as the dimensions catalog and target have them (configs/dimensions.yaml)."""

_CATALOG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclasses.dataclass(frozen=True)
class CatalogProblem:
    """What is wrong with a row.

    Parameters
    ----------
    row
        Number of the row, from 1.
    reason
        What is wrong.
    """

    row: int
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.reason}"


def check_catalog_name(name: str) -> str | None:
    """Return why a name cannot be that of a catalogue; `None` if it can."""
    if len(name) > LONGEST_NAME:
        return f"the name of a catalogue has at most {LONGEST_NAME} characters, {name!r} has {len(name)}"
    if not _CATALOG_NAME.fullmatch(name):
        return (
            f"the name of a catalogue is of letters, digits and . _ + - and begins with one of the first two: {name!r}"
        )
    return None


def check_catalog(table: Table) -> list[CatalogProblem]:
    """Find the rows that cannot be targets.

    Parameters
    ----------
    table
        As `read_catalog` returns it.

    Returns
    -------
    problems
        In the order of the rows.
    """
    problems: list[CatalogProblem] = []
    seen: dict[str, tuple[int, str]] = {}
    ra, dec = (np.asarray(table[name], dtype=float) for name in ("ra", "dec"))
    names = np.asarray(table["name"], dtype=str).tolist()
    for number, (name, one_ra, one_dec) in enumerate(zip(names, ra.tolist(), dec.tolist(), strict=True), start=1):
        reasons = [
            *_of_name(name),
            *([] if 0 <= one_ra < 360 else [f"ra {one_ra} is not in the range 0 to 360 degrees"]),
            *([] if -90 <= one_dec <= 90 else [f"dec {one_dec} is not in the range -90 to 90 degrees"]),
        ]
        # The Butler writes these characters in names of files as others.
        key = re.sub(r"[./]", "_", name).replace("#", "HASH")
        first = seen.setdefault(key, (number, name))
        if name and first[0] != number:
            same = "the same name" if first[1] == name else f"{first[1]}, which would have the same files,"
            reasons.append(f"{name}: {same} has row {first[0]}")
        problems.extend(CatalogProblem(number, reason) for reason in reasons)
    problems.extend(_of_motions(table))
    return sorted(problems, key=lambda problem: problem.row)


def _of_name(name: str) -> list[str]:
    if not name:
        return ["it has no name"]
    if len(name) > LONGEST_NAME:
        return [f"its name has {len(name)} characters, more than {LONGEST_NAME}: {name}"]
    if not name.isprintable():
        return [f"its name has characters that cannot be printed: {name!r}"]
    return []


def _of_motions(table: Table) -> list[CatalogProblem]:
    if "pmra" not in table.colnames:
        return []
    pmra, pmdec, epoch = (np.asarray(table[name], dtype=float) for name in ("pmra", "pmdec", "ref_epoch"))
    half = np.isfinite(pmra) != np.isfinite(pmdec)
    moves = np.isfinite(pmra) & np.isfinite(pmdec)
    dateless = moves & ~((epoch > 1800) & (epoch < 2200))
    return [
        *(CatalogProblem(int(row) + 1, "it has only one of pmra and pmdec") for row in np.flatnonzero(half)),
        *(
            CatalogProblem(int(row) + 1, f"its proper motion has the epoch {epoch[row]}, which is no year")
            for row in np.flatnonzero(dateless)
        ),
    ]
