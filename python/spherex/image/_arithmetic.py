"""What arithmetic with images needs besides that of their pixels."""

from __future__ import annotations

__all__ = ["joined_flags", "with_variance"]

from astropy.nddata import CCDData, VarianceUncertainty

from ._flags import FlagPlane


def joined_flags(first: FlagPlane | None, second: FlagPlane | None) -> FlagPlane | None:
    """Return the flags of two images together, in new memory; either may have none."""
    if first is not None and second is not None:
        return first.combined(second)
    one = second if first is None else first
    return None if one is None else FlagPlane(one.array.copy(), one.table)


def with_variance(image: CCDData) -> CCDData:
    """Return an image whose uncertainty, if any, is a variance: masters of ccdproc come with a standard deviation."""
    image = CCDData(image)
    if image.uncertainty is not None:
        image.uncertainty = image.uncertainty.represent_as(VarianceUncertainty)
    return image
