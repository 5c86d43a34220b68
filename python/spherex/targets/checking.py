"""Checks of the name and the rows of a catalogue."""

from __future__ import annotations

import dataclasses
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from spherex.errors import CatalogError, FileNameError, listed
from spherex.file_names import LONGEST, check_file_name

if TYPE_CHECKING:
    from astropy.table import Column, Table
    from numpy.typing import NDArray


LARGEST_MOTION = 1e5
"""Proper motion (mas/yr) above that of all stars: the largest one known is a tenth of it."""

_NOT_IN_FILES = re.compile(r"[ ./<>:\"\\|?*]")
"""Characters that the Butler's templates of file names replace."""

_COINCIDENT = 0.006
"""Step (arcsec) of positions that are compared, a thousandth of a pixel: a fit does not separate closer targets."""

_YEARS = 10.0
"""Time in which targets with different motions move apart (yr)."""


_CATALOG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclasses.dataclass(frozen=True)
class CatalogProblem:
    """Reason why a row cannot be a target.

    Parameters
    ----------
    row
        Number of the row, from 1.
    reason
        The reason.
    """

    row: int
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.reason}"


def check_catalog_name(name: str) -> None:
    """Check the name of a catalogue.

    Parameters
    ----------
    name
        The name.

    Raises
    ------
    CatalogError
        If the name is too long, or contains other characters than letters,
        digits and ``. _ + -``.
    """
    if len(name) > LONGEST:
        raise CatalogError(f"the name of a catalogue has at most {LONGEST} characters, but {name!r} has {len(name)}.")
    if not _CATALOG_NAME.fullmatch(name):
        raise CatalogError(
            f"the name of a catalogue consists of letters, digits and . _ + - and begins with a letter or a digit: "
            f"{name!r}."
        )


def check_catalog(table: Table, problems: Iterable[CatalogProblem] = ()) -> list[CatalogProblem]:
    """Find the rows that cannot be targets.

    Parameters
    ----------
    table
        As `read_catalog` returns it.
    problems
        Problems that `read_catalog` has found. Their rows are not checked
        further.

    Returns
    -------
    problems
        Those given and found, in the order of the rows.
    """
    found = list(problems)
    unread = {problem.row for problem in found}
    ra, dec = (np.asarray(table[name], dtype=float) for name in ("ra", "dec"))
    names = np.asarray(table["name"], dtype=str).tolist()
    for number, (name, lon, lat) in enumerate(zip(names, ra.tolist(), dec.tolist(), strict=True), start=1):
        if number not in unread:
            reasons = [*_of_name(name), *_of_angle("ra", lon), *_of_angle("dec", lat)]
            found.extend(CatalogProblem(number, reason) for reason in reasons)
    found.extend(problem for problem in _of_motions(table) if problem.row not in unread)
    # A bad row leaves its name to others.
    bad = {problem.row for problem in found}
    found.extend(_of_equal_names(table, [row for row in range(len(table)) if row + 1 not in bad]))
    return sorted(found, key=lambda problem: problem.row)


def _of_equal_names(table: Table, rows: Sequence[int]) -> Iterator[CatalogProblem]:
    """Yield the rows whose name, or name in files, is that of other rows."""
    names = np.asarray(table["name"], dtype=str).tolist()
    groups: dict[str, list[int]] = {}
    for row in rows:
        groups.setdefault(names[row], []).append(row)
    repeated = np.array([row for group in groups.values() if len(group) > 1 for row in group], dtype=int)
    first = np.array([groups[names[row]][0] for row in repeated.tolist()], dtype=int)
    # Columns of each name whose values differ: nobody knows which row is right.
    different: dict[str, list[str]] = {}
    for column in table.colnames if len(repeated) else ():
        differs = unequal(table[column][repeated], table[column][first])
        for name in {names[row] for row in repeated[differs].tolist()}:
            different.setdefault(name, []).append(column)
    in_files: dict[str, tuple[int, str]] = {}
    for name, group in groups.items():
        if name in different:
            rows_of_name = listed([row + 1 for row in group])
            reason = f"its name {name} is in rows {rows_of_name} with different {', '.join(different[name])}"
            yield from (CatalogProblem(row + 1, reason) for row in group)
            continue
        yield from (CatalogProblem(row + 1, f"it repeats row {group[0] + 1} ({name})") for row in group[1:])
        key = _NOT_IN_FILES.sub("_", name).replace("#", "HASH")
        row, namesake = in_files.setdefault(key, (group[0], name))
        if namesake != name:
            reason = f"its name {name} would have files of the same name as {namesake} of row {row + 1}"
            yield CatalogProblem(group[0] + 1, reason)


def unequal(first: Column, second: Column) -> NDArray[np.bool_]:
    """Return in which rows two columns differ; missing values are equal to each other, and NaN to NaN.

    Parameters
    ----------
    first, second
        Columns of equal shape.
    """
    one, other = (np.asarray(column) for column in (first, second))
    differs = np.asarray(one != other)
    if one.dtype.kind in "fc" and other.dtype.kind in "fc":
        differs &= ~(np.isnan(one) & np.isnan(other))
    is_missing, is_other_missing = (np.ma.getmaskarray(np.ma.asarray(column)) for column in (first, second))
    differs = np.where(is_missing | is_other_missing, is_missing != is_other_missing, differs)
    result: NDArray[np.bool_] = np.logical_or.reduce(differs.reshape(len(differs), -1), axis=1)
    return result


def similar_names(table: Table) -> list[str]:
    """Return the groups of names that differ only in case or Unicode normal form.

    They are different targets, but look the same in a list, and have the same
    files where file systems do not distinguish them.

    Parameters
    ----------
    table
        As `read_catalog` returns it.

    Returns
    -------
    groups
        Such as ``"b Per, B Per"``, in the order of the rows.
    """
    groups: dict[str, dict[str, None]] = {}
    for name in np.asarray(table["name"], dtype=str).tolist():
        groups.setdefault(unicodedata.normalize("NFC", name.casefold()), {})[name] = None
    return [", ".join(names) for names in groups.values() if len(names) > 1]


def coincident_names(table: Table) -> list[str]:
    """Return the names of targets that are at the place of another one, and move with it.

    A fit cannot separate them, so that none of them has a flux.

    Parameters
    ----------
    table
        As `read_catalog` returns it, without problems.

    Returns
    -------
    names
        In the order of the rows.
    """
    ra, dec = (np.radians(np.asarray(table[name], dtype=float)) for name in ("ra", "dec"))
    places = np.degrees([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)]) * 3600
    if "pmra" in table.colnames:
        motions = [np.nan_to_num(np.asarray(table[name], dtype=float)) for name in ("pmra", "pmdec")]
        places = np.concatenate([places, np.multiply(motions, _YEARS / 1000)])
    _, cell, number = np.unique(np.round(places.T / _COINCIDENT), axis=0, return_inverse=True, return_counts=True)
    names: list[str] = np.asarray(table["name"], dtype=str)[number[cell.ravel()] > 1].tolist()
    return names


def _of_name(name: str) -> list[str]:
    try:
        check_file_name(name)
    except FileNameError as error:
        return [f"its name {error}" if name else "the name is empty"]
    return []


def _of_angle(name: str, value: float) -> list[str]:
    if math.isnan(value):
        return [f"its {name} is not a number"]
    # The reader has added 360 to right ascensions from -180 to 0.
    is_inside, limits = (0 <= value < 360, "-180 to 360") if name == "ra" else (-90 <= value <= 90, "-90 to 90")
    return [] if is_inside else [f"its {name} {value} is not in the range {limits} degrees"]


def _of_motions(table: Table) -> list[CatalogProblem]:
    if "pmra" not in table.colnames:
        return []
    pmra, pmdec, epoch = (np.asarray(table[name], dtype=float) for name in ("pmra", "pmdec", "ref_epoch"))
    moves = ~(np.isnan(pmra) & np.isnan(pmdec))
    half = moves & ~(np.isfinite(pmra) & np.isfinite(pmdec))
    # What does not move needs no epoch.
    dateless = moves & ~half & ~((epoch > 1800) & (epoch < 2200)) & ~((pmra == 0) & (pmdec == 0))
    fast = moves & ~half & (np.hypot(pmra, pmdec) > LARGEST_MOTION)
    return [
        *(
            CatalogProblem(int(row) + 1, f"its proper motion {pmra[row]}, {pmdec[row]} is not two numbers")
            for row in np.flatnonzero(half)
        ),
        *(
            CatalogProblem(int(row) + 1, f"its proper motion has the epoch {epoch[row]}, which is not a Julian year")
            for row in np.flatnonzero(dateless)
        ),
        *(
            CatalogProblem(
                int(row) + 1,
                f"its proper motion {pmra[row]}, {pmdec[row]} mas/yr is more than any star's: are the units right?",
            )
            for row in np.flatnonzero(fast)
        ),
    ]
