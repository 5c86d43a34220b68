"""Catalogues in the forms that public tools, archives and people write them."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.time import Time

from spherex.errors import CatalogError
from spherex.ingest.locations import read_list
from spherex.targets import CatalogProblem, Motion, check_catalog, coincident_names, read_catalog, similar_names

from .targets_helpers import write

BARNARD = (269.44850253, 4.73942005)
"""Position at the epoch 2016.0 (Gaia DR3), 166 arcsec from that of the epoch 2000.0."""
MOTION = (-801.551, 10362.394)


def rows_of(table: Table) -> list[tuple[str, float, float]]:
    return [(str(row["name"]), float(row["ra"]), float(row["dec"])) for row in table]


TEXTS: dict[str, tuple[str, list[tuple[str, float, float]]]] = {
    "degrees.csv": ("Name,RA_deg,DEC_deg,size\nDemo,150.1,2.2,180\n", [("Demo", 150.1, 2.2)]),
    "source_name.csv": ("source_id,source_name,ra_deg,dec_deg\n7,X Demo,304.6,42.4\n", [("X Demo", 304.6, 42.4)]),
    "label.csv": ("LABEL,RA,DEC\nA,10,20\n", [("A", 10.0, 20.0)]),
    "object.csv": ("OBJECT,RA,DEC\nA,10,20\n", [("A", 10.0, 20.0)]),
    "blanks.txt": (
        'name ra dec\nNGC6888  308.027 38.35\n"E 273" 273.1 65.2\n',
        [("NGC6888", 308.027, 38.35), ("E 273", 273.1, 65.2)],
    ),
    "blanks.csv": ("name ra dec\n007 308.027 38.35\n", [("007", 308.027, 38.35)]),
    "tabs.tsv": ("name\tra\tdec\nA b\t10\t20\n", [("A b", 10.0, 20.0)]),
    "bom.csv": ("\ufeffname;ra;dec\nA, b;10;20\n", [("A, b", 10.0, 20.0)]),
    "comment.csv": ("# Source list, 2026; mine\n\n# epoch 2016\nname,ra,dec\n#1,10,20\n", [("#1", 10.0, 20.0)]),
    "header_in_comment.csv": ("# my sources\n# name,ra,dec\nA,10,20\n", [("A", 10.0, 20.0)]),
    "header_in_comment.txt": ("#name ra dec\nA 10 20\n", [("A", 10.0, 20.0)]),
    "ecsv.csv": (
        "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: name, datatype: string}\n# - {name: ra, unit: hourangle, "
        "datatype: float64}\n# - {name: dec, datatype: float64}\nname ra dec\nA 10 20\n",
        [("A", 150.0, 20.0)],
    ),
    "sexagesimal.csv": (
        "name,ra,dec\nA,20:32:06.5,+38:21:00\nB,20 32 07.5,-00 30 00\nC,0:00:00,-0:0:36\n",
        [("A", 308.027083333, 38.35), ("B", 308.03125, -0.5), ("C", 0.0, -0.01)],
    ),
    "west.csv": (
        "name,ra,dec\nA,-10.5,20\nB,360,20\nC,-180,20\nD,-1e-20,20\n",
        [("A", 349.5, 20.0), ("B", 0.0, 20.0), ("C", 180.0, 20.0), ("D", 0.0, 20.0)],
    ),
    "unicode.csv": (
        "name,ra,dec\nβ Pic,86.82,-51.07\n[SHM2011b] J04+31,70,31\n* alf Ori,88.79,7.41\n2MASS J01+09,24.2,9.5\n",
        [
            ("β Pic", 86.82, -51.07),
            ("[SHM2011b] J04+31", 70.0, 31.0),
            ("* alf Ori", 88.79, 7.41),
            ("2MASS J01+09", 24.2, 9.5),
        ],
    ),
    "identifiers.csv": (
        "source_id,ra,dec\n4012093916593061120,10,20\n18446744073709551615,12,20\n",
        [("4012093916593061120", 10, 20), ("18446744073709551615", 12, 20)],
    ),
    "same_twice.csv": ("name,ra,dec,RAJ2000,DEJ2000\nA,10,20,0:40:00,20 00 00.01\n", [("A", 10.0, 20.0)]),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_texts(tmp_path: Path, name: str) -> None:
    text, expected = TEXTS[name]
    (tmp_path / name).write_text(text, encoding="utf-8")
    table = read_catalog(str(tmp_path / name))
    assert [row[0] for row in rows_of(table)] == [row[0] for row in expected]
    np.testing.assert_allclose([row[1:] for row in rows_of(table)], [row[1:] for row in expected], rtol=0, atol=1e-9)
    assert check_catalog(table) == []


def test_texts_of_other_columns_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text(
        "name,ra,dec,flux,snr,part,digits\nA,10,20,nan,inf,1_0,１0\nB,11,20,,-inf,2_0,20\nC,12,20,2,--,3,30\n"
    )
    table = read_catalog(str(path))
    assert table["snr"].tolist() == ["inf", "-inf", "--"]
    assert table["part"].tolist() == ["1_0", "2_0", "3"]
    assert table["digits"].tolist() == ["１0", "20", "30"]
    assert table["flux"].mask.tolist() == [False, True, False]


@pytest.mark.parametrize("text", ["1_0", "１0", "0x10", "1e", "10 deg", "10:00", "1:2:3:4", "10:60:00"])
def test_texts_that_are_not_numbers(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.csv"
    path.write_text(f"name,ra,dec\nA,10,20\nB,{text},20\n", encoding="utf-8")
    with pytest.raises(CatalogError, match=f"row 2: its ra {text} is not a decimal number"):
        read_catalog(str(path))
    problems: list[CatalogProblem] = []
    table = read_catalog(str(path), problems=problems)
    assert [str(problem) for problem in problems] == [f"row 2: its ra {text} is not a decimal number"]
    assert np.isnan(table["ra"]).tolist() == [False, True]


@pytest.mark.parametrize(
    ("unit", "ra"),
    [("degrees", 10.0), ("DEGREE", 10.0), ("hours", 150.0), ("hr", 150.0), ("h", 150.0), ("hourangle", 150.0)],
)
@pytest.mark.parametrize("extension", [".fits", ".vot"])
def test_units_in_words(tmp_path: Path, unit: str, ra: float, extension: str) -> None:
    path = tmp_path / f"file{extension}"
    if extension == ".fits":
        columns = [fits.Column("RA", "D", unit=unit, array=[10.0]), fits.Column("DEC", "D", unit="deg", array=[20.0])]
        name = fits.Column("name", "1A", array=["A"])
        fits.BinTableHDU.from_columns([name, *columns, fits.Column("flux", "D", unit="furlong", array=[1.0])]).writeto(
            path
        )
    else:
        path.write_text(votable(f'<FIELD name="RA" datatype="double" unit="{unit}"/>', "10"))
    assert rows_of(read_catalog(str(path))) == [("A", ra, 20.0)]


def votable(field: str, value: str) -> str:
    """Return a VOTable of the target A with a further field."""
    return f"""<?xml version="1.0"?><VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>
<FIELD name="label" datatype="char" arraysize="*"/>{field}<FIELD name="dec" datatype="double" unit="deg"/>
<DATA><TABLEDATA><TR><TD>A</TD><TD>{value}</TD><TD>20</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"""


def test_hours_are_not_a_unit_of_declinations(tmp_path: Path) -> None:
    table = Table({"name": ["A"], "ra": [10.0], "dec": [20.0]}, units={"dec": "h"})
    with pytest.raises(CatalogError, match="column dec for dec is in h, which astropy does not convert to deg"):
        read_catalog(str(write(tmp_path / "file.vot", table)))


@pytest.mark.parametrize(
    ("unit", "right"), [('"h:m:s"', True), ("", True), ("hourangle", True), ("deg", False), ("degrees", False)]
)
def test_sexagesimal_texts_of_a_votable(tmp_path: Path, unit: str, right: bool) -> None:
    path = tmp_path / "file.vot"
    field = f"<FIELD name='RAJ2000' datatype='char' arraysize='*' unit='{unit}'/>"
    path.write_text(votable(field, "00 42 44.3").replace('name="dec"', 'name="DEJ2000"'))
    if right:
        assert rows_of(read_catalog(str(path))) == [("A", pytest.approx(10.6845833333), 20.0)]
    else:
        # 00 42 44.3 degrees or hours?
        with pytest.raises(CatalogError, match="row 1: its ra 00 42 44.3 is not a decimal number"):
            read_catalog(str(path))


@pytest.mark.parametrize(("value", "decimal"), [("269:27:00", "269.45"), ("-13 0 0", "-13")])
def test_sexagesimal_degrees_are_not_hours(tmp_path: Path, value: str, decimal: str) -> None:
    path = tmp_path / "file.csv"
    path.write_text(f"name,ra,dec\nA,10:00:00,2\nB,{value},2\n")
    with pytest.raises(CatalogError) as caught:
        read_catalog(str(path), problems=[])
    for part in (
        f"column ra for ra is read as hours, but {value} in row 2 is not in the range -12 to 24 hours",
        f"If the column is in degrees, write them as decimal numbers ({decimal} in this row)",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(("unit", "value"), [("hours", "269.45"), ("h:m:s", "25:00:00"), ("hourangle", "-99")])
def test_rows_above_24_hours(tmp_path: Path, unit: str, value: str) -> None:
    kind = "datatype='char' arraysize='*'" if ":" in unit else "datatype='double'"
    path = tmp_path / "file.vot"
    path.write_text(votable(f"<FIELD name='ra' {kind} unit='{unit}'/>", value))
    problems: list[CatalogProblem] = []
    assert np.isnan(read_catalog(str(path), problems=problems)["ra"]).all()
    (problem,) = problems
    assert str(problem).startswith(f"row 1: its ra {value}")
    assert str(problem).endswith("is read as hours and is not in the range -12 to 24 hours")


def test_array_of_characters_in_a_votable(tmp_path: Path) -> None:
    field = '<FIELD name="did" datatype="char" arraysize="54x*"/><FIELD name="ra" datatype="double"/>'
    (tmp_path / "file.vot").write_text(votable(field, "ivo://irsa.ipac/x?2025W51_1A_0684_2/D3</TD><TD>10"))
    table = read_catalog(str(tmp_path / "file.vot"))
    assert (rows_of(table), table["did"].tolist()) == ([("A", 10.0, 20.0)], ["ivo://irsa.ipac/x?2025W51_1A_0684_2/D3"])


def test_lists_of_numbers_in_a_votable_are_refused(tmp_path: Path) -> None:
    field = '<FIELD name="ra" datatype="double"/><FIELD name="lambda" datatype="double" arraysize="*"/>'
    (tmp_path / "file.vot").write_text(votable(field, "10</TD><TD>1.0 1.1 1.2"))
    with pytest.raises(CatalogError, match="column lambda has values of any kind or of any number: remove it"):
        read_catalog(str(tmp_path / "file.vot"))


def test_ipac(tmp_path: Path) -> None:
    table = Table({"name": ["A", "007"], "ra": [10.0, 11.0], "dec": [20.0, 21.0]})
    for name in ("file.tbl", "file.txt"):
        table.write(tmp_path / name, format="ascii.ipac")
        assert rows_of(read_catalog(str(tmp_path / name))) == [("A", 10.0, 20.0), ("007", 11.0, 21.0)]


@pytest.mark.parametrize(
    "name", ["file.csv.gz", "file.ecsv.gz", "file.fits.gz", "file.vot.gz", "zipped.csv", "FILE.FITS"]
)
def test_compressed(tmp_path: Path, name: str) -> None:
    table = Table({"name": ["A"], "ra": [10.0], "dec": [20.0]})
    plain = write(tmp_path / f"plain.{name.lower().split('.')[1]}", table)
    content = plain.read_bytes()
    (tmp_path / name).write_bytes(content if name == "FILE.FITS" else gzip.compress(content))
    assert rows_of(read_catalog(str(tmp_path / name))) == [("A", 10.0, 20.0)]


def test_parquet_of_pandas(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    long = 4012093916593061120
    # As pandas 2.3 writes a DataFrame with its index.
    columns = {
        "name": pa.array(["A", "B"]).dictionary_encode(),
        "ra": pa.array([10.0, 11.0]),
        "dec": pa.array([20.0, 21.0]),
        "gaia": pa.array([long + 1, None]),
        "when": pa.array([1_767_225_600_000_000_000, None], pa.timestamp("ns")),
        "__index_level_0__": pa.array([long + 1, long]),
    }
    pq.write_table(pa.table(columns, metadata={"pandas": '{"index_columns": ["__index_level_0__"]}'}), path)
    table = read_catalog(str(path))
    assert rows_of(table) == [("A", 10.0, 20.0), ("B", 11.0, 21.0)]
    assert table["gaia"].tolist() == [long + 1, None]
    assert table["__index_level_0__"].tolist() == [long + 1, long]


@pytest.mark.parametrize("frame", ["icrs", "galactic", "fk5"])
def test_coordinates_of_astropy(tmp_path: Path, frame: str) -> None:
    position = SkyCoord([10.0], [20.0], unit="deg")
    table = Table({"name": ["A"], "coord": getattr(position, frame), "t": Time([60000.0], format="mjd")})
    table.write(tmp_path / "file.ecsv")
    ((name, ra, dec),) = rows_of(read_catalog(str(tmp_path / "file.ecsv")))
    assert (name, ra, dec) == ("A", pytest.approx(10.0, abs=1e-9), pytest.approx(20.0, abs=1e-9))


def vizier(**columns: Any) -> Table:
    """Return Barnard's star as VizieR lists it in I/355/gaiadr3, with more columns."""
    ra, dec = BARNARD
    values = {"Source": [4472832130942575872], "RA_ICRS": [ra], "DE_ICRS": [dec]}
    values |= {"pmRA": [MOTION[0]], "pmDE": [MOTION[1]], "RAJ2000": [269.45207695], "DEJ2000": [4.69336497]}
    units = {name: "mas/yr" if name.startswith("pm") else "deg" for name in values if name != "Source"}
    return Table(values | columns, units=units)


def test_several_positions_are_never_chosen_silently(tmp_path: Path) -> None:
    path = str(write(tmp_path / "file.vot", vizier(ref_epoch=[2016.0])))
    with pytest.raises(CatalogError) as caught:
        read_catalog(path)
    for part in ("RAJ2000, DEJ2000; RA_ICRS, DE_ICRS", "166 arcsec apart in row 1", "--ra-column and --dec-column"):
        assert part in str(caught.value)
    for chosen in ({"ra": "RA_ICRS", "dec": "DE_ICRS"}, {"ra": "RA_ICRS"}, {"dec": "DE_ICRS"}):
        table = read_catalog(path, chosen)
        assert (table["ra"][0], table["dec"][0]) == BARNARD
        assert [table[name][0] for name in ("pmra", "pmdec", "ref_epoch")] == [*MOTION, 2016.0]


PAIRS = {
    "name,RA,ra,Dec,dec\nA,1,10,2,20\n": "RA, Dec; ra, dec",
    "name,ra,dec,ra,dec\nA,1,2,10,20\n": "ra, dec; ra_1, dec_1",
    "name,ra_1,dec_1,ra_2,dec_2\nA,1,2,10,20\n": "ra_1, dec_1; ra_2, dec_2",
    "name,ra_deg,dec_deg,_RAJ2000,_DEJ2000\nA,1,2,1,2.0001\n": "ra_deg, dec_deg; _RAJ2000, _DEJ2000",
    "name,ra,dec,ra_icrs,de_icrs\nA,1,2,1,2\nB,1,2,,\n": "one of them is missing in row 2",
    "name,RA_ICRS,DEJ2000\nA,1,2\n": "RA_ICRS, DEJ2000, which are not known to be a pair of coordinates",
}


@pytest.mark.parametrize("text", PAIRS)
def test_pairs_that_differ(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.csv").write_text(text)
    with pytest.raises(CatalogError) as caught:
        read_catalog(str(tmp_path / "file.csv"))
    assert PAIRS[text] in str(caught.value)
    assert "--ra-column and --dec-column" in str(caught.value)


def test_several_motions_that_differ(tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text("name,ra,dec,pmra,pmdec,pm_ra,epoch\nA,1,2,3,4,5,2016\n")
    with pytest.raises(CatalogError, match="several columns for pmra with different values, pmra, pm_ra; choose one"):
        read_catalog(str(tmp_path / "file.csv"))
    assert read_catalog(str(tmp_path / "file.csv"), {"pmra": "pm_ra"})["pmra"].tolist() == [5.0]


def test_names_with_blanks_and_hyphens(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("Target Name,Right Ascension,Declination,PM RA,PM-Dec,Ref Epoch\n007,1,2,3,4,2016\n")
    found = read_catalog(str(path))
    assert found.colnames == ["name", "ra", "dec", "pmra", "pmdec", "ref_epoch"]
    assert list(found[0]) == ["007", 1.0, 2.0, 3.0, 4.0, 2016.0]


@pytest.mark.parametrize(
    ("names", "is_refused"),
    [
        ("mu_alpha,mu_delta", True),
        ("pmRA*,other", True),
        ("other,pm_Dec*", True),
        ("other,proper motion dec", True),
        ("ProperMotionRA,other", True),
        ("pmRA[mas/yr],other", True),
        ("RA_PM,other", True),
        ("other,pmDEdeg", True),
        ("muAlphaStar,other", True),
        ("pmRAcosD,other", True),
        ("muRA,muDec", True),
        ("pm,radius", False),
        ("mu_max,pmag", False),
        ("mu_radius,pm_remark", False),
        ("mu_delay,extra_pm", False),
    ],
)
def test_motions_with_unusual_names(tmp_path: Path, names: str, is_refused: bool) -> None:
    """Without its motion a star can be measured at a place where it is not."""
    path = tmp_path / "file.csv"
    path.write_text(f"name,ra,dec,{names}\nA,1,2,3,4\n")
    if is_refused:
        with pytest.raises(
            CatalogError, match="may be proper motions, .*: choose them with --pmra-column .*--no-motion"
        ):
            read_catalog(str(path))
        first, second = names.split(",")
        moving = read_catalog(str(path), {"pmra": first, "pmdec": second}, Motion(epoch=2016.0))
        assert [moving[name][0] for name in ("pmra", "pmdec")] == [3.0, 4.0]
    still = read_catalog(str(path), motion=Motion(is_used=False) if is_refused else None)
    assert still.colnames == ["name", "ra", "dec", *names.split(",")]


def test_motions_without_an_epoch(tmp_path: Path) -> None:
    table = vizier()
    table.remove_columns(["RAJ2000", "DEJ2000"])
    path = str(write(tmp_path / "file.vot", table))
    with pytest.raises(CatalogError, match=r"but not ref_epoch: .*--ref-epoch 2016.0.*--no-motion"):
        read_catalog(path)
    found = read_catalog(path, motion=Motion(epoch=2016.0))
    assert [found[name][0] for name in ("pmra", "pmdec", "ref_epoch")] == [*MOTION, 2016.0]
    still = read_catalog(path, motion=Motion(is_used=False))
    assert still.colnames == ["name", "ra", "dec", "pmRA", "pmDE"]


@pytest.mark.parametrize(
    ("epochs", "message"),
    [
        (["2016.0", "2016"], ""),
        (["", ""], ""),
        (["2016", ""], ""),
        (["2016", "2015.5"], "--ref-epoch 2016.0 contradicts column EPOCH, which has 2015.5 in row 2; leave out"),
        (["2000", "2000"], "--ref-epoch 2016.0 contradicts column EPOCH, which has 2000 in row 1; leave out"),
        (["", "J2016"], "--ref-epoch 2016.0 contradicts column EPOCH, which has J2016 in row 2; leave out"),
    ],
)
def test_epochs_of_option_and_column(tmp_path: Path, epochs: list[str], message: str) -> None:
    path = tmp_path / "file.csv"
    path.write_text("name,ra,dec,pmra,pmdec,EPOCH\n" + "".join(f"A{e},1,2,3,4,{e}\n" for e in epochs))
    if message:
        with pytest.raises(CatalogError, match=message):
            read_catalog(str(path), motion=Motion(epoch=2016.0))
    else:
        assert read_catalog(str(path), motion=Motion(epoch=2016.0))["ref_epoch"].tolist() == [2016.0, 2016.0]


def test_masked_epochs_go_with_the_option(tmp_path: Path) -> None:
    table = Table({"name": ["A"], "ra": [1.0], "dec": [2.0], "pmra": [3.0], "pmdec": [4.0]})
    table["epoch"] = MaskedColumn([2000.0], mask=[True])
    path = write(tmp_path / "file.ecsv", table)
    assert read_catalog(str(path), motion=Motion(epoch=2016.0))["ref_epoch"].tolist() == [2016.0]


def test_motions_that_are_not_used_are_other_columns(tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text("name,ra,dec,pmra,pmdec,ref_epoch\nA,1,2,3,4,2016\n")
    found = read_catalog(str(tmp_path / "file.csv"), motion=Motion(is_used=False))
    # Measurements would apply columns of the names pmra and pmdec.
    assert found.colnames == ["name", "ra", "dec", "pmra_1", "pmdec_1", "ref_epoch"]


@pytest.mark.parametrize("extension", [".ecsv", ".vot", ".fits", ".csv"])
def test_what_does_not_move_needs_no_epoch(tmp_path: Path, extension: str) -> None:
    table = Table({"name": ["a", "b"], "ra": [10.0, 11.0], "dec": [20.0, 21.0]})
    table["pmra"] = MaskedColumn([0.0, 5.0], mask=[False, True])
    table["pmdec"] = MaskedColumn([0.0, 5.0], mask=[False, True])
    found = read_catalog(str(write(tmp_path / f"file{extension}", table)))
    assert check_catalog(found) == []
    table["ref_epoch"] = MaskedColumn([2016.0, 2016.0], mask=[True, True])
    found = read_catalog(str(write(tmp_path / f"other{extension}", table)))
    assert check_catalog(found) == []
    table["pmra"] = [1.0, 1.0]
    table["pmdec"] = [1.0, 1.0]
    problems = check_catalog(read_catalog(str(write(tmp_path / f"moving{extension}", table))))
    assert [problem.row for problem in problems] == [1, 2]
    assert "has the epoch nan, which is not a Julian year" in str(problems[0])


@pytest.mark.parametrize(
    ("chosen", "motion", "message"),
    [
        ({"pmra": "x"}, Motion(is_used=False), "--no-motion contradicts --pmra-column"),
        ({}, Motion(is_used=False, epoch=2016.0), "--no-motion contradicts --ref-epoch"),
        ({"ref_epoch": "x"}, Motion(epoch=2016.0), "--ref-epoch contradicts --ref-epoch-column"),
        ({}, Motion(epoch=2016.0), "has --ref-epoch, but not pmra and pmdec"),
    ],
)
def test_contradictory_choices(tmp_path: Path, chosen: dict[str, str], motion: Motion, message: str) -> None:
    (tmp_path / "file.csv").write_text("name,ra,dec,x\nA,1,2,3\n")
    with pytest.raises(CatalogError, match=message):
        read_catalog(str(tmp_path / "file.csv"), chosen, motion)


def test_motions_in_other_units_are_found_by_their_size(tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text("name,ra,dec,pmra,pmdec,ref_epoch\nC/2025 N1,150,2,3.6e6,-1.2e6,2025.6\n")
    (problem,) = check_catalog(read_catalog(str(tmp_path / "file.csv")))
    assert "is more than any star's: are the units right?" in str(problem)


def test_names_that_look_the_same_are_found() -> None:
    names = ["b Per", "Müller", "B Per", "other", "Mu\u0308ller", "β Pic", "other 2"]
    assert similar_names(Table({"name": names})) == ["b Per, B Per", "Müller, Mu\u0308ller"]


def test_targets_at_one_place_are_found() -> None:
    table = Table(
        {"name": list("abcde"), "ra": [10.0, 10.0, 0.0, 90.0, 10.0], "dec": [20.0, 20.0, 90.0, 90.0, 20.00001]}
    )
    assert coincident_names(table) == ["a", "b", "c", "d"]
    table["pmra"], table["pmdec"], table["ref_epoch"] = [0.0, 50.0, np.nan, 0.0, 0.0], 0.0, 2016.0
    assert coincident_names(table) == ["c", "d"]


@pytest.mark.parametrize("read", [read_catalog, read_list])
def test_fits_tables_are_not_mapped(tmp_path: Path, read: Callable[[str], Any]) -> None:
    path = write(tmp_path / "file.fits", Table({"name": ["A"], "ra": [10.0], "dec": [20.0], "uri": ["a.fits"]}))
    mapped: list[int] = []
    is_watched = True
    sys.addaudithook(
        lambda event, arguments: mapped.append(arguments[0]) if is_watched and event == "mmap.__new__" else None
    )
    read(str(path))
    is_watched = False
    # The process ends if another one truncates a mapped file. -1 is memory without a file.
    assert set(mapped) <= {-1}
