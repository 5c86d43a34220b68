"""Formatters of tables: a module of their own, because they import astropy.table and pyarrow."""

from __future__ import annotations

from typing import Any, cast

import pyarrow as pa
from astropy.table import Table
from lsst.daf.butler.formatters.astropyTable import AstropyTableFormatter
from lsst.daf.butler.formatters.parquet import ParquetFormatter
from lsst.resources import ResourcePath

from .reading import ExplainedFormatter


class PlainQTableFormatter(ExplainedFormatter, AstropyTableFormatter):
    """Formatter of ECSV files with quantities as plain columns with a unit.

    The Butler's own formatter lets astropy write a quantity as a serialized
    object. TOPCAT 4.8.7 and stilts 3.4.7 refuse a file with such a column.
    `astropy.table.QTable.read` returns quantities from both forms.
    """

    def write_local_file(self, in_memory_dataset: Any, uri: ResourcePath) -> None:
        """Write the table; see `lsst.daf.butler.FormatterV2`."""
        super().write_local_file(Table(in_memory_dataset, copy=False), uri)


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
