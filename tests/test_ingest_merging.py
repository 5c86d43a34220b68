from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest
from lsst.daf.butler import Timespan
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

from spherex.ingest import Tolerances
from spherex.ingest.records import merge

TOLERANCES = Tolerances(time=5_000_000, place=3e-4)


def span(begin: int, end: int) -> Timespan:
    return Timespan.model_construct(nsec=(10**18 + begin, 10**18 + 10**11 + end))


def square(lon: float, lat: float) -> ConvexPolygon:
    corners = [(lon, lat), (lon + 3, lat), (lon + 3, lat + 3), (lon, lat + 3)]
    return ConvexPolygon([UnitVector3d(LonLat.fromDegrees(*corner)) for corner in corners])


FAMILIES = [
    [span(0, 0), span(1_000_000, 1_000_000), span(-1_000_000, 2_000_000), span(500_000, -3_000)],
    [square(30, 40), square(30.001, 40), square(30, 40.002), square(29.999, 40.001)],
    [1.0, 1.0 + 1e-12, 1.0 - 1e-12],
]


@pytest.mark.parametrize("family", FAMILIES, ids=["timespans", "regions", "numbers"])
def test_every_order_gives_the_same(family: list[Any]) -> None:
    results = [
        functools.reduce(lambda one, other: merge(one, other, TOLERANCES), order)
        for order in itertools.permutations(family)
    ]
    assert all(result == results[0] for result in results)
    assert all(merge(results[0], one, TOLERANCES) is results[0] for one in family), "what is known already is no news"


def test_union_of_timespans() -> None:
    assert merge(span(0, 0), span(-1_000_000, 2_000_000), TOLERANCES) == span(-1_000_000, 2_000_000)
    assert merge(span(0, 2_000_000), span(-1_000_000, 0), TOLERANCES) == span(-1_000_000, 2_000_000)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (span(0, 0), span(5_000_000, 0)),
        (span(0, 0), span(0, -5_000_000)),
        (square(30, 40), square(30, 40.02)),
        (square(30, 40), ConvexPolygon(square(30, 40).getVertices()[:3])),
        (1.0, 1.0001),
        ("all_sky", "deep_north"),
        (1, 2),
    ],
)
def test_contradictions(one: Any, other: Any) -> None:
    assert merge(one, other, TOLERANCES) is None
    assert merge(other, one, TOLERANCES) is None
