"""Names of flags in the cards of a FLAGS header."""

from __future__ import annotations

__all__ = ["read_flag_table", "write_flag_table"]

import re

from astropy.io import fits

from ..image import FlagTable
from .errors import ProductError

# Quick Releases 1 and 2 and LSST's afw write MP_<NAME> = bit; Quick Release 3
# and lsst.images write MSKNnnnn = '<NAME>' with the bit as nnnn.
_BY_NAME = re.compile(r"MP_(?P<name>.+)$")
_BY_BIT = re.compile(r"MSKN(?P<bit>\d{4})$")


def read_flag_table(header: fits.Header) -> FlagTable:
    """Read which bit means what.

    Parameters
    ----------
    header
        Header of the FLAGS HDU.

    Returns
    -------
    table : `~spherex.image.FlagTable`
        Empty if the header names no flags.

    Raises
    ------
    ProductError
        If the cards contradict each other.
    """
    bits: dict[str, int] = {}
    try:
        for card in header.cards:
            if match := _BY_NAME.match(card.keyword):
                name, bit = match["name"], int(card.value)
            elif match := _BY_BIT.match(card.keyword):
                name, bit = str(card.value).strip(), int(match["bit"])
            else:
                continue
            if bits.setdefault(name, bit) != bit:
                raise ValueError(f"flag {name} has the bits {bits[name]} and {bit}")
        return FlagTable(bits)
    except (ValueError, TypeError) as error:
        raise ProductError(f"the header of the flags is damaged: {error}") from None


def write_flag_table(header: fits.Header, table: FlagTable) -> None:
    """Write which bit means what into a FLAGS header, in place.

    Cards that say so already stay as they are, in either convention. Others
    are replaced by ``MP_<NAME>`` cards, which Firefly and ds9 show.
    """
    if "EXTTYPE" not in header:
        header["EXTTYPE"] = ("MASK", "each bit of a pixel is a flag")
    if read_flag_table(header) == table:
        return
    for keyword in {card.keyword for card in header.cards}:
        if _BY_NAME.match(keyword) or re.match(r"MSK[NMD]\d{4}$", keyword):
            header.remove(keyword, remove_all=True)
    for name, bit in sorted(table.items(), key=lambda item: item[1]):
        keyword = f"MP_{name}"
        header[keyword if len(keyword) <= 8 else f"HIERARCH {keyword}"] = (bit, "bit number")
