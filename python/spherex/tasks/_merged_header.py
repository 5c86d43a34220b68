"""Header of an image that is made of others."""

from __future__ import annotations

__all__ = ["merged_header"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astropy.io.fits import Header

_COMMENTARY = ("HISTORY", "COMMENT", "")
_BEGIN, _END = ("DATE-BEG", "MJD-BEG"), ("DATE-END", "MJD-END")


def merged_header(headers: Sequence[Header]) -> Header:
    """Return the cards that all headers agree on.

    Cards of a place on the sky are left away: the result has none. Times of
    begin and end become those of the first and the last image, so that the
    range that a calibration was taken in can be read from it.

    Parameters
    ----------
    headers
        Headers of the images, at least one.
    """
    from ..image import replace_celestial_wcs

    first = headers[0]
    merged = first.copy()
    replace_celestial_wcs(merged, None)
    for keyword in dict.fromkeys(merged):
        values = [header.get(keyword) for header in headers]
        if keyword in _BEGIN + _END and None not in values:
            merged[keyword] = min(values) if keyword in _BEGIN else max(values)
        elif keyword in _COMMENTARY or any(value != values[0] for value in values):
            merged.remove(keyword, remove_all=True)
    return merged
