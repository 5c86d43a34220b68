"""Flags of pixels: names of the bits, and presets of flags that make a pixel bad.

`spherex.fits.flag_table_of` (fits/flag_names.py) reads the names of an image
from its FLAGS header.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from spherex.errors import did_you_mean

from .box import Box


@dataclasses.dataclass(frozen=True)
class BadPixelPreset:
    """Published choice of flags that make a pixel bad.

    Parameters
    ----------
    source
        Publication or program that uses the choice.
    names
        Names of the flags; `None` for all of an image.
    kept
        Names of flags that do not make a pixel bad.
    """

    source: str
    names: frozenset[str] | None = None
    kept: frozenset[str] = frozenset()

    def of(self, known: Iterable[str]) -> set[str]:
        """Return the flags of the choice that an image has."""
        wanted = set(known) if self.names is None else self.names.intersection(known)
        return set(wanted - self.kept)


ARTEFACT_FLAGS = frozenset(
    {"BLOOM", "CROSSTALK", "DICHROIC", "GHOST", "GHOST_EXT", "GHOST_FPA", "HALO", "PERSIST"}
    | {"SATELLITE_HALO", "SNOWBALL", "STREAK"}
)
"""Flags of light that is not from the sky at that place."""

_HELPDESK = frozenset({"SUR_ERROR", "NONFUNC", "MISSING_DATA", "HOT", "COLD", "NONLINEAR", "PERSIST"})

BAD_PIXEL_PRESETS: Mapping[str, BadPixelPreset] = {
    "cube": BadPixelPreset(
        "SPHEREx Explanatory Supplement, section 3.4.3, table 16, and IRSA's Mosaic Tool",
        kept=frozenset({"OVERFLOW", "FULLSAMPLE", "OUTLIER", "SOURCE"}),
    ),
    "fit": BadPixelPreset(
        "IRSA helpdesk, for fits of point sources (as in SPIFF, spherextract, cutoutdb), and artefacts",
        _HELPDESK | ARTEFACT_FLAGS,
    ),
    "background": BadPixelPreset(
        "IRSA helpdesk, for the background of fits (as in SPIFF), and artefacts",
        _HELPDESK | ARTEFACT_FLAGS | {"OVERFLOW", "SOURCE", "OUTLIER", "TRANSIENT"},
    ),
    "suspect": BadPixelPreset(
        "measurements on simulated frames (doc/quality.md): flags that good cores of bright stars have, too",
        (ARTEFACT_FLAGS - {"PERSIST"}) | {"TRANSIENT", "SUR_ERROR", "OVERFLOW", "PHANTOM", "REFERENCE", "PHANMISS"},
    ),
    "tractor": BadPixelPreset(
        "tractorjax-spherex",
        frozenset({"SUR_ERROR", "PHANMISS", "NONFUNC", "MISSING_DATA", "HOT", "COLD", "PERSIST", "OUTLIER"}),
    ),
    "spxquery": BadPixelPreset(
        "spxquery and sx_phot",
        frozenset({"TRANSIENT", "OVERFLOW", "SUR_ERROR", "NONFUNC", "DICHROIC"})
        | {"MISSING_DATA", "HOT", "COLD", "NONLINEAR"},
    ),
    "discovery": BadPixelPreset(
        "IRSA's tutorial on the discovery of sources",
        frozenset({"TRANSIENT", "OVERFLOW", "SUR_ERROR", "PHANTOM", "REFERENCE", "NONFUNC", "DICHROIC"})
        | {"MISSING_DATA", "HOT", "COLD", "FULLSAMPLE", "PHANMISS", "NONLINEAR", "PERSIST", "OUTLIER"},
    ),
}
"""Presets by name. Only in ``background`` the flag SOURCE makes a pixel bad: it is
set on 40 to 99 % of the pixels.
"""

DEFAULT_PRESET = "cube"
"""Preset of the mission."""


def bad_flags(names: str | Iterable[str], known: Collection[str]) -> set[str]:
    """Return the flags that make a pixel of an image bad.

    Parameters
    ----------
    names
        Name of a preset, name of a flag, or several names of flags.
    known
        Names of the flags of the image.

    Raises
    ------
    KeyError
        If the image does not have one of the flags.
    ValueError
        If the image has none of the flags of a preset.
    """
    if isinstance(names, str):
        if names in BAD_PIXEL_PRESETS:
            chosen = BAD_PIXEL_PRESETS[names].of(known)
            if not chosen:
                raise ValueError(
                    f"The image has no flag of the preset {names!r}; it has "
                    f"{', '.join(known) or 'none'}. Name flags yourself, or set the flag_table of the image."
                )
            return chosen
        names = (names,)
    wanted = set(names)
    if unknown := wanted.difference(known):
        raise KeyError(f"{_unknown(sorted(unknown), known)} Presets are {', '.join(BAD_PIXEL_PRESETS)}.")
    return wanted


def check_flag_names(names: Iterable[str]) -> None:
    """Check names of flags before any image is read.

    Parameters
    ----------
    names
        Names of presets and of flags.

    Raises
    ------
    ValueError
        If no release has a flag of one of these names.
    """
    if unknown := sorted(set(names) - BAD_PIXEL_PRESETS.keys() - KNOWN_FLAGS):
        similar = "".join(did_you_mean(name, {*BAD_PIXEL_PRESETS, *KNOWN_FLAGS}) for name in unknown)
        raise ValueError(
            f"There is no flag {', '.join(unknown)} (write a list, ['fit', 'STREAK']).{similar} Presets are "
            f"{', '.join(BAD_PIXEL_PRESETS)}, flags {', '.join(sorted(KNOWN_FLAGS))}."
        )


def _unknown(names: Iterable[str], known: Collection[str]) -> str:
    """Return a message on names that are not those of flags of an image."""
    similar = "".join(did_you_mean(name, known) for name in names)
    return f"No flag {', '.join(names)} in this image; it has {', '.join(known) or 'none'}.{similar}"


def flags_in(names: Iterable[str], known: Collection[str]) -> set[str]:
    """Return those of some flags that an image has.

    Parameters
    ----------
    names
        Names of flags.
    known
        Names of the flags of the image.

    Raises
    ------
    KeyError
        If neither this image nor any other one has a flag of that name.
    """
    if isinstance(names, str):
        names = (names,)
    wanted = set(names)
    if unknown := wanted.difference(known, KNOWN_FLAGS):
        raise KeyError(_unknown(sorted(unknown), known or sorted(KNOWN_FLAGS)))
    return wanted.intersection(known)


def chosen_flags(names: Iterable[str], known: Collection[str]) -> set[str]:
    """Return the flags of an image that presets and names choose; those that the image does not have are ignored.

    Parameters
    ----------
    names
        Names of presets and flags.
    known
        Names of the flags of the image.
    """
    presets = [BAD_PIXEL_PRESETS.get(name, BadPixelPreset("", frozenset({name}))) for name in names]
    return {flag for preset in presets for flag in preset.of(known)}


def includes_unnamed_bits(name: str) -> bool:
    """Return whether a name is that of a preset of all flags but a few."""
    return name in BAD_PIXEL_PRESETS and BAD_PIXEL_PRESETS[name].names is None


_BITS_OF_A_PLANE = 32
_MISSING = "MISSING_DATA"


class FlagTable(Mapping[str, int]):
    """Names of the flags of an image, and their bits.

    The table differs between releases of the archive, and even within a
    release, so each image has the table of its own file.

    Parameters
    ----------
    bits
        Bit number, 0 to 31, of each flag name.

    Raises
    ------
    ValueError
        If a bit is out of range, or two names share a bit.

    Examples
    --------
    >>> import spherex
    >>> image = spherex.read("image.fits")
    >>> image.flag_table["SOURCE"]
    21
    >>> spherex.FlagTable({"HOT": 10, "COLD": 11})["COLD"]
    11
    """

    def __init__(self, bits: Mapping[str, int]) -> None:
        self._bits = {str(name): int(bit) for name, bit in bits.items()}
        names: dict[int, str] = {}
        for name, bit in self._bits.items():
            if not 0 <= bit < _BITS_OF_A_PLANE:
                raise ValueError(f"Flag {name} has bit {bit}; a flag plane has the bits 0 to 31.")
            if bit in names:
                raise ValueError(f"Flags {names[bit]} and {name} share bit {bit}.")
            names[bit] = name

    def __getitem__(self, name: str) -> int:
        try:
            return self._bits[name]
        except KeyError:
            raise KeyError(_unknown([name], self._bits)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._bits

    def __iter__(self) -> Iterator[str]:
        return iter(self._bits)

    def __len__(self) -> int:
        return len(self._bits)

    def __repr__(self) -> str:
        return f"FlagTable({self._bits})"

    def __hash__(self) -> int:
        return hash(frozenset(self._bits.items()))

    def __eq__(self, other: object) -> bool:
        return self._bits == other._bits if isinstance(other, FlagTable) else NotImplemented

    def bits(self, *names: str) -> np.int32:
        """Return the integer that has the bits of the named flags set.

        Raises
        ------
        KeyError
            If the table has no such flag.
        """
        return np.uint32(sum(1 << self[name] for name in set(names))).view(np.int32)

    def chosen(self, names: Iterable[str], but: Iterable[str] = ()) -> np.int32:
        """Return the integer that has the bits of the flags set that presets and names choose.

        Parameters
        ----------
        names
            Names of presets and flags. Those that the table does not have are
            ignored.
        but
            Names of presets and flags to leave out.
        """
        bits = self.bits(*(chosen_flags(names, self) - chosen_flags(but, self)))
        # A bit without a name is none of the few harmless flags.
        return bits | self.unnamed if any(includes_unnamed_bits(name) for name in names) else bits

    @property
    def unnamed(self) -> np.int32:
        """Integer that has all bits without a name set."""
        return ~self.bits(*self)

    @property
    def missing(self) -> np.int32:
        """Flags of a pixel outside of the detector: MISSING_DATA, or none if the table lacks it."""
        return self.bits(*{_MISSING} & self.keys())

    def merged(self, other: FlagTable) -> FlagTable:
        """Return a table with the flags of both.

        Names of this table keep their bits. A name that only the other table
        has keeps its bit if that is free, or gets the lowest free bit.

        Raises
        ------
        ValueError
            If the two have more than 32 different names.
        """
        bits = dict(self._bits)
        # Names with a free bit come first, or a displaced name could get that
        # bit.
        missing = [(name, bit) for name, bit in other._bits.items() if name not in bits]
        used = set(bits.values())
        displaced = []
        for name, bit in missing:
            if bit in used:
                displaced.append(name)
            else:
                bits[name] = bit
                used.add(bit)
        free = iter(sorted(set(range(_BITS_OF_A_PLANE)) - used))
        for name in displaced:
            try:
                bits[name] = next(free)
            except StopIteration:
                raise ValueError(
                    f"The two flag tables have more than {_BITS_OF_A_PLANE} names together; no bit is left for {name}."
                ) from None
        return FlagTable(bits)


@dataclasses.dataclass(frozen=True)
class FlagPlane:
    """Flags of all pixels, with the names of the bits.

    Parameters
    ----------
    array
        Flags, int32, shape (rows, columns).
    table
        Names of the bits.
    """

    array: np.ndarray
    table: FlagTable

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array, dtype=dtype, copy=copy)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FlagPlane):
            return NotImplemented
        return self.table == other.table and np.array_equal(self.array, other.array)

    __hash__ = None  # type: ignore[assignment]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (rows, columns)."""
        return self.array.shape

    def has(self, *names: str) -> np.ndarray:
        """Return the pixels with at least one of the named flags.

        Returns
        -------
        mask : `numpy.ndarray`
            Boolean, shape (rows, columns).
        """
        return (self.array & self.table.bits(*names)) != 0

    def cutout(self, box: Box) -> FlagPlane:
        """Return the flags in a box; pixels outside of the plane get the flag MISSING_DATA."""
        return FlagPlane(box.cut(self.array, self.table.missing), self.table)

    def bad_pixels(self, names: str | Iterable[str] = DEFAULT_PRESET) -> np.ndarray:
        """Return the pixels that should not be used.

        Parameters
        ----------
        names
            Name of one of `BAD_PIXEL_PRESETS`, name of a flag, or several
            names of flags.

        Returns
        -------
        mask : `numpy.ndarray`
            Boolean, shape (rows, columns).

        Raises
        ------
        KeyError
            If the image does not have a flag that is named. Flags of a preset
            that it does not have are ignored.
        ValueError
            If the image has none of the flags of a preset.
        """
        bad = self.has(*bad_flags(names, self.table))
        if isinstance(names, str) and includes_unnamed_bits(names):
            # A bit without a name is none of the few harmless flags.
            bad |= (self.array & self.table.unnamed) != 0
        return bad

    def combined(self, other: FlagPlane, out: np.ndarray | None = None) -> FlagPlane:
        """Return the union of two planes of flags, matched by name.

        Parameters
        ----------
        other
            Flags of the same shape.
        out
            Array for the result, such as that of this plane; by default a new
            array.

        Raises
        ------
        ValueError
            If the shapes differ, if there are more names than bits, or if the
            tables differ and a plane has a bit without a name.
        """
        if self.shape != other.shape:
            raise ValueError(f"Flags of shape {other.shape} cannot be combined with flags of shape {self.shape}.")
        if self.table == other.table:
            return FlagPlane(np.bitwise_or(self.array, other.array, out=out), self.table)
        table = self.table.merged(other.table)
        for plane in (self, other):
            unnamed = int(np.bitwise_or.reduce(plane.array, axis=None) & plane.table.unnamed)
            if unnamed:
                bits = [bit for bit in range(_BITS_OF_A_PLANE) if unnamed >> bit & 1]
                raise ValueError(f"Bits {bits} are set but not named in {plane.table}: they cannot be matched by name.")
        same = [name for name in other.table if other.table[name] == table[name]]
        array = np.bitwise_or(self.array, other.array & other.table.bits(*same), out=out)
        for name in other.table.keys() - set(same):
            array[other.has(name)] |= table.bits(name)
        return FlagPlane(array, table)


def as_flags(flags: Any) -> np.ndarray:
    """Return flags as int32, without a copy if they are."""
    flags = np.asarray(flags.array if isinstance(flags, FlagPlane) else flags)
    if flags.dtype == np.int32:
        return flags
    if flags.dtype.kind not in "iu":
        raise ValueError(f"Flags are integers, not {flags.dtype}.")
    if flags.dtype.itemsize > 4 and flags.size and not -(2**31) <= flags.min() <= flags.max() < 2**32:
        raise ValueError(f"Flags have 32 bits; the {flags.dtype} array has more.")
    return flags.astype(np.uint32).view(np.int32)


SPHEREX_FLAGS = FlagTable(
    {
        "TRANSIENT": 0,
        "OVERFLOW": 1,
        "SUR_ERROR": 2,
        "PHANTOM": 4,
        "REFERENCE": 5,
        "NONFUNC": 6,
        "DICHROIC": 7,
        "MISSING_DATA": 9,
        "HOT": 10,
        "COLD": 11,
        "FULLSAMPLE": 12,
        "PHANMISS": 14,
        "NONLINEAR": 15,
        "PERSIST": 17,
        "OUTLIER": 19,
        "SOURCE": 21,
    }
)
"""Flags of new images: those of Level 2 files of Quick Release 2 (pipeline run
l2b-v20), as read from their FLAGS headers in the IRSA tutorials.
"""

FLAG_DESCRIPTIONS: Mapping[str, str] = {
    "TRANSIENT": "hit by a particle during the exposure",
    "OVERFLOW": "the onboard sum of samples overflowed",
    "SUR_ERROR": "error of the onboard fit of the ramp",
    "PHANTOM": "phantom pixel, without light",
    "REFERENCE": "reference pixel, without light",
    "NONFUNC": "never usable",
    "DICHROIC": "low throughput of the dichroic",
    "MISSING_DATA": "data lost on board or in transmission",
    "HOT": "hot pixel",
    "COLD": "low response",
    "FULLSAMPLE": "all samples of the ramp were transmitted",
    "PHANMISS": "no correction by phantom pixels",
    "NONLINEAR": "correction of nonlinearity is unreliable",
    "PERSIST": "charge persists from an earlier exposure",
    "OUTLIER": "differs from its neighbours",
    "CROSSTALK": "crosstalk of a bright source",
    "SOURCE": "light of a source in the reference catalogue",
    "GHOST": "ghost of a source on this detector",
    "GHOST_FPA": "ghost of a source on another detector",
    "GHOST_EXT": "ghost of a source outside of the field",
    "STREAK": "streak of a satellite or of debris",
    "BLOOM": "bloom of a saturated source",
    "SNOWBALL": "snowball, a large hit",
    "HALO": "halo of a hit",
    "SATELLITE_HALO": "halo of a streak",
}
"""What the flags in images of Quick Releases 1 to 3 mean; no image has all of them
(headers of pipeline versions 6.5.6 and 7.0.5, as noted by SPHERExView and minhaz-42/spherex-explorer).
"""

KNOWN_FLAGS = frozenset(FLAG_DESCRIPTIONS)
"""Names of these flags."""
