"""Formatters that know beforehand where in the file to look, and do no more."""

from __future__ import annotations

__all__ = ["HeaderFormatter", "WCSFormatter"]

import re
from typing import TYPE_CHECKING, Any, ClassVar

from astropy.io import fits
from astropy.wcs import WCS
from lsst.daf.butler import FormatterV2

if TYPE_CHECKING:
    from lsst.resources import ResourcePath

_OFFSET = 2880
_LONGEST = 10 * 2880
_CARD = 80
_END = b"END".ljust(_CARD)
_CELESTIAL = re.compile(
    rb"(?:WCSAXES|RADESYS|LONPOLE|LATPOLE|(?:CRPIX|CDELT|CUNIT|CTYPE|CRVAL)[12]|PC[12]_[12]"
    rb"|(?:A|B|AP|BP)_(?:ORDER|\d_\d)) *="
)


class HeaderFormatter(FormatterV2):
    """Read the header of the first extension."""

    can_read_from_uri: ClassVar[bool] = True

    def read_from_uri(self, uri: ResourcePath, component: str | None = None, expected_size: int = -1) -> Any:
        """Read; see `lsst.daf.butler.FormatterV2`."""
        return fits.Header.fromstring(_cards(uri))


class WCSFormatter(FormatterV2):
    """Build the WCS of those cards of the first extension that it consists of."""

    can_read_from_uri: ClassVar[bool] = True

    def read_from_uri(self, uri: ResourcePath, component: str | None = None, expected_size: int = -1) -> Any:
        """Read; see `lsst.daf.butler.FormatterV2`."""
        cards = _cards(uri)
        places = [at for at in range(0, len(cards), _CARD) if _CELESTIAL.match(cards, at)]
        return WCS(b"".join([cards[at : at + _CARD] for at in places]))


def _cards(uri: ResourcePath) -> bytes:
    with open(uri.ospath, "rb", buffering=0) as stream:
        stream.seek(_OFFSET)
        cards = stream.read(_LONGEST)
    return cards[: cards.index(_END)]
