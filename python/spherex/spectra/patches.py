"""Spectra of the neighbouring targets of a patch, as one arrow table.

A table of one target is an `astropy.table.QTable`, as `gather_spectrum` and
`combine_channels` return it. Of many targets, with their texts, QTables take
ten times the memory, and one file each.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy import units

from spherex.errors import UserError

from .channels import CHANNEL_COLUMNS, COMBINED_COLUMNS, Channels, combine_rows
from .diagnostics import DIAGNOSED_COLUMNS, diagnose_detectors
from .quality import count_bad
from .spectrum import gather_spectrum
from .tables import COLUMNS, SpectrumColumn, make_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from astropy.table import QTable
    from numpy.typing import NDArray

    from .diagnostics import DetectorDiagnostics

_KEY = b"spherex"
"""Key of the metadata of a table: a JSON object."""

TARGETS = "targets"
"""Key in the metadata of a patch: what is known of each target, by name."""

IMAGES = "images"
"""Key in the metadata of a patch: instrument, exposure and detector of the images in which it was measured."""

MEASUREMENTS = "measurements_type"
"""Key in the metadata of a patch: dataset type of its measurements."""

_WITHOUT = "without_channel"
"""Key of a target with measurements in the metadata of means: number of those without a channel."""

_ORDER = ("target", "wavelength", "detector", "exposure", "image_id")
"""Columns that sort the rows. An image has one row of a target, so that the
order does not depend on the order of the inputs.
"""


def gather_patch(tables: Sequence[pa.Table], meta: Mapping[str, Any]) -> pa.Table:
    """Join measurements of the targets of a patch, sorted by target and wavelength.

    Parameters
    ----------
    tables
        Rows of the targets from the tables of single images, with the columns
        of `make_plain_table`. Missing columns are blank.
    meta
        Metadata, which JSON can have: see `TARGETS` and `IMAGES`.

    Returns
    -------
    patch
        The columns `COLUMNS`. Failed measurements without a wavelength are the
        last rows of their target.

    Raises
    ------
    ValueError
        If a column has another unit than in `COLUMNS`.
    """
    schema = arrow_schema(COLUMNS)
    joined = _joined(tables) if tables else schema.empty_table()
    arrays = []
    for column, field in zip(COLUMNS, schema, strict=True):
        if column.name in joined.column_names:
            array = pc.fill_null(joined[column.name].cast(field.type), pa.scalar(column.blank, field.type))
        else:
            array = pa.repeat(pa.scalar(column.blank, field.type), len(joined))
        arrays.append(array)
    patch = pa.table(arrays, schema=schema)
    return _with_meta(patch.sort_by([(name, "ascending") for name in _ORDER]).combine_chunks(), meta)


def combine_patch(patch: pa.Table, channels: Channels) -> pa.Table:
    """Average the measurements of each channel of each target, see `combine_channels`.

    Parameters
    ----------
    patch
        Measurements, as `gather_patch` returns them.
    channels
        The channels.

    Returns
    -------
    means
        The columns `CHANNEL_COLUMNS`, sorted by target and wavelength.
    """
    meta = patch_meta(patch)
    # As in `gather_spectrum`: failed measurements without a wavelength belong to no channel.
    placed = patch.filter(pc.is_finite(patch["wavelength"]))
    # Others, such as UUIDs of calibrations, would take most of the memory.
    used = (column for column in COLUMNS if column.name in COMBINED_COLUMNS)
    means, without = combine_rows({column.name: _values(placed, column) for column in used}, channels)
    known = meta[TARGETS]
    for name in pc.unique(patch["target"]).to_pylist():
        known[name] = {**known.get(name, {}), _WITHOUT: without.get(name, 0)}
    table = pa.table([pa.array(means[column.name]) for column in CHANNEL_COLUMNS], schema=arrow_schema(CHANNEL_COLUMNS))
    return _with_meta(table, {**meta, TARGETS: known, "channels": channels.source})


def diagnose_patch(patch: pa.Table) -> Iterator[tuple[str, DetectorDiagnostics]]:
    """Return what the measurements of each target say of its images.

    Parameters
    ----------
    patch
        Measurements, as `gather_patch` returns them.

    Yields
    ------
    target, diagnostics
        Name of the target, and diagnostics of one detector, see `diagnose_detectors`.
    """
    if not len(patch):
        return
    columns = {name: patch[name].to_numpy() for name in DIAGNOSED_COLUMNS}
    for target, rows in _rows_of_targets(patch):
        for found in diagnose_detectors({name: column[rows] for name, column in columns.items()}):
            yield target, found


def _rows_of_targets(patch: pa.Table) -> Iterator[tuple[str, slice]]:
    """Yield the name and the rows of each target of a patch."""
    runs = pc.run_end_encode(patch["target"].combine_chunks())
    first = 0
    for target, last in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield target, slice(first, last)
        first = last


SUMMARY_COLUMNS = ("target", "wavelength", "good", "flux", "flux_error", "quality", "reason")
"""Columns that `summarize_patch` needs."""


@dataclasses.dataclass(frozen=True)
class TargetSummary:
    """How good the spectrum of a target is.

    Parameters
    ----------
    name
        Name of the target.
    measurements
        Number of measurements: rows of its spectrum.
    good
        Number of those to be used.
    signal
        Median of flux / error of the measurements with a flux; NaN without any.
    bad
        How many measurements are not good by each bit of the quality.
    reasons
        How many measurements have no flux for each reason, also those without
        a wavelength.
    unplaced
        Number of failed measurements without a wavelength, which are not rows
        of the spectrum.
    """

    name: str
    measurements: int
    good: int
    signal: float
    bad: Counter[str]
    reasons: Counter[str]
    unplaced: int

    @property
    def good_share(self) -> float:
        """Good measurements, as a fraction of all."""
        return self.good / (self.measurements + self.unplaced)


def summarize_patch(patch: pa.Table) -> Iterator[TargetSummary]:
    """Return how good the spectra of the targets of a patch are.

    Parameters
    ----------
    patch
        Measurements, as `gather_patch` returns them; at least the columns
        `SUMMARY_COLUMNS`.

    Yields
    ------
    summary
        Of one target, in the order of the table.
    """
    if not len(patch):
        return
    numbers = {name: patch[name].to_numpy() for name in SUMMARY_COLUMNS if name not in ("target", "reason")}
    reasons = patch["reason"].combine_chunks().dictionary_encode()
    texts, codes = reasons.dictionary.to_pylist(), reasons.indices.to_numpy()
    is_placed = np.isfinite(numbers["wavelength"])
    with np.errstate(divide="ignore", invalid="ignore"):
        signals = numbers["flux"] / numbers["flux_error"]
    for target, rows in _rows_of_targets(patch):
        placed = is_placed[rows]
        good = numbers["good"][rows][placed]
        signal = signals[rows][placed]
        signal = signal[np.isfinite(signal)]
        found = zip(*(part.tolist() for part in np.unique(codes[rows], return_counts=True)), strict=True)
        yield TargetSummary(
            target,
            measurements=len(good),
            good=int(np.count_nonzero(good)),
            signal=float(np.median(signal)) if len(signal) else np.nan,
            bad=count_bad(numbers["quality"][rows][placed][~good]),
            reasons=Counter({texts[code]: number for code, number in found if texts[code]}),
            unplaced=int(np.count_nonzero(~placed)),
        )


def patch_meta(patch: pa.Table) -> dict[str, Any]:
    """Return the metadata of a patch.

    Parameters
    ----------
    patch
        As `gather_patch` or `combine_patch` return it.

    Raises
    ------
    ValueError
        If the table is not one of these.
    """
    text = (patch.schema.metadata or {}).get(_KEY)
    if text is None:
        raise ValueError("the table has no metadata of the spectra of a patch")
    meta: dict[str, Any] = json.loads(text)
    return meta


def has_spectrum(patch: pa.Table, target: str) -> bool:
    """Return whether a patch has measurements of a target, or means of some.

    Parameters
    ----------
    patch
        As `gather_patch` or `combine_patch` return it, or the rows of the
        target of such a table.
    target
        Name of the target.
    """
    return _has_spectrum(patch_meta(patch), patch.filter(pc.equal(patch["target"], target)), target)


def _has_spectrum(meta: Mapping[str, Any], rows: pa.Table, target: str) -> bool:
    # Of a target whose measurements have all failed there may be no channel.
    return len(rows) > 0 or _WITHOUT in meta[TARGETS].get(target, {})


def spectrum_in(patch: pa.Table, target: str) -> QTable:
    """Return the spectrum of a target, or its means in channels.

    Parameters
    ----------
    patch
        As `gather_patch` or `combine_patch` return it, or the rows of the
        target of such a table.
    target
        Name of the target.

    Returns
    -------
    spectrum
        As `gather_spectrum` or `combine_channels` return it.

    Raises
    ------
    UserError
        If the patch has no measurement of the target.
    """
    meta = patch_meta(patch)
    rows = patch.filter(pc.equal(patch["target"], target))
    if not _has_spectrum(meta, rows, target):
        raise UserError(f"{target} of catalogue {meta['catalog']} has no measurement in patch {meta['patch']}.")
    del meta[IMAGES]
    meta = {"catalog": meta["catalog"], "target": target} | meta.pop(TARGETS)[target] | meta
    if "channel" in patch.column_names:
        means = {column.name: _values(rows, column) for column in CHANNEL_COLUMNS}
        counts = {name: int(means[name].sum()) for name in ("left_out", "left_out_older")}
        return make_table(means, len(rows), meta | counts, CHANNEL_COLUMNS)
    return gather_spectrum([make_table({column.name: _values(rows, column) for column in COLUMNS}, len(rows))], meta)


def arrow_schema(columns: Sequence[SpectrumColumn]) -> pa.Schema:
    """Return the fields of columns, with unit, UCD and description as metadata.

    Parameters
    ----------
    columns
        The columns.
    """
    fields = []
    for column in columns:
        about = {"description": column.description, "ucd": column.ucd}
        if column.unit is not None:
            about["unit"] = _unit(column.unit)
        kind = pa.string() if column.dtype is str else pa.from_numpy_dtype(np.dtype(column.array_dtype))
        fields.append(pa.field(column.name, kind, metadata=about))
    return pa.schema(fields)


@functools.cache
def _unit(name: str) -> str:
    """Return the name of a unit as `lsst.daf.butler.formatters.parquet` writes it."""
    return str(units.Unit(name))


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Join tables of measurements, without the metadata of the tables, which differ from image to image."""
    plain = [table.replace_schema_metadata() for table in tables]
    schemas: list[pa.Schema] = []
    for table in plain:
        if not any(table.schema.equals(schema, check_metadata=True) for schema in schemas):
            schemas.append(table.schema)
    for schema, column in itertools.product(schemas, COLUMNS):
        if column.name in schema.names:
            unit = (schema.field(column.name).metadata or {}).get(b"unit", b"").decode()
            if unit and (column.unit is None or unit != _unit(column.unit)):
                raise ValueError(f"column {column.name} is in {unit}, not in {column.unit or 'numbers without unit'}")
    return pa.concat_tables(plain, promote_options="default")


def _values(table: pa.Table, column: SpectrumColumn) -> NDArray[Any]:
    if column.name not in table.column_names:
        # An earlier version did not write it.
        return np.full(len(table), column.blank, column.array_dtype)
    values: NDArray[Any] = table[column.name].to_numpy(zero_copy_only=False)
    return values.astype(str) if column.dtype is str else values


def _with_meta(table: pa.Table, meta: Mapping[str, Any]) -> pa.Table:
    # Sorted keys, so that the same measurements make the same file.
    return table.replace_schema_metadata({_KEY: json.dumps(meta, sort_keys=True)})
