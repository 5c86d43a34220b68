"""Catalogues from files: formats, columns, units, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.coordinates import Latitude, Longitude, SkyCoord
from astropy.io import fits
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.time import Time

from spherex.errors import CatalogError
from spherex.targets import check_catalog, read_catalog

from .targets_helpers import EXTENSIONS, write, write_csv

TWO: dict[str, Any] = {"name": ["a", "b"], "ra": [1.0, 2.0], "dec": [3.0, -4.0]}


def rows_of(table: Table) -> list[tuple[str, float, float]]:
    return [(str(row["name"]), float(row["ra"]), float(row["dec"])) for row in table]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_formats_give_the_same_table(tmp_path: Path, extension: str) -> None:
    table = Table({"name": ["Sgr A*", "b", "c"], "ra": [0.1, 359.9999999999999, 180.0], "dec": [-90.0, 90.0, 1 / 3]})
    table["flux"] = [1.5, 0.0, -1e-300]
    table["count"] = [1, -2, 2**62]
    table["note"] = ["x", "long text", "12"]
    table["masked"] = MaskedColumn([1.5, 2.5, 3.5], mask=[False, True, False])
    found = read_catalog(str(write(tmp_path / f"file{extension}", table)))
    assert found.colnames == table.colnames
    for name in table.colnames:
        assert found[name].dtype.isnative
        assert found[name].dtype.kind == table[name].dtype.kind
        np.testing.assert_equal(found[name].tolist(), table[name].tolist())
    assert found["masked"].mask.tolist() == [False, True, False]
    assert [str(found[name].unit) for name in ("ra", "dec")] == ["deg", "deg"]


@pytest.mark.parametrize("extension", [".ecsv", ".fits", ".vot", ".parquet"])
@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        ([0.5, 5.0] * units.rad, [1.5, -1.5] * units.rad),
        ([1800.0, 3.6e5] * units.arcsec, [30.0, -600.0] * units.arcmin),
        ([90.0, 270.0] * units.deg, [1.0, 2.0] * units.rad),
    ],
)
def test_units_are_converted(tmp_path: Path, extension: str, ra: Any, dec: Any) -> None:
    table = Table({"name": ["a", "b"], "ra": Column(ra.value, unit=ra.unit), "dec": Column(dec.value, unit=dec.unit)})
    found = read_catalog(str(write(tmp_path / f"file{extension}", table)))
    np.testing.assert_allclose(found["ra"], ra.to_value("deg"), rtol=1e-15)
    np.testing.assert_allclose(found["dec"], dec.to_value("deg"), rtol=1e-15)
    assert found["ra"].unit == found["dec"].unit == units.deg


def test_hours_are_converted_where_the_unit_says_so(tmp_path: Path) -> None:
    table = Table(TWO)
    table["ra"].unit = "hourangle"
    found = read_catalog(str(write(tmp_path / "file.ecsv", table)))
    np.testing.assert_allclose(found["ra"], [15.0, 30.0], rtol=1e-15)


def test_proper_motions_are_converted(tmp_path: Path) -> None:
    table = Table(TWO | {"pmRA": [1.0, -2.0], "pmDE": [0.5, 0.25], "epoch": [2016, 1991]})
    table["pmRA"].unit, table["pmDE"].unit, table["epoch"].unit = "arcsec/yr", "mas/yr", "yr"
    found = read_catalog(str(write(tmp_path / "file.ecsv", table)))
    np.testing.assert_allclose(found["pmra"], [1000.0, -2000.0])
    np.testing.assert_allclose(found["pmdec"], [0.5, 0.25])
    assert found["ref_epoch"].tolist() == [2016.0, 1991.0]
    assert found.colnames == ["name", "ra", "dec", "pmra", "pmdec", "ref_epoch"]


def test_quantities_and_coordinates_are_columns(tmp_path: Path) -> None:
    sky = SkyCoord([10.0, 20.0], [30.0, 40.0], unit="deg")
    angles = {"ra": Longitude([1.0, 2.0] * units.rad), "dec": Latitude([3.0, 4.0] * units.deg)}
    QTable({"name": ["a", "b"], **angles, "sky": sky, "seen": Time([2025.0, 2026.0], format="jyear")}).write(
        tmp_path / "file.ecsv"
    )
    with pytest.raises(CatalogError, match="has 2 pairs of coordinates, ra, dec; sky.ra, sky.dec, with different"):
        read_catalog(str(tmp_path / "file.ecsv"))
    found = read_catalog(str(tmp_path / "file.ecsv"), {"dec": "dec"})
    np.testing.assert_allclose(found["ra"], np.degrees([1.0, 2.0]))
    assert found["sky.dec"].tolist() == [30.0, 40.0]
    assert read_catalog(str(tmp_path / "file.ecsv"), {"ra": "sky.ra"})["dec"].tolist() == [30.0, 40.0]


def test_names_of_csv_stay_as_they_are_written(tmp_path: Path) -> None:
    names = ["007", "1e5", "1.0", "nan", "Sgr A*", "η Car", "9223372036854775809"]
    path = write_csv(tmp_path / "file.csv", *(f" {name} ,1, +2" for name in names))
    assert read_catalog(str(path))["name"].tolist() == names


def test_whole_numbers_are_names(tmp_path: Path) -> None:
    numbers = np.array([4295806720123456789, 7])
    path = write(tmp_path / "file.fits", Table({"SOURCE_ID": numbers, "RA": [1.0, 2.0], "DEC": [3.0, 4.0]}))
    assert read_catalog(str(path))["name"].tolist() == ["4295806720123456789", "7"]


def test_identifiers_in_csv_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    gaia, long = "5853498713190525696", "18446744073709551615"
    path.write_text(f"name,ra,dec,gaia,long,part\na,1,2,{gaia},{long},1_000\nb,3,4,{gaia},{long[:-1]}4,2_000\n")
    found = read_catalog(str(path))
    assert found["gaia"].tolist() == [int(gaia)] * 2
    assert found["long"].tolist() == [long, f"{long[:-1]}4"]
    assert found["part"].tolist() == ["1_000", "2_000"]


def test_csv_of_a_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    text = '\ufeffName,RA,Dec,"note, long",mag,code\r\n"a, b",1,2,"two\r\nlines",,007\r\n\r\n"c ""d""",3,4,,9.5,1\r\n'
    path.write_bytes(text.encode())
    found = read_catalog(str(path))
    assert rows_of(found) == [("a, b", 1.0, 2.0), ('c "d"', 3.0, 4.0)]
    assert found["mag"].tolist() == [None, 9.5]
    # Leading zeros: no number.
    assert found["code"].tolist() == ["007", "1"]
    assert found["note, long"].tolist() == ["two\r\nlines", None]


def test_usual_names_of_columns_are_found(tmp_path: Path) -> None:
    header = "recno,_RAJ2000,_DEJ2000,MAIN_ID,epoch"
    found = read_catalog(str(write_csv(tmp_path / "file.csv", "1,2,3,M 31,2016", header=header)))
    assert rows_of(found) == [("M 31", 2.0, 3.0)]
    # An epoch without proper motions is a column as any other.
    assert found.colnames == ["name", "ra", "dec", "recno", "epoch"]


def test_columns_are_chosen_and_none_is_lost(tmp_path: Path) -> None:
    header = "name,ra,RA,dec,label,ra_1,ra"
    path = str(write_csv(tmp_path / "file.csv", "a,1,2,3,x,4,5", header=header))
    with pytest.raises(CatalogError, match="has 2 pairs of coordinates, ra, dec; RA, dec, with"):
        read_catalog(path)
    found = read_catalog(path, {"ra": "ra"})
    assert found.colnames == ["name", "ra", "dec", "RA", "label", "ra_1", "ra_2"]
    found = read_catalog(path, {"name": "label", "ra": "RA"})
    assert rows_of(found) == [("x", 2.0, 3.0)]
    assert {name: found[name][0] for name in found.colnames[3:]} == {"name_1": "a", "ra_1": 1, "ra_1_1": 4, "ra_2": 5}


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_masked_values_are_missing(tmp_path: Path, extension: str) -> None:
    table = Table(TWO)
    for name in table.colnames:
        table[name] = MaskedColumn(table[name], mask=[False, True])
    problems = check_catalog(read_catalog(str(write(tmp_path / f"file{extension}", table))))
    assert [str(one) for one in problems] == [
        "row 2: the name is empty", "row 2: its ra is not a number", "row 2: its dec is not a number",
    ]  # fmt: skip


def test_parquet_of_other_programs(tmp_path: Path) -> None:
    columns = {
        "name": pa.array(["a", "é"]).dictionary_encode(),
        "ra": pa.array([1.0, 2.0], pa.float32()),
        "dec": pa.array([1, 2], pa.int64()).cast(pa.decimal128(30)),
        "when": pa.array([0, None], pa.timestamp("us")),
        "nothing": pa.nulls(2),
        "large": pa.array(["x", None], pa.large_string()),
        "flag": pa.array([True, None]),
        "small": pa.array([1, None], pa.uint8()),
    }
    pq.write_table(pa.table(columns), tmp_path / "file.parquet")
    found = read_catalog(str(tmp_path / "file.parquet"))
    assert rows_of(found) == [("a", 1.0, 1.0), ("é", 2.0, 2.0)]
    assert found["when"].tolist() == ["1970-01-01 00:00:00.000000", None]
    for name, value in {"nothing": None, "large": "x", "flag": True, "small": 1}.items():
        assert found[name].tolist() == [value, None]


VOTABLE = """<?xml version="1.0"?>
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>{tables}</RESOURCE></VOTABLE>"""
VOTABLE_TABLE = """<TABLE><FIELD name="Name" datatype="char" arraysize="*"/>
<FIELD name="RAJ2000" datatype="double" unit="deg"/><FIELD name="DEJ2000" datatype="double" unit="deg"/>
<FIELD name="note" datatype="unicodeChar" arraysize="*"/><DATA><TABLEDATA>
<TR><TD>a</TD><TD>1</TD><TD>2</TD><TD>é</TD></TR><TR><TD>bb</TD><TD>3</TD><TD>4</TD><TD/></TR>
</TABLEDATA></DATA></TABLE>"""


def test_votable_with_texts_of_any_length(tmp_path: Path) -> None:
    path = tmp_path / "file.xml"
    path.write_text(VOTABLE.format(tables=VOTABLE_TABLE), encoding="utf-8")
    found = read_catalog(str(path))
    assert rows_of(found) == [("a", 1.0, 2.0), ("bb", 3.0, 4.0)]
    assert found["note"].dtype.kind == "U"
    assert found["note"][0] == "é"


def several_tables(path: Path) -> None:
    hdus = [fits.table_to_hdu(Table(TWO)) for _ in range(2)]
    hdus[1].name = "OTHER"
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)


UNREADABLE: dict[str, tuple[Any, str]] = {
    "none.csv": (lambda path: None, "there is no file"),
    "folder.csv": (lambda path: path.mkdir(), "cannot be read as CSV: [Errno 21] Is a directory"),
    "file.dat": (
        b"name,ra,dec\na,1,2\n",
        "the extension of a catalogue; there are readers for .csv, .ecsv, ",
    ),
    "empty.csv": (b"", "cannot be read as CSV: it is empty"),
    "header.csv": (b"name,ra,dec\n", "has no rows"),
    "ragged.csv": (b"name,ra,dec\na,1,2\nb,1\n", "cannot be read as CSV: CSV parse error: Expected 3 columns, got 2"),
    "latin.csv": ("name,ra,dec\nMüller,1,2\n".encode("latin1"), "line 2 is not UTF-8 (byte 0xfc)"),
    "text.fits": (b"name,ra,dec\na,1,2\n", "cannot be read as FITS: No SIMPLE card found"),
    "empty.fits": (b"", "cannot be read as FITS: "),
    "image.fits": (lambda path: fits.PrimaryHDU(np.ones((2, 2))).writeto(path), "as FITS: it contains no table"),
    "several.fits": (
        several_tables,
        "as FITS: it contains 2 tables (HDU 1, 2 OTHER): write the one with the targets",
    ),
    "latin.fits": (lambda path: write(path, Table(TWO | {"name": [b"a", b"\xfc"]})), "cannot be read as FITS: "),
    "text.ecsv": (b"name,ra,dec\na,1,2\n", "cannot be read as ECSV: ECSV header line"),
    "text.vot": (b"name,ra,dec\na,1,2\n", "cannot be read as VOTable: "),
    "none.vot": (VOTABLE.format(tables="").encode(), "cannot be read as VOTable: No table found"),
    "several.vot": (VOTABLE.format(tables=2 * VOTABLE_TABLE).encode(), "as VOTable: Multiple tables found"),
    "text.parquet": (b"name,ra,dec\na,1,2\n", "cannot be read as parquet: Parquet magic bytes not found in footer"),
    "no_dec.csv": (b"name,ra\na,1\n", "has no column dec (also known: de, dec_deg, "),
    "comment.csv": (b"# nothing else\n", "cannot be read as CSV: it is empty"),
    "pipes.csv": (b"name|ra|dec\na|1|2\n", "choose one of name|ra|dec with --name-column"),
    "names.csv": (b"name\na\n", "and no dec; choose one of name with --ra-column, --dec-column."),
    "own.csv": (
        b"Star,alpha,delta\na,1,2\n",
        "and no ra or dec; choose one of Star, alpha, delta with --name-column, --ra-column, --dec-column.",
    ),
    "sexagesimal.csv": (
        b"name,ra,dec\na,10:00:01.5,1\nb,2.5,1\nc,11 0 0,1\n",
        "column ra for ra has sexagesimal and decimal values (row 1: 10:00:01.5, row 2: 2.5): write all in one form",
    ),
    "other.csv": (b"name,ra,dec\na,10:00:01.5,1\nb,x,1\n", "row 2: its ra x is not sexagesimal as others in its"),
    "many.csv": (
        b"name,ra,dec\n" + b"a,1,x\n" * 7,
        "row 5: its dec x is not a decimal number and 2 more; choose another column",
    ),
    "epoch.csv": (
        b"name,ra,dec,pmra,pmdec,epoch\na,1,2,3,4,J2016\n",
        "row 1: its ref_epoch J2016 is not a decimal number",
    ),
    "no_epoch.csv": (b"name,ra,dec,pmra,pmdec\na,1,2,3,4\n", "has pmra and pmdec, but not ref_epoch: proper motions"),
    "no_pmdec.csv": (b"name,ra,dec,pmra,epoch\na,1,2,3,2000\n", "has pmra and ref_epoch, but not pmdec"),
    "metres.ecsv": (lambda path: write(path, Table(TWO, units={"ra": "m"})), "is in m, which astropy does not convert"),
    "float_names.fits": (
        lambda path: write(path, Table(TWO | {"name": [1.0, 2.0]})),
        "names are texts or whole numbers",
    ),
    "flags.fits": (lambda path: write(path, Table(TWO | {"ra": [True, False]})), "of type bool, which are not numbers"),
    "arrays.fits": (lambda path: write(path, Table(TWO | {"ra": np.ones((2, 2))})), "more than one value in a row"),
    "complex.fits": (lambda path: write(path, Table(TWO | {"c": [1j, 2j]})), "column c has values of type complex128"),
    "objects.ecsv": (
        lambda path: write(path, Table(TWO | {"o": np.array([[1], [1, 2]], dtype=object)})),
        "column o has values of any kind or of any number",
    ),
    "lists.parquet": (
        lambda path: pq.write_table(pa.table(TWO | {"l": [[1], [2, 3]]}), path),
        "column l has values of type list<",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_used_is_told(tmp_path: Path, name: str) -> None:
    make, message = UNREADABLE[name]
    path = tmp_path / name
    if isinstance(make, bytes):
        path.write_bytes(make)
    else:
        make(path)
    with pytest.raises(CatalogError) as caught:
        read_catalog(str(path))
    assert message in str(caught.value)
    assert str(caught.value).startswith((str(path), f"there is no file {path}"))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"ra": "lon"}, "has no column lon; it has name, ra, dec, epoch"),
        ({"ra": "dec"}, "column dec cannot be ra and dec"),
        ({"ref_epoch": "epoch"}, "has ref_epoch, but not pmra and pmdec"),
    ],
)
def test_choices_that_cannot_be(tmp_path: Path, chosen: dict[str, str], message: str) -> None:
    path = write_csv(tmp_path / "file.csv", "a,1,2,2000", header="name,ra,dec,epoch")
    with pytest.raises(CatalogError, match=message):
        read_catalog(str(path), chosen)


def test_address_of_no_kind() -> None:
    with pytest.raises(CatalogError, match="is not a path or URI of a file"):
        read_catalog("nonsense://bucket/file.csv")


def test_file_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    from lsst.resources import ResourcePath

    ResourcePath(f"{bucket}/file.fits").write(write(tmp_path / "file.fits", Table(TWO)).read_bytes())
    assert rows_of(read_catalog(f"{bucket}/file.fits")) == [("a", 1.0, 3.0), ("b", 2.0, -4.0)]
    with pytest.raises(CatalogError, match="there is no file"):
        read_catalog(f"{bucket}/other.fits")
