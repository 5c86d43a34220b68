"""Rows of catalogues that cannot be targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from spherex.errors import CatalogError
from spherex.targets import CatalogProblem, check_catalog, check_catalog_name

MOTION = ("pmra", "pmdec", "ref_epoch")


def problems_of(name: list[str], ra: Any = 10.0, dec: Any = 20.0, motions: Any = None) -> list[str]:
    table = Table({"name": name, "ra": np.broadcast_to(ra, len(name)), "dec": np.broadcast_to(dec, len(name))})
    if motions is not None:
        for column, values in zip(MOTION, np.transpose(motions), strict=True):
            table[column] = values
    return [str(problem) for problem in check_catalog(table)]


def test_limits_belong_to_the_sky() -> None:
    assert problems_of(list("abcd"), [0.0, np.nextafter(360, 0), 180.0, 0.0], [-90.0, 90.0, 0.0, -0.0]) == []


@pytest.mark.parametrize(
    ("ra", "dec", "problem"),
    [
        (360.5, 0.0, "its ra 360.5 is not in the range -180 to 360 degrees"),
        (-181.0, 0.0, "its ra -181.0 is not in the range -180 to 360 degrees"),
        (np.inf, 0.0, "its ra inf is not in the range -180 to 360 degrees"),
        (np.nan, 0.0, "its ra is not a number"),
        (0.0, 90.0000001, "its dec 90.0000001 is not in the range -90 to 90 degrees"),
        (0.0, -91.0, "its dec -91.0 is not in the range -90 to 90 degrees"),
        (0.0, np.nan, "its dec is not a number"),
    ],
)
def test_places_that_are_none(ra: float, dec: float, problem: str) -> None:
    assert problems_of(["a", "b", "c"], [1.0, ra, 1.0], [2.0, dec, 2.0]) == [f"row 2: {problem}"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "the name is empty"),
        ("x" * 65, f"its name has 65 characters, more than 64: {'x' * 65}"),
        ("a\nb", r"its name has characters that cannot be printed: 'a\nb'"),
        ("a\u200bb", r"its name has characters that cannot be printed: 'a\u200bb'"),
        ("first", "it repeats row 1 (first)"),
        ("a%2Db", "its name has %2D, which would be read as another character in names of files: a%2Db"),
        ("a$HOME", "its name has a $, which programs may take for a variable in names of files: a$HOME"),
    ],
)
def test_names_that_are_none(name: str, problem: str) -> None:
    assert problems_of(["first", name]) == [f"row 2: {problem}"]


@pytest.mark.parametrize(
    "name", ["é" * 64, "Sgr A*", "007", "..", "[GMM2009] 3", "5% of", "2MASS J1+2", "O'Neil", "FIRST"]
)
def test_names_that_can_be(name: str) -> None:
    assert problems_of(["first", name]) == []


@pytest.mark.parametrize("name", ["N 1", "N.1", "N/1", "N:1", "N?1", "N*1", "N<1", "N>1", "N|1", "N\\1", 'N"1'])
def test_names_that_would_share_files(name: str) -> None:
    assert problems_of(["N_1", name]) == [f"row 2: its name {name} would have files of the same name as N_1 of row 1"]


def test_motions_that_are_none() -> None:
    nan = np.nan
    motions = [
        (1.0, nan, 2016.0),
        (nan, 1.0, 2016.0),
        (np.inf, np.inf, 2016.0),
        (1.0, 1.0, nan),
        (1.0, 1.0, 57388.0),
        (8e4, 8e4, 2016.0),
        (nan, nan, nan),
        (0.0, 0.0, 2000.0),
        (-798.58, 10328.12, 1991.25),
    ]
    assert problems_of(list("abcdefghi"), motions=motions) == [
        "row 1: its proper motion 1.0, nan is not two numbers",
        "row 2: its proper motion nan, 1.0 is not two numbers",
        "row 3: its proper motion inf, inf is not two numbers",
        "row 4: its proper motion has the epoch nan, which is not a Julian year",
        "row 5: its proper motion has the epoch 57388.0, which is not a Julian year",
        "row 6: its proper motion 80000.0, 80000.0 mas/yr is more than any star's: are the units right?",
    ]


def test_all_problems_of_a_row_are_told_in_the_order_of_rows() -> None:
    found = problems_of(["a", "", "a"], [1.0, 400.0, 1.0], [2.0, np.nan, 2.0], [(1.0, np.nan, 2000.0)] * 3)
    assert [one.split(":")[0] for one in found] == ["row 1", "row 2", "row 2", "row 2", "row 2", "row 3"]


@pytest.mark.parametrize("name", ["mine", "2MASS", "gaia_dr3.bright-1+2", "x" * 64])
def test_names_of_catalogues(name: str) -> None:
    check_catalog_name(name)


@pytest.mark.parametrize("name", ["", "a/b", "a b", ".a", "-a", "é", "a\n", "x" * 65, "a'b"])
def test_names_of_no_catalogue(name: str) -> None:
    with pytest.raises(CatalogError, match="the name of a catalogue"):
        check_catalog_name(name)


def test_a_bad_row_does_not_take_a_name() -> None:
    assert problems_of(["X", "X"], [np.nan, 12.0]) == ["row 1: its ra is not a number"]
    # Half a motion, and a row that the reader has found.
    assert [one[:5] for one in problems_of(["X", "X"], motions=[(1.0, np.nan, 2016.0), (1.0, 1.0, 2016.0)])] == [
        "row 1"
    ]
    table = Table({"name": ["X", "X"], "ra": [10.0, 11.0], "dec": [20.0, 20.0]})
    assert check_catalog(table, [CatalogProblem(1, "unread")]) == [CatalogProblem(1, "unread")]


def test_rows_of_one_name_with_different_values_are_all_bad() -> None:
    found = problems_of(["X", "a b", "X", "Y", "X", "a b", "a_b"], [1.0, 2.0, 1.0, 1.0, 3.0, 4.0, 5.0])
    of_x, of_ab = (f"its name {name} with different ra" for name in ("X is in rows 1, 3, 5", "a b is in rows 2, 6"))
    assert found == [f"row 1: {of_x}", f"row 2: {of_ab}", f"row 3: {of_x}", f"row 5: {of_x}", f"row 6: {of_ab}"]
    assert (
        problems_of(["X"] * 9, range(9))[8] == "row 9: its name X is in rows 1, 2, 3, 4, 5 and 4 more with different ra"
    )


def test_rows_with_equal_values_count_once() -> None:
    table = Table({"name": ["X"] * 3 + ["Y"] * 3, "ra": [1.0] * 6, "dec": [2.0] * 6, "pmra": [np.nan] * 6})
    table["pmdec"] = table["ref_epoch"] = np.nan
    table["mag"] = MaskedColumn([0.0, 1.0, 2.0, 5.0, 5.0, 6.0], mask=[True, True, True, False, False, False])
    table["spectrum"] = [[1.0, np.nan]] * 6
    assert [str(problem) for problem in check_catalog(table)] == [
        "row 2: it repeats row 1 (X)",
        "row 3: it repeats row 1 (X)",
        *(f"row {row}: its name Y is in rows 4, 5, 6 with different mag" for row in (4, 5, 6)),
    ]
    table["spectrum"][1, 0] = 2.0
    assert len(check_catalog(table)) == 6
