"""Names of the FLAGS bits: read from the header of the HDU FLAGS, and written into it."""

from __future__ import annotations

import functools
import re

from astropy.io import fits

from spherex.errors import ProductError
from spherex.image import FLAG_DESCRIPTIONS, FlagTable

from .cards import Cards, card_images, with_card
from .hdus import FLAGS

# Quick Releases 1 and 2 and LSST's afw write MP_<NAME> = bit; Quick Release 3
# and lsst.images write MSKNnnnn = '<NAME>' with the bit as nnnn.
_BY_NAME = re.compile(r"MP_(?P<name>.+)$")
_BY_BIT = re.compile(r"MSKN(?P<bit>\d{4})$")
_NAMING = re.compile(rb"(?:HIERARCH +)?MP_|MSKN\d{4}")
_WRITABLE = re.compile(r"[A-Z0-9_-]{1,48}$")
_DESCRIBING = re.compile(rb"MSK[MD]\d{4}")


def flag_table_of(cards: bytes) -> FlagTable:
    """Read the names of the flags and their bits.

    Parameters
    ----------
    cards
        Cards of the FLAGS header, without END.

    Returns
    -------
    table : `~spherex.image.FlagTable`
        Empty if the header does not name flags.

    Raises
    ------
    ProductError
        If the cards contradict each other.
    """
    # The naming cards alone are the cache key: they are the same in most files.
    return _parse(b"".join(card for card in card_images(cards) if _NAMING.match(card)))


@functools.lru_cache(64)
def _parse(cards: bytes) -> FlagTable:
    bits: dict[str, int] = {}
    try:
        for card in fits.Header.fromstring(cards).cards:
            if match := _BY_NAME.match(card.keyword):
                name, bit = match["name"], card.value
                if type(bit) is not int:
                    raise ValueError(f"{card.keyword} is not the number of a bit: {bit!r}")
            elif match := _BY_BIT.match(card.keyword):
                name, bit = str(card.value).strip(), int(match["bit"])
            else:
                continue
            if bits.setdefault(name, bit) != bit:
                raise ValueError(f"flag {name} has the bits {bits[name]} and {bit}")
        return FlagTable(bits)
    except (ValueError, fits.VerifyError) as error:
        raise ProductError(f"the header of HDU {FLAGS} is damaged: {error}") from None


def with_flag_table(cards: bytes, table: FlagTable) -> bytes:
    """Return the cards of a FLAGS header with the names of a table.

    Cards that already have these names and bits stay as they are, in either
    convention, so that a file of the archive comes back byte by byte. Others
    are replaced by both: ``MP_<NAME>`` for the programs of LSST, and
    ``MSKNnnnn``, ``MSKMnnnn`` (value of the bit) and ``MSKDnnnn``
    (description) for Firefly.
    """
    if "EXTTYPE" not in Cards(cards):
        cards = with_card(cards, "EXTTYPE", "MASK", "each bit of a pixel is a flag")
    if flag_table_of(cards) == table:
        return cards
    kept = [card for card in card_images(cards) if not (_NAMING.match(card) or _DESCRIBING.match(card))]
    return b"".join(kept) + _written(table)


@functools.lru_cache(64)
def _written(table: FlagTable) -> bytes:
    cards = []
    for name, bit in sorted(table.items(), key=lambda item: item[1]):
        if not _WRITABLE.match(name):
            raise ValueError(f"The flag name {name!r} cannot be written; use up to 48 capitals, digits, _ and -.")
        keyword = f"MP_{name}"
        cards.append(fits.Card(keyword if len(keyword) <= 8 else f"HIERARCH {keyword}", bit, "bit number"))
        cards += [fits.Card(f"MSKN{bit:04d}", name), fits.Card(f"MSKM{bit:04d}", 1 << bit)]
        if name in FLAG_DESCRIPTIONS:
            cards.append(fits.Card(f"MSKD{bit:04d}", FLAG_DESCRIPTIONS[name]))
    return "".join(card.image for card in cards).encode("ascii")
