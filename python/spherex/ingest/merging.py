"""Values of a record's field from several files, whichever comes first."""

from __future__ import annotations

__all__ = ["merge"]

import math
from typing import TYPE_CHECKING, Any

from lsst.daf.butler import Timespan
from lsst.sphgeom import ConvexPolygon

if TYPE_CHECKING:
    from .policy import IngestPolicy


def merge(one: Any, other: Any, policy: IngestPolicy) -> Any | None:
    """Make one value of two that differ by rounding or measurement at most.

    Parameters
    ----------
    one, other
        The values, neither of them None.
    policy
        Says how much they may differ.

    Returns
    -------
    value
        The same whichever is named first, and ``one`` itself where nothing is
        to be changed: of two numbers the smaller one, the union of two
        timespans, one of two regions. None if the values contradict each
        other.
    """
    if one is other or one == other:
        return one
    if isinstance(one, float) and isinstance(other, float):
        return min(one, other) if math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) else None
    if isinstance(one, Timespan) and isinstance(other, Timespan):
        return _merge_times(one, other, policy.same_time)
    if isinstance(one, ConvexPolygon) and isinstance(other, ConvexPolygon):
        return _merge_places(one, other, policy.same_place)
    return None


def _merge_times(one: Timespan, other: Timespan, tolerance: int) -> Timespan | None:
    (begin, end), (other_begin, other_end) = one.nsec, other.nsec
    if abs(begin - other_begin) >= tolerance or abs(end - other_end) >= tolerance:
        return None
    if begin <= other_begin and end >= other_end:
        return one
    return Timespan.model_construct(nsec=(min(begin, other_begin), max(end, other_end)))


def _merge_places(one: ConvexPolygon, other: ConvexPolygon, tolerance: float) -> ConvexPolygon | None:
    ours, theirs = one.getVertices(), other.getVertices()
    if len(ours) != len(theirs) or any((a - b).getNorm() >= tolerance for a, b in zip(ours, theirs, strict=True)):
        return None
    # Any choice is as good, as long as it is the same in every order. A hull
    # would not do: four corners tell where a pixel is, more do not.
    return min(one, other, key=lambda polygon: [tuple(vertex) for vertex in polygon.getVertices()])
