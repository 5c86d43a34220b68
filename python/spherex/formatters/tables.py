"""Formatters of tables: a module of their own, because they import astropy.table and pyarrow."""

from __future__ import annotations

import functools
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from astropy.table import Column, Table
from astropy.table.meta import get_yaml_from_header
from lsst.daf.butler import DatasetProvenance
from lsst.daf.butler.delegates.arrowtable import ArrowTableDelegate
from lsst.daf.butler.formatters.astropyTable import AstropyTableFormatter
from lsst.daf.butler.formatters.parquet import ASTROPY_PANDAS_INDEX_KEY, ParquetFormatter, astropy_to_arrow
from lsst.resources import ResourcePath

from spherex.detectors import ROWS_OF_A_GROUP

from .reading import ExplainedFormatter, strip_provenance

_YAML = "table_meta_yaml"


class PlainQTableFormatter(ExplainedFormatter, AstropyTableFormatter):
    """Formatter of ECSV files with quantities as plain columns with a unit.

    The Butler's own formatter lets astropy write a quantity as a serialized
    object. TOPCAT 4.8.7 and stilts 3.4.7 refuse a file with such a column.
    `astropy.table.QTable.read` returns quantities from both forms.
    """

    def write_local_file(self, in_memory_dataset: Any, uri: ResourcePath) -> None:
        """Write the table; see `lsst.daf.butler.FormatterV2`."""
        table = Table(in_memory_dataset, copy=False)
        # A table that was put as parquet before has the provenance of that dataset. The caller's metadata stay.
        table.meta = dict(table.meta)
        strip_provenance(table.meta)
        super().write_local_file(table, uri)


class NativeParquetFormatter(ExplainedFormatter, ParquetFormatter):
    """Formatter of parquet files that pyarrow opens by itself.

    The Butler's own formatter passes a Python file object to pyarrow. Threads
    of pyarrow then own Python memory for a moment after a table has been read,
    and a program that ends in that moment is aborted after its work
    (https://github.com/apache/arrow/issues/34314; seen in 4 % of the runs of a
    short command with pyarrow 26.0.1). A remote file is downloaded as a whole,
    even if only some of its columns are read.
    """

    can_read_from_uri = False

    def read_from_local_file(self, path: str, component: str | None = None, expected_size: int = -1) -> Any:
        """Read the table, or a part of it; see `lsst.daf.butler.FormatterV2`."""
        return super().read_from_uri(cast(ResourcePath, _NativeUri(path)), component, expected_size)

    def add_provenance(self, in_memory_dataset: Any, provenance: DatasetProvenance | None = None) -> Any:
        """Replace earlier provenance in the metadata of a table; see `lsst.daf.butler.FormatterV2`."""
        if isinstance(in_memory_dataset, Table):
            strip_provenance(in_memory_dataset.meta)
        return super().add_provenance(in_memory_dataset, provenance)

    def write_local_file(self, in_memory_dataset: Any, uri: ResourcePath) -> None:
        """Write the table; see `lsst.daf.butler.FormatterV2`."""
        if isinstance(in_memory_dataset, Table):
            in_memory_dataset = to_arrow(in_memory_dataset)
        super().write_local_file(in_memory_dataset, uri)


def to_arrow(table: Table) -> pa.Table:
    """Return an arrow table with the content of that of `lsst.daf.butler.formatters.parquet.astropy_to_arrow`.

    The YAML that describes the columns is made once for all tables with such
    columns: for one row of a measurement it takes as long as the measurement.

    Parameters
    ----------
    table
        The table.
    """
    columns = list(table.columns.values())
    if ASTROPY_PANDAS_INDEX_KEY in table.meta or not columns or not all(map(_is_plain, columns)):
        return astropy_to_arrow(table)
    schema = _empty_schema(
        tuple(
            (column.name, column.dtype.char, column.unit, column.description, tuple(column.meta.items()))
            for column in columns
        )
    )
    metadata = {"lsst::arrow::rowcount": str(len(table))}
    for column in columns:
        if column.dtype.kind == "U":
            metadata |= dict.fromkeys(
                (f"lsst::arrow::len::{column.name}", f"table::len::{column.name}"), str(column.dtype.itemsize // 4)
            )
    lines = [schema.metadata[_YAML.encode()].decode()]
    if table.meta and all(map(_is_plain_value, [*table.meta.keys(), *table.meta.values()])):
        # JSON is YAML too, and is written in a fraction of the time.
        pairs = [f"- {{{json.dumps(key)}: {json.dumps(value)}}}" for key, value in table.meta.items()]
        lines += ["meta: !!omap", *pairs]
    elif table.meta:
        # Of a table without columns, the first line describes them.
        lines += get_yaml_from_header({"cols": [], "meta": OrderedDict(table.meta)})[1:]
    metadata[_YAML] = "\n".join(lines)
    arrays = [pa.array(np.asarray(column), field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema.with_metadata(metadata))


def _is_plain(column: Any) -> bool:
    """Return whether a column has an axis of numbers or texts, no mask, and metadata that can be compared."""
    return (
        type(column) is Column
        and column.ndim == 1
        and column.dtype.kind in "biufU"
        and column.dtype.isnative
        and column.format is None
        and all(type(value) is str for value in column.meta.values())
    )


def _is_plain_value(value: Any) -> bool:
    """Return whether JSON of a key or value is read as the same by YAML."""
    is_text = type(value) is str and value.isascii() and value.isprintable()
    return is_text or value is None or type(value) in (int, bool)


@functools.lru_cache(maxsize=32)
def _empty_schema(columns: tuple[tuple[str, str, Any, str | None, tuple[tuple[str, str], ...]], ...]) -> pa.Schema:
    table = Table(
        [
            Column(np.empty(0, kind), name, unit=unit, description=description, meta=dict(meta))
            for name, kind, unit, description, meta in columns
        ]
    )
    return astropy_to_arrow(table).schema


class _NativeUri:
    """URI of a local file with the method that `ParquetFormatter.read_from_uri` calls."""

    def __init__(self, path: str) -> None:
        self._path = path

    def to_fsspec(self) -> tuple[_NativeUri, str]:
        """Return a file system, and the path in it."""
        return self, self._path

    def open(self, path: str, *args: Any, **kwargs: Any) -> pa.NativeFile:
        """Open a file; the method of a file system that `ParquetFormatter` calls."""
        return pa.OSFile(path)


class SpectraDelegate(ArrowTableDelegate):
    """Delegate of arrow tables with rows of many targets."""

    def handleParameters(self, inMemoryDataset: Any, parameters: Mapping[str, Any] | None = None) -> Any:  # noqa: N802, N803
        """Return the rows of a target; see `lsst.daf.butler.StorageClassDelegate`."""
        others = dict(parameters or {})
        if (target := others.pop("target", None)) is not None:
            inMemoryDataset = inMemoryDataset.filter(pc.equal(inMemoryDataset["target"], target))  # noqa: N806
        return super().handleParameters(inMemoryDataset, others)


class SpectraFormatter(NativeParquetFormatter):
    """Formatter of arrow tables sorted by target; it can read the rows of one target."""

    def read_from_local_file(self, path: str, component: str | None = None, expected_size: int = -1) -> Any:
        """Read the table, or a part of it; see `lsst.daf.butler.FormatterV2`."""
        parameters = self.file_descriptor.parameters or {}
        if (target := parameters.pop("target", None)) is None:
            return super().read_from_local_file(path, component, expected_size)
        rows = _read_rows(path, pc.field("target") == target)
        return SpectraDelegate(self.file_descriptor.storageClass).handleParameters(rows, parameters)

    def write_local_file(self, in_memory_dataset: Any, uri: ResourcePath) -> None:
        """Write the table; see `lsst.daf.butler.FormatterV2`."""
        pq.write_table(in_memory_dataset, uri.ospath, row_group_size=ROWS_OF_A_GROUP)


class PatchTargetsFormatter(NativeParquetFormatter):
    """Formatter of the targets of one patch, in a file of all patches of a catalogue."""

    def read_from_local_file(self, path: str, component: str | None = None, expected_size: int = -1) -> Any:
        """Read the rows of the patch; see `lsst.daf.butler.FormatterV2`."""
        return _read_rows(path, pc.field("patch") == self.data_id["patch"])


def _read_rows(path: str, chosen: pc.Expression) -> pa.Table:
    with pa.OSFile(path) as file:
        return pq.read_table(file, filters=chosen, use_threads=False)
