"""A formatter of tables with units, apart because it needs all of astropy's tables to be loaded."""

from __future__ import annotations

__all__ = ["PlainQTableFormatter"]

from typing import Any

from astropy.table import Table
from lsst.daf.butler.formatters.astropyTable import AstropyTableFormatter
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
