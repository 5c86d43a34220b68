"""Catalogues of targets: which columns of a table are names, positions and motions, in which units."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spherex.errors import CatalogError, listed
from spherex.numbers import is_number, is_sexagesimal, number_of_text, sexagesimal

from .checking import CatalogProblem
from .files import free_name, numbers_if_all_are, plain_name, read_table

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.units import UnitBase
    from numpy.typing import NDArray


_NAMES = (
    *("name", "target", "target_name", "object", "object_name", "label", "source_name", "main_id"),
    *("source_id", "source", "designation", "id", "objid"),
)

_PAIRS = (
    (("ra",), ("dec", "de")),
    (("ra_deg", "radeg"), ("dec_deg", "decdeg", "de_deg", "dedeg")),
    (("raj2000", "ra_j2000"), ("dej2000", "decj2000", "dec_j2000", "de_j2000")),
    (("ra_icrs", "raicrs"), ("de_icrs", "deicrs", "dec_icrs", "decicrs")),
    (("_raj2000",), ("_dej2000",)),
    (("right_ascension", "rightascension"), ("declination",)),
)
"""Usual names of right ascension and declination."""

_COUNTED = re.compile(r"(?P<name>.*?)(?P<number>_[0-9]{1,2})?", re.DOTALL)
"""Name of a column with the number that programs add to the second one of a name."""

_AXES = ("ra", "dec")
_MOTIONS = ("pmra", "pmdec")

_UNITS = {"ra": "deg", "dec": "deg", "pmra": "mas / yr", "pmdec": "mas / yr"}
"""Units of columns without a unit, and of the result."""

_USUAL: Mapping[str, tuple[str, ...]] = {
    "name": _NAMES,
    "ra": tuple(name for names, _ in _PAIRS for name in names),
    "dec": tuple(name for _, names in _PAIRS for name in names),
    "pmra": ("pmra", "pm_ra", "pm_ra_cosdec", "pmra_cosdec"),
    "pmdec": ("pmdec", "pm_dec", "pmde"),
    "ref_epoch": ("ref_epoch", "epoch", "refepoch"),
}
"""Usual names of columns in catalogues, by our names."""

_MOVING = re.compile(
    r"(?:^|_)(?:pm|mu)_?(?:ra|dec?|alpha|delta)(?:cos|deg|star|(?![a-z]))"
    r"|(?:^|_)(?:ra|dec?)_?pm(?![a-z])"
    r"|proper_?motion"
)
"""Names of columns that may be proper motions."""

_DEGREES = ("degree", "degrees", "deg.", "decimal degrees")
_HOURS = ("h", "hr", "hrs", "hour", "hours")
_SEXAGESIMAL_UNITS = ("h:m:s", "d:m:s", "hms", "dms", "hourangle", "sexagesimal")

_SAME = 0.1
"""Largest distance of positions that are the same (arcsec): a sixtieth of a pixel."""


@dataclasses.dataclass(frozen=True)
class Motion:
    """What the user decides about proper motions.

    Parameters
    ----------
    is_used
        Whether columns of proper motions are used.
    epoch
        Julian year of all positions; NaN for the column of the file.
    """

    is_used: bool = True
    epoch: float = np.nan


def read_catalog(
    location: str,
    chosen: Mapping[str, str] | None = None,
    motion: Motion | None = None,
    problems: list[CatalogProblem] | None = None,
    faults: list[str] | None = None,
) -> Table:
    """Read a catalogue, with our names and units of columns.

    Parameters
    ----------
    location
        Path or URI of a table: see ``doc/targets.md`` for the formats.
    chosen
        Names of columns in the file, by our names. The default is the usual
        names, in upper or lower case, with underscores, blanks or hyphens.
    motion
        What to do with proper motions. The default is to use them.
    problems
        List to which rows are added that contain other texts than numbers;
        their values become NaN. By default they raise an error.
    faults
        List to which a message is added if the file says that rows are
        missing. By default it raises an error.

    Returns
    -------
    table
        Columns name (text), ra (from 0), dec (deg), and pmra (on the sky),
        pmdec (mas/yr) and ref_epoch (Julian year) if the file contains
        proper motions; then all others. A number is added to other columns
        with one of our names. Masked values become NaN, or an empty name.

    Raises
    ------
    CatalogError
        If the file cannot be read, a column is missing or cannot be used, or
        columns contradict each other.
    """
    from astropy.table import Column, Table

    chosen, motion = chosen or {}, motion or Motion()
    content = read_table(location, {plain_name(name) for name in (chosen.get("name"), *_NAMES) if name})
    table = content.table
    if not len(table):
        raise CatalogError(f"{location} has no rows.")
    if content.incomplete:
        if faults is None:
            raise CatalogError(f"{location}: {content.incomplete}.")
        faults.append(content.incomplete)
    for column in chosen.values():
        if column not in table.colnames:
            raise CatalogError(f"{location} has no column {column}; it has {', '.join(table.colnames)}.")
    reader = _Reader(table, chosen, location)
    used = {"name": reader.name_column(), **dict(zip(_AXES, reader.coordinates(), strict=True))}
    used |= reader.motion(motion)
    for name, column in used.items():
        if other := next((key for key in used if key != name and used[key] == column), None):
            raise CatalogError(f"{location}: column {column} cannot be {name} and {other}.")
    values = {name: reader.values(name, column) for name, column in used.items()}
    if "pmra" in values and "ref_epoch" not in values:
        values["ref_epoch"] = np.full(len(table), motion.epoch)
    reader.report(used.values(), problems)
    renamed = Table(meta={})
    for name, array in values.items():
        renamed[name] = Column(array, unit=_UNITS.get(name))
    for name in table.colnames:
        if name not in used.values():
            # Columns with these names would be taken for motions.
            key = free_name(name, (*renamed.colnames, *_MOTIONS))
            renamed[key] = table[name] if content.is_typed else numbers_if_all_are(table[name])
    return renamed


class _Reader:
    """Columns of a table, by our names.

    Parameters
    ----------
    table
        The table of the file.
    chosen
        Names of its columns that the user has chosen, by our names.
    location
        Its path or URI.
    """

    def __init__(self, table: Table, chosen: Mapping[str, str], location: str) -> None:
        self._table = table
        self._chosen = chosen
        self._location = location
        self._cache: dict[tuple[str, str], NDArray[Any]] = {}
        self._bad: dict[str, list[CatalogProblem]] = {}

    def _usual(self, name: str) -> list[str]:
        """Return the columns with a usual name, in the order of these names and of the file."""
        columns = self._table.colnames
        return [column for usual in _USUAL[name] for column in columns if plain_name(column) == usual]

    def name_column(self) -> str:
        """Return the column of the names: the chosen one, or the first usual name, in its own case before others."""
        if "name" in self._chosen:
            return self._chosen["name"]
        found = self._usual("name")
        if not found:
            raise self._missing("name")
        return next((one for one in found if plain_name(one) == plain_name(found[0]) and one in _NAMES), found[0])

    def _missing(self, name: str) -> CatalogError:
        # In one message with the coordinates, so that the next try succeeds.
        has_pair = any(self._pairs())
        others = [
            axis
            for axis in _AXES
            if axis != name and axis not in self._chosen and not has_pair and not self._usual(axis)
        ]
        nor = f" and no {' or '.join(others)}" if others else ""
        return CatalogError(
            f"{self._location} has no column {name} (also known: {', '.join(_USUAL[name][1:])}){nor}; choose one of "
            f"{', '.join(self._table.colnames)} with {', '.join(f'--{column}-column' for column in (name, *others))}."
        )

    def coordinates(self) -> tuple[str, str]:
        """Return the columns of right ascension and declination.

        Raises
        ------
        CatalogError
            If there is no such pair of columns, or if pairs have different
            positions: with a proper motion a pair of another epoch would put
            the target elsewhere.
        """
        if "ra" in self._chosen and "dec" in self._chosen:
            return self._chosen["ra"], self._chosen["dec"]
        found = [self._usual(axis) for axis in _AXES]
        pairs = [pair for pair in self._pairs() if all(self._fits(*part) for part in zip(_AXES, pair, strict=True))]
        if not pairs:
            # One of the two is chosen, or has an unusual name.
            sides = [
                [self._chosen[axis]] if axis in self._chosen else one for axis, one in zip(_AXES, found, strict=True)
            ]
            for axis, side in zip(_AXES, sides, strict=True):
                if not side:
                    raise self._missing(axis)
            pairs = [(ra, dec) for ra in sides[0] for dec in sides[1]]
            if not any(axis in self._chosen for axis in _AXES):
                raise CatalogError(
                    f"{self._location} has columns {', '.join(itertools.chain(*sides))}, which are not known to be a "
                    "pair of coordinates; choose with --ra-column and --dec-column."
                )
        for other in pairs[1:]:
            apart = self._distance(pairs[0], other)
            row = int(np.argmax(apart))
            if not apart[row] <= _SAME:
                where = "one of them is missing" if np.isinf(apart[row]) else f"{apart[row]:.3g} arcsec apart"
                given = "; ".join(f"{ra}, {dec}" for ra, dec in pairs)
                raise CatalogError(
                    f"{self._location} has {len(pairs)} pairs of coordinates, {given}, with different positions "
                    f"({where} in row {row + 1}); choose the pair in ICRS, and at the epoch of proper motions, with "
                    "--ra-column and --dec-column."
                )
        return pairs[0]

    def _fits(self, axis: str, column: str) -> bool:
        return self._chosen.get(axis, column) == column

    def _pairs(self) -> Iterator[tuple[str, str]]:
        columns = self._table.colnames
        parts = {column: _COUNTED.fullmatch(plain_name(column)) for column in columns}
        for names, number in itertools.product(
            _PAIRS, dict.fromkeys(part["number"] for part in parts.values() if part)
        ):
            ra, dec = (
                [column for column, part in parts.items() if part and part["number"] == number and part["name"] in side]
                for side in names
            )
            yield from zip(ra, dec, strict=True) if len(ra) == len(dec) else itertools.product(ra, dec)
        for column in columns:
            # Coordinates of astropy.
            if column.endswith(".ra") and (other := f"{column.removesuffix('.ra')}.dec") in columns:
                yield column, other

    def _distance(self, first: Sequence[str], second: Sequence[str]) -> NDArray[np.float64]:
        """Return the distance of the positions in two pairs of columns (arcsec); infinite where one is missing."""
        vectors = []
        for pair in (first, second):
            ra, dec = (np.radians(self.values(*part)) for part in zip(_AXES, pair, strict=True))
            vectors.append(np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)]))
        chord = np.linalg.norm(vectors[0] - vectors[1], axis=0)
        distance = np.degrees(2 * np.arcsin(np.minimum(chord / 2, 1.0))) * 3600
        is_missing = [np.isnan(one).any(axis=0) for one in vectors]
        return np.where(np.isnan(distance), np.where(is_missing[0] & is_missing[1], 0.0, np.inf), distance)

    def motion(self, motion: Motion) -> dict[str, str]:
        """Return the columns of proper motions and their epoch that are used, by our names.

        Raises
        ------
        CatalogError
            If one of them is missing, or there are several.
        """
        named = [f"--{name.replace('_', '-')}-column" for name in (*_MOTIONS, "ref_epoch") if name in self._chosen]
        has_epoch = np.isfinite(motion.epoch)
        if not motion.is_used:
            if named or has_epoch:
                raise CatalogError(f"--no-motion contradicts {', '.join(named) or '--ref-epoch'}.")
            return {}
        if has_epoch and "ref_epoch" in self._chosen:
            raise CatalogError("--ref-epoch contradicts --ref-epoch-column.")
        if has_epoch:
            self._compare_epoch(motion.epoch)
        names = _MOTIONS if has_epoch else (*_MOTIONS, "ref_epoch")
        found = {name: column for name in names if (column := self._single(name)) is not None}
        has = [*found, *(["--ref-epoch"] if has_epoch else [])]
        if not found.keys() & set(_MOTIONS) and not has_epoch and "ref_epoch" not in self._chosen:
            if unknown := [column for column in self._table.colnames if _MOVING.search(plain_name(column))]:
                # A star that moves by four pixels would get the flux of the empty sky beside it.
                raise CatalogError(
                    f"{self._location} has columns that may be proper motions, {', '.join(unknown)}: choose them with "
                    "--pmra-column and --pmdec-column, and the epoch with --ref-epoch-column or --ref-epoch, or do not "
                    "use them (--no-motion)."
                )
            return {}
        missing = [name for name in _MOTIONS if name not in found]
        if not missing and not has_epoch and "ref_epoch" not in found:
            pmra, pmdec = (np.nan_to_num(self.values(name, found[name])) for name in _MOTIONS)
            if (pmra == 0).all() and (pmdec == 0).all():
                # What does not move needs no epoch.
                return found
            missing = ["ref_epoch"]
        if missing:
            raise CatalogError(
                f"{self._location} has {' and '.join(has)}, but not {' and '.join(missing)}: proper motions need "
                "pmra, pmdec and ref_epoch. Choose the columns with --pmra-column, --pmdec-column and "
                "--ref-epoch-column, write the Julian year of all positions (--ref-epoch 2016.0), or do not use "
                "the motions (--no-motion)."
            )
        return found

    def _compare_epoch(self, epoch: float) -> None:
        """Raise an error if a column of the epoch has other values than the option."""
        for column in self._usual("ref_epoch"):
            values = self.values("ref_epoch", column)
            differs = ~np.isnan(values) & (values != epoch)
            differs[[problem.row - 1 for problem in self._bad.get(column, [])]] = True
            if differs.any():
                row = int(np.argmax(differs))
                raise CatalogError(
                    f"{self._location}: --ref-epoch {epoch} contradicts column {column}, which has "
                    f"{self._table[column][row]} in row {row + 1}; leave out the option to use the column, or rename "
                    "the column if it is not the epoch of the positions."
                )

    def _single(self, name: str) -> str | None:
        """Return the column of a motion or an epoch; `None` if there is none."""
        if name in self._chosen:
            return self._chosen[name]
        found = self._usual(name)
        for other in found[1:]:
            if not np.array_equal(self.values(name, found[0]), self.values(name, other), equal_nan=True):
                raise CatalogError(
                    f"{self._location} has several columns for {name} with different values, {', '.join(found)}; "
                    f"choose one with --{name.replace('_', '-')}-column."
                )
        return found[0] if found else None

    def values(self, name: str, column: str) -> NDArray[Any]:
        """Return the values of a column in our unit; NaN, or an empty name, where there is none.

        Parameters
        ----------
        name
            Our name.
        column
            Name of the column.

        Raises
        ------
        CatalogError
            If it has another type or unit.
        """
        if (name, column) not in self._cache:
            if self._table[column].ndim > 1:
                raise CatalogError(f"{self._location}: column {column} for {name} has more than one value in a row.")
            read = self._texts if name == "name" else self._numbers
            self._cache[name, column] = read(name, column)
        return self._cache[name, column]

    def _texts(self, name: str, column: str) -> NDArray[np.str_]:
        values = self._table[column]
        if values.dtype.kind not in "Uiu":
            raise CatalogError(
                f"{self._location}: column {column} for name has values of type {values.dtype.name}: names are "
                "texts or whole numbers."
            )
        values = np.ma.asarray(values)
        texts = np.array([str(value).strip() for value in np.ma.getdata(values).tolist()])
        texts[np.ma.getmaskarray(values)] = ""
        return texts

    def _numbers(self, name: str, column: str) -> NDArray[np.float64]:
        values = self._table[column]
        wanted, unit = _UNITS.get(name), getattr(values, "unit", None)
        kind = values.dtype.kind
        if kind == "U":
            numbers, unit = self._parsed(name, column, unit)
        elif kind in "fiu":
            numbers = np.asarray(np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan))
        else:
            raise CatalogError(
                f"{self._location}: column {column} for {name} has values of type {values.dtype.name}, which are "
                "not numbers."
            )
        if wanted is not None and unit is not None and unit != "":
            numbers = self._converted(numbers, name, column, unit)
        if name == "ra":
            is_west = (numbers >= -180.0) & (numbers < 0.0)
            numbers = np.where(is_west, numbers + 360.0, numbers)
            # The sum with a tiny number is 360, too.
            numbers[numbers == 360.0] = 0.0
        return numbers

    def _converted(self, numbers: NDArray[np.float64], name: str, column: str, unit: Any) -> NDArray[np.float64]:
        from astropy import units

        word = str(unit).strip().lower()
        known: UnitBase | Any = unit
        if name in _AXES and word in _DEGREES:
            known = units.deg
        elif name == "ra" and word in _HOURS:
            known = units.hourangle
        elif isinstance(unit, units.UnrecognizedUnit):
            # Known to astropy, but not in this format.
            known = units.Unit(word, parse_strict="silent")
        if known == units.hourangle and name == "ra":
            outside = np.isfinite(numbers) & ~((numbers >= -12.0) & (numbers <= 24.0))
            for row in np.flatnonzero(outside).tolist():
                text = str(self._table[column][row]).strip()
                if not getattr(self._table[column], "unit", None):
                    # If the column is in degrees, all its rows would become wrong positions.
                    raise CatalogError(
                        f"{self._location}: column {column} for ra is read as hours, but {text} in row {row + 1} is "
                        "not in the range -12 to 24 hours. If the column is in degrees, write them as decimal numbers "
                        f"({numbers[row]:.10g} in this row); otherwise correct the row."
                    )
                self._bad.setdefault(column, []).append(
                    CatalogProblem(row + 1, f"its ra {text} is read as hours and is not in the range -12 to 24 hours")
                )
            numbers = np.where(outside, np.nan, numbers)
            # By astropy 10 h are 149.99999999999997 degrees.
            return numbers * 15.0
        try:
            return units.Quantity(numbers, known).to_value(_UNITS[name])
        except (TypeError, ValueError, units.UnitConversionError):
            raise CatalogError(
                f"{self._location}: column {column} for {name} is in {unit}, which astropy does not convert to "
                f"{_UNITS[name]}."
            ) from None

    def _parsed(self, name: str, column: str, unit: Any) -> tuple[NDArray[np.float64], Any]:
        """Return the numbers in texts with their unit: decimal, or all of them sexagesimal in ra and dec."""
        from astropy import units

        values = np.ma.asarray(self._table[column])
        texts = np.where(np.ma.getmaskarray(values), "", np.ma.getdata(values)).tolist()
        word = "" if unit is None else str(unit).strip().strip('"').lower()
        # A right ascension such as 20:32:06 in a column in degrees could be either.
        fitting = ("", *_SEXAGESIMAL_UNITS, *(_HOURS if name == "ra" else ("deg", *_DEGREES)))
        can_be = name in _AXES and word in fitting
        check, read, what, unit_of_texts = is_number, number_of_text, "a decimal number", unit
        row = next((row for row, text in enumerate(texts) if can_be and is_sexagesimal(text)), None)
        if row is not None:
            other = next((row for row, text in enumerate(texts) if is_number(text)), None)
            if other is not None:
                raise CatalogError(
                    f"{self._location}: column {column} for {name} has sexagesimal and decimal values (row {row + 1}: "
                    f"{texts[row].strip()}, row {other + 1}: {texts[other].strip()}): write all in one form."
                )
            check, read, what = is_sexagesimal, sexagesimal, "sexagesimal as others in its column"
            unit_of_texts = units.hourangle if name == "ra" else units.deg
        numbers = np.full(len(texts), np.nan)
        bad = self._bad.setdefault(column, [])
        for row, text in enumerate(texts):
            if check(text):
                numbers[row] = read(text)
            elif text.strip():
                bad.append(CatalogProblem(row + 1, f"its {name} {text.strip()[:30]} is not {what}"))
        return numbers, unit_of_texts

    def report(self, used: Any, problems: list[CatalogProblem] | None) -> None:
        """Add rows with other texts than numbers in the used columns to problems, or raise an error."""
        for column in used:
            bad = self._bad.get(column, [])
            if problems is not None:
                problems += bad
            elif bad:
                raise CatalogError(
                    f"{self._location}: column {column} has values that cannot be used, {listed(bad, separator='; ')}; "
                    "choose another column with its option, or correct the values."
                )
