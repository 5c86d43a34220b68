"""Processing runs of one exposure: their ages, contradictions, differences in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lsst.daf.butler import CollectionType, Timespan
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

    from .descriptions import FileTranslator, Reprocessing

_BORESIGHT = ("ra_boresight", "dec_boresight")
_DATA_ID = ("instrument", "exposure", "detector")


def ages_of_images(
    butler: Butler, translator: FileTranslator, exposures: Iterable[int], age_of: Callable[[str], Any]
) -> dict[tuple[int, int | None], set[Any]]:
    """Return the ages of the runs that have images of exposures.

    Parameters
    ----------
    butler
        The repository.
    translator
        Translator with the chain of the runs.
    exposures
        Exposure ids. One query serves all of them.
    age_of
        Function that returns the age of a run.

    Returns
    -------
    dict [ tuple [ int, int or None ], set [ key ] ]
        Ages by exposure and detector; by exposure and None of any detector.
    """
    ids = sorted(set(exposures))
    infos = butler.collections.query_info(
        f"{translator.chain}/*", collection_types=CollectionType.RUN, include_summary=True
    )
    names = {name for info in infos for name in info.dataset_types or ()}
    ages: dict[tuple[int, int | None], set[Any]] = {}
    for name in sorted(names):
        dimensions = butler.get_dataset_type(name).dimensions
        if set(dimensions.required) != set(_DATA_ID):
            continue
        runs = [info.name for info in infos if name in (info.dataset_types or ())]
        with butler.query() as query:
            is_wanted = query.expression_factory.exposure.in_iterable(ids)
            refs = query.datasets(name, runs, find_first=False).where(
                is_wanted, instrument=translator.instrument.getName()
            )
            for ref in refs:
                age = age_of(ref.run)
                exposure, detector = int(ref.dataId["exposure"]), int(ref.dataId["detector"])
                for key in ((exposure, detector), (exposure, None)):
                    ages.setdefault(key, set()).add(age)
    return ages


def contradiction(values: Mapping[str, Any], reference: Mapping[str, Any], rule: Reprocessing) -> str | None:
    """Return the field by which two records cannot be of the same exposure.

    Parameters
    ----------
    values, reference
        Values of the two records of one data ID.
    rule
        Largest differences between processing runs.

    Returns
    -------
    str or None
        Name of the field; None if another processing explains all differences.
    """
    for name, value in values.items():
        theirs = reference.get(name)
        if value is None or theirs is None or value == theirs:
            continue
        if name in rule.fixed:
            return name
        if isinstance(value, Timespan):
            if max(abs(ours - its) for ours, its in zip(value.nsec, theirs.nsec, strict=True)) > rule.time:
                return name
        elif isinstance(value, ConvexPolygon):
            distance = _distance(value, theirs)
            if distance is None or distance > rule.place:
                return name
        elif name in _BORESIGHT:
            ours, its = ([record.get(field) for field in _BORESIGHT] for record in (values, reference))
            if None not in (*ours, *its) and _separation(ours, its) > rule.place:
                return name
    return None


def _separation(first: list[Any], second: list[Any]) -> float:
    ours, theirs = (UnitVector3d(LonLat.fromDegrees(*position)) for position in (first, second))
    return (ours - theirs).getNorm()


def _distance(region: ConvexPolygon, reference: Any) -> float | None:
    """Return the largest distance of two corners (rad); None if the regions do not have as many."""
    corners = region.getVertices(), reference.getVertices() if isinstance(reference, ConvexPolygon) else []
    if len(corners[0]) != len(corners[1]):
        return None
    return max((ours - theirs).getNorm() for ours, theirs in zip(*corners, strict=True))


def difference(value: Any, reference: Any) -> str:
    """Return in words how a value differs from a reference, to be followed by the place of that.

    Parameters
    ----------
    value, reference
        Values of a field of a dimension record.

    Returns
    -------
    str
        Of times and regions the difference itself: "begins 3.2 ms later than that".
    """
    if isinstance(value, Timespan) and isinstance(reference, Timespan):
        shifts = [ours - its for ours, its in zip(value.nsec, reference.nsec, strict=True)]
        parts = [
            f"{verb} {_duration(abs(shift))} {'later' if shift > 0 else 'earlier'}"
            for verb, shift in zip(("begins", "ends"), shifts, strict=True)
            if shift
        ]
        return f"{' and '.join(parts)} than that"
    if isinstance(value, ConvexPolygon):
        distance = _distance(value, reference)
        return "is different from that" if distance is None else f"is {_angle(distance)} away from that"
    return f"is {value}, but {reference}"


def _duration(nanoseconds: int) -> str:
    for unit, size in (("d", 86400e9), ("h", 3600e9), ("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.4g} {unit}"
    return f"{nanoseconds / 1e3:.4g} us"


def _angle(radians: float) -> str:
    degrees = math.degrees(radians)
    return f"{degrees:.3g} deg" if degrees >= 1 else f"{3600 * degrees:.3g} arcsec"
