"""Tables of measurements and spectra: their columns and metadata."""

from __future__ import annotations

import dataclasses
import functools
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import QTable, Table
from astropy.units import Unit, UnitBase

from .quality import UNKNOWN_QUALITY

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclasses.dataclass(frozen=True)
class SpectrumColumn:
    """Column of a table of measurements.

    Parameters
    ----------
    name
        Name of the column.
    dtype
        Type of its values: float, int (64 bits), `numpy.int32`, bool, or str.
    ucd
        Unified Content Descriptor of the IVOA (UCD1+ 1.5); may be empty.
    description
        Meaning of the values.
    unit
        Name of the unit in astropy; `None` without a unit.
    missing
        Placeholder for a missing value; by default that of the type.
    """

    name: str
    dtype: type
    ucd: str
    description: str
    unit: str | None = None
    missing: Any = None

    @property
    def blank(self) -> Any:
        """Placeholder for a missing value."""
        if self.missing is not None:
            return self.missing
        return {float: np.nan, int: -1, np.int32: 0, bool: False, str: ""}[self.dtype]

    @property
    def array_dtype(self) -> type:
        """Type of the values in an array."""
        return np.int64 if self.dtype is int else self.dtype


COLUMNS = (
    SpectrumColumn("target", str, "meta.id;meta.main", "Name of the target in its catalogue"),
    SpectrumColumn("wavelength", float, "em.wl", "Central wavelength of the filter at the target", "um"),
    SpectrumColumn("bandwidth", float, "instr.bandwidth", "Bandwidth of the filter at the target", "um"),
    SpectrumColumn("good", bool, "meta.code.qual", "Whether the flux is to be used, see the column quality"),
    SpectrumColumn("flux", float, "phot.flux.density;em.IR", "Flux density by fit of the PSF", "uJy"),
    SpectrumColumn(
        "flux_error", float, "stat.error;phot.flux.density;em.IR", "Standard deviation of the flux density", "uJy"
    ),
    SpectrumColumn(
        "aperture_flux",
        float,
        "phot.flux.density;em.IR;phys.angSize",
        "Flux density in a circular aperture, divided by the fraction of the PSF in it",
        "uJy",
    ),
    SpectrumColumn(
        "aperture_flux_error",
        float,
        "stat.error;phot.flux.density;em.IR",
        "Standard deviation of the flux density in the aperture",
        "uJy",
    ),
    SpectrumColumn(
        "enclosed_fraction", float, "stat.value;arith.ratio", "Fraction of the PSF in the good pixels of the aperture"
    ),
    SpectrumColumn(
        "surface_brightness",
        float,
        "phot.flux.sb;stat.median",
        "Median of the good pixels in the square around the target",
        "MJy/sr",
    ),
    SpectrumColumn("background", float, "phot.flux.sb", "Local background at the target", "MJy/sr"),
    SpectrumColumn(
        "background_error", float, "stat.error;phot.flux.sb", "Standard deviation of the background", "MJy/sr"
    ),
    SpectrumColumn("background_method", str, "meta.note", "How the local background was found"),
    SpectrumColumn("chi2", float, "stat.fit.chi2", "Sum of squares of the weighted residuals of the fit"),
    SpectrumColumn("dof", int, "stat.fit.dof", "Degrees of freedom of the fit"),
    SpectrumColumn("core_chi2", float, "stat.fit.chi2", "The same of the pixels near the target alone"),
    SpectrumColumn("core_dof", int, "stat.fit.dof", "Number of these pixels, less one"),
    SpectrumColumn(
        "masked_fraction", float, "stat.value;arith.ratio", "Fraction of the PSF on pixels that were not used"
    ),
    SpectrumColumn(
        "flags", int, "meta.code.qual", "Flags of all pixels that were used, joined by OR; bits as in the image"
    ),
    SpectrumColumn(
        "flag_names", str, "meta.code.qual", "Names of these flags, separated by blanks; BIT29 for a bit without name"
    ),
    SpectrumColumn(
        "quality", np.int32, "meta.code.qual", "What may be wrong, as bits (doc/quality.md)", missing=UNKNOWN_QUALITY
    ),
    SpectrumColumn("quality_names", str, "meta.code.qual", "Names of these bits, separated by blanks"),
    SpectrumColumn("neighbours", int, "meta.number", "Number of other targets whose fluxes were fitted together"),
    SpectrumColumn("time", float, "time.epoch;obs.exposure", "Middle of the exposure, UTC as MJD", "d"),
    SpectrumColumn(
        "time_barycentric", float, "time.epoch", "The same at the barycentre of the solar system, TDB as MJD", "d"
    ),
    SpectrumColumn("x", float, "pos.cartesian.x;instr.det", "Column in the whole frame, from 0", "pixel"),
    SpectrumColumn("y", float, "pos.cartesian.y;instr.det", "Row in the whole frame, from 0", "pixel"),
    SpectrumColumn("detector", int, "meta.id;instr.det", "Number of the detector"),
    SpectrumColumn("exposure", int, "meta.id;obs.exposure", "Number of the exposure"),
    SpectrumColumn("obsid", str, "meta.id;obs", "Name of the observation"),
    SpectrumColumn("solid_angle", float, "phys.angArea;instr.pixel", "Solid angle of the pixel", "arcsec2"),
    SpectrumColumn("gain_correction", float, "arith.factor", "Factor that the pixel was multiplied with before"),
    SpectrumColumn("error_scale", float, "arith.factor", "Factor that flux_error was multiplied with"),
    SpectrumColumn(
        "aperture_error_scale", float, "arith.factor", "Factor that aperture_flux_error was multiplied with"
    ),
    SpectrumColumn(
        "centroid_dx",
        float,
        "pos.cartesian.x;arith.diff",
        "Fitted minus catalogue column of the image's targets",
        "pixel",
    ),
    SpectrumColumn(
        "centroid_dx_error", float, "stat.error;pos.cartesian.x;arith.diff", "Its standard deviation", "pixel"
    ),
    SpectrumColumn(
        "centroid_dy", float, "pos.cartesian.y;arith.diff", "Fitted minus catalogue row of the image's targets", "pixel"
    ),
    SpectrumColumn(
        "centroid_dy_error", float, "stat.error;pos.cartesian.y;arith.diff", "Its standard deviation", "pixel"
    ),
    SpectrumColumn("centroids", int, "meta.number", "Number of bright targets of the image in these means", missing=0),
    SpectrumColumn("psf_zone", int, "meta.id;instr.det.psf", "Zone of the detector in which the target lies, from 1"),
    SpectrumColumn("version", str, "meta.version;meta.software", "VERSION of the image: of the mission's pipeline"),
    SpectrumColumn("image_id", str, "meta.id;meta.dataset", "UUID of the image"),
    SpectrumColumn("image_run", str, "meta.id;meta.dataset", "RUN collection of the image"),
    SpectrumColumn("catalog_id", str, "meta.id;meta.dataset", "UUID of the catalogue with the position"),
    SpectrumColumn("wavelength_source", str, "meta.ref", "Where wavelength and bandwidth come from"),
    SpectrumColumn("spectral_wcs_id", str, "meta.id;meta.dataset", "UUID of the calibration for the wavelength"),
    SpectrumColumn("solid_angle_source", str, "meta.ref", "Where the solid angle comes from"),
    SpectrumColumn("solid_angle_id", str, "meta.id;meta.dataset", "UUID of the calibration for the solid angle"),
    SpectrumColumn("psf_source", str, "meta.ref", "Where the PSF comes from"),
    SpectrumColumn("psf_id", str, "meta.id;meta.dataset", "UUID of the calibration for the PSF"),
    SpectrumColumn("flux_correction_id", str, "meta.id;meta.dataset", "UUID of the calibration for the gain"),
    SpectrumColumn("error_scale_id", str, "meta.id;meta.dataset", "UUID of the calibration for the scale of errors"),
    SpectrumColumn("reason", str, "meta.note", "Why there is no flux; empty if there is one"),
)
"""The columns of ``target_measurements`` and ``spectrum``, in their order.

Units of fluxes are those of the archive's own spectrophotometry.
"""


def make_table(
    values: Mapping[str, ArrayLike],
    length: int,
    meta: Mapping[str, Any] | None = None,
    columns: Sequence[SpectrumColumn] = COLUMNS,
) -> QTable:
    """Return a table with all columns; columns with a unit are quantities.

    Parameters
    ----------
    values
        Values by name of the column, numbers in the unit of the column. A
        single number or text is the value of all rows. Other columns are
        blank: NaN, -1 or the empty text.
    length
        Number of rows.
    meta
        Metadata of the table.
    columns
        Columns of the table, in their order.

    Raises
    ------
    KeyError
        If a name is not that of a column.
    """
    return QTable(make_plain_table(values, length, columns), meta=dict(meta or {}), copy=False)


def make_plain_table(
    values: Mapping[str, ArrayLike], length: int, columns: Sequence[SpectrumColumn] = COLUMNS
) -> Table:
    """Return a table with units as attributes of the columns, as parquet needs; see `make_table`."""
    if unknown := values.keys() - {column.name for column in columns}:
        raise KeyError(f"no column {', '.join(sorted(unknown))}")
    arrays: dict[str, NDArray[Any]] = {}
    for column in columns:
        given = np.broadcast_to(np.asarray(values.get(column.name, column.blank)), (length,))
        arrays[column.name] = given.astype(column.array_dtype)
    # All columns at once, and their attributes afterwards: a table to which columns are added, or
    # which is made of columns, takes twice as long.
    table = Table(arrays, copy=False)
    describe_columns(table, columns)
    return table


def describe_columns(table: Table, columns: Sequence[SpectrumColumn]) -> None:
    """Set the units, descriptions and UCDs of all columns of a table, in their order."""
    for column, made in zip(columns, table.columns.values(), strict=True):
        made.unit = None if column.unit is None else _unit(column.unit)
        made.description, made.meta = column.description, {"ucd": column.ucd}


@functools.cache
def _unit(name: str) -> UnitBase:
    return Unit(name)


def values_of(table: Table, column: SpectrumColumn) -> NDArray[Any]:
    """Return the values of a column in its unit and type, without a mask.

    Parameters
    ----------
    table
        Any table. A missing column has blank values.
    column
        The column.
    """
    if column.name not in table.colnames:
        return np.full(len(table), column.blank, column.array_dtype)
    given = table[column.name]
    if column.unit is not None and given.unit is not None:
        given = given.to(column.unit).value
    return np.ma.filled(given, column.blank).astype(column.array_dtype)


def unmasked(table: Table, columns: Sequence[SpectrumColumn] = COLUMNS) -> QTable:
    """Return a table that was read from a file in the form of `make_table`.

    ECSV has masked values in place of empty texts.

    Parameters
    ----------
    table
        Table from a file.
    columns
        Columns of the result.
    """
    values = {column.name: values_of(table, column) for column in columns}
    return make_table(values, len(table), table.meta, columns)


FAILED = "failed"
"""Key in the metadata of a spectrum: number of images without a flux."""

OFF_FRAME = "off_frame"
"""Key in the metadata of a spectrum: number of images whose region contains the
target, but whose frame does not.
"""

_REASON_WIDTH = 90

UNPLACED = "unplaced"
"""Key in the metadata of a spectrum: failed measurements without wavelength."""

DIAGNOSTICS = "diagnostics"
"""Key in the metadata of a spectrum: what the measurements say of PSF and astrometry in each detector."""


def frequent_reasons(spectrum: Table, most: int) -> list[str]:
    """Return why measurements have no flux, the most frequent reasons first.

    Parameters
    ----------
    spectrum
        Measurements, as returned by `gather_spectrum`.
    most
        Largest number of reasons; the others are counted together.

    Returns
    -------
    reasons
        Numbers and reasons, such as ``3 × no pixels``; empty if all
        measurements have a flux.
    """
    reasons = Counter(str(reason) for reason in spectrum["reason"] if reason)
    reasons.update(str(row["reason"]) for row in spectrum.meta.get(UNPLACED, ()))
    return most_frequent(reasons, most)


def most_frequent(reasons: Counter[str], most: int) -> list[str]:
    """Return the most frequent reasons first, see `frequent_reasons`.

    Parameters
    ----------
    reasons
        Number of measurements of each reason.
    most
        Largest number of reasons; the others are counted together.
    """
    lines = [
        f"{number} × {textwrap.shorten(reason, _REASON_WIDTH, placeholder=' ...')}"
        for reason, number in reasons.most_common(most)
    ]
    others = reasons.total() - sum(number for _, number in reasons.most_common(most))
    return [*lines, f"{others} × other reasons"] if others else lines
