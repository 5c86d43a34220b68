"""Formatters of tables, apart because they need all of astropy's tables and pyarrow to be loaded."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from astropy.table import Table
from lsst.daf.butler.formatters.astropyTable import AstropyTableFormatter
from lsst.daf.butler.formatters.parquet import ParquetFormatter
from lsst.resources import ResourcePath


class PlainQTableFormatter(AstropyTableFormatter):
    """Writes columns of quantities as numbers whose unit the header tells.

    The Butler's own formatter leaves it to astropy, which writes a quantity as
    a Python object that TOPCAT 4.8.7 and stilts 3.4.7 refuse, and the whole
    file with it. `astropy.table.QTable.read` gives quantities for either.
    """

    def write_local_file(self, in_memory_dataset: Any, uri: ResourcePath) -> None:
        """Write the table; see `lsst.daf.butler.FormatterV2`."""
        super().write_local_file(Table(in_memory_dataset, copy=False), uri)


class NativeParquetFormatter(ParquetFormatter):
    """Reads parquet files without giving pyarrow a file object of Python.

    The Butler's own formatter does that. Threads of pyarrow then own memory of
    Python for a moment after a table has been read, and a program that ends in
    that moment is aborted after its work (https://github.com/apache/arrow/issues/34314;
    seen in 4 % of the runs of a short command with pyarrow 26.0.1). A file in a
    bucket is downloaded whole, also for some of its columns.
    """

    can_read_from_uri = False

    def read_from_local_file(self, path: str, component: str | None = None, expected_size: int = -1) -> Any:
        """Read the table, or what is asked for; see `lsst.daf.butler.FormatterV2`."""
        return self._read_parquet(path, fs=_NativeFiles(), component=component, expected_size=expected_size)


class _NativeFiles:
    """The part of an fsspec file system that `ParquetFormatter` uses."""

    def open(self, path: str) -> pa.NativeFile:
        return pa.OSFile(path)
