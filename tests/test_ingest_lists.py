from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from spherex.fits import write_product
from spherex.ingest import IngestReport
from spherex.ingest.lists import DiskList
from spherex.ingest.locations import find_files, is_list, read_list
from spherex.search.table import FORMATS, write_table

CLOUD = '{"aws": {"bucket_name": "nasa-irsa-spherex", "key": "qr2/level2/a b.fits", "region": "us-east-1"}}'
URL = "https://irsa.ipac.caltech.edu/ibe/data/spherex/qr2/level2/a.fits?center=10,20&size=0.1"


def write_text(path: Path, column: str, values: Sequence[Any]) -> None:
    path.write_text("# found today\n\n" + "".join(f"  {value}\n" for value in values))


def write_parquet(path: Path, column: str, values: Sequence[Any]) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"number": list(range(len(values))), column: list(values)}), path)


def write_votable(path: Path, column: str, values: Sequence[Any]) -> None:
    Table({"number": list(range(len(values))), column: list(values)}).write(path, format="votable")


def uris_of(path: Path) -> list[str]:
    """Return the URIs of a list."""
    return [item.uri for item in read_list(str(path))[0]]


KINDS = [("a.txt", write_text), ("a.lst", write_text), ("a.parquet", write_parquet), ("a.xml", write_votable)]


@pytest.mark.parametrize(("name", "write"), KINDS, ids=[name for name, _ in KINDS])
def test_list_of_each_kind(tmp_path: Path, name: str, write: Callable[..., None]) -> None:
    write(tmp_path / name, "access_url", [URL, "s3://bucket/b.fits", "/abs/c.fits", "below/d.fits"])
    expected = [URL, "s3://bucket/b.fits", "/abs/c.fits", str(tmp_path / "below/d.fits")]
    assert uris_of(tmp_path / name) == expected


@pytest.mark.parametrize(("write", "name"), [(write_parquet, "a.parquet"), (write_votable, "a.vot")])
@pytest.mark.parametrize("column", ["uri", "URL", "cloud_access"])
def test_columns(tmp_path: Path, write: Callable[..., None], name: str, column: str) -> None:
    values, expected = [URL], [URL]
    if column == "cloud_access":
        values, expected = [CLOUD], ["s3://nasa-irsa-spherex/qr2/level2/a%20b.fits"]
    write(tmp_path / name, column, values)
    assert uris_of(tmp_path / name) == expected


def test_first_known_column_counts(tmp_path: Path) -> None:
    table = pyarrow.table({"cloud_access": [CLOUD], "access_url": [URL]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert uris_of(tmp_path / "a.parquet") == [URL]


@pytest.mark.parametrize(
    ("name", "write", "column", "values", "message"),
    [
        ("a.txt", write_text, "", [], "it contains no URI"),
        ("a.parquet", write_parquet, "place", [URL], r"none of its columns \(number, place\) is one of address, uri"),
        (
            "a.csv",
            write_text,
            "",
            ["number,place", *["1,a"] * 2500],
            r"columns \(number, place\) is one of address, uri",
        ),
        ("a.xml", write_text, "", [URL], ""),
        ("a.parquet", write_text, "", [URL], ""),
    ],
)
def test_bad_list(
    tmp_path: Path, name: str, write: Callable[..., None], column: str, values: list[Any], message: str
) -> None:
    write(tmp_path / name, column, values)
    report = IngestReport()
    assert list(find_files([str(tmp_path / name)], re.compile("."), report)) == []
    ((address, reason),) = report.failures
    assert address == str(tmp_path / name)
    assert re.search(rf"it is not a list of URIs \(.*{message}", reason)


def test_missing_list(tmp_path: Path) -> None:
    report = IngestReport()
    assert list(find_files([str(tmp_path / "a.txt")], re.compile("."), report)) == []
    assert report.failures == [(str(tmp_path / "a.txt"), "there is no such file; check its name")]


@pytest.mark.parametrize(
    ("name", "write", "place"), [("a.txt", write_text, "line 4"), ("a.parquet", write_parquet, "row 2")]
)
def test_what_is_no_address_is_told_with_its_place(
    tmp_path: Path, name: str, write: Callable[..., None], place: str
) -> None:
    (tmp_path / "a.fits").touch()
    write(tmp_path / name, "address", ["a.fits", "hello"])
    report = IngestReport()
    assert list(find_files([str(tmp_path / name)], re.compile("."), report)) == [str(tmp_path / "a.fits")]
    ((address, reason),) = report.failures
    assert address == str(tmp_path / "hello")
    assert reason == f"there is no such file or directory; check its name (it is {place} of {tmp_path / name})"


def test_addresses_are_searched_like_locations(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("data/a.fits", "data/b.fits", "c.fits", "d.png"):
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text("data\nc.fits\nc.fits\nd.png\nnone.fits\n")
    report = IngestReport()
    found = sorted(find_files([str(tmp_path / "list.txt")], re.compile(r"\.fits$"), report))
    assert found == [str(tmp_path / name) for name in ("c.fits", "data/a.fits", "data/b.fits")]
    assert [Path(address).name for address, _ in report.failures] == ["d.png", "none.fits"]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("a.txt", True),
        ("A.PARQUET", True),
        ("s3://bucket/list.vot", True),
        ("https://host/list.xml?query=1", True),
        ("a.fits", False),
        ("https://host/a.fits", False),
        ("a.csv", True),
        ("download.sh", True),
        ("dir", False),
    ],
)
def test_extension_decides(location: str, expected: bool) -> None:
    assert is_list(location) is expected


def test_directory_of_such_a_name_is_searched(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    assert not is_list(str(tmp_path / "a.txt"))


def row_of(uri: str, **columns: Any) -> Table:
    """Return a table as services write it: several columns with places of one file."""
    return Table({"obs_id": ["a"], "access_url": [uri], "cloud_access": [CLOUD]} | columns)


def printed(path: Path, uri: str) -> None:
    """Write a table as find-images does with --output .txt."""
    candidates = Table({"exposure": [1, 20], "xy_error": [0.0, 0.0], "address": [uri, uri], "run": ["r", "r"]})
    candidates["exposure"].unit = "um"
    write_table(candidates, path)


def votable_of(uri: str, table: str = "", before: str = "", after: str = "") -> str:
    fields = (
        '<FIELD name="access_url" datatype="char" arraysize="*"/><FIELD name="did" datatype="char" arraysize="54x*"/>'
    )
    rows = f"<DATA><TABLEDATA><TR><TD>{uri}</TD><TD>ivo://a/b</TD></TR></TABLEDATA></DATA>"
    return (
        '<?xml version="1.0"?><VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
        f'{table}<RESOURCE type="results">{before}<TABLE>{fields}{rows}</TABLE>{after}</RESOURCE></VOTABLE>'
    )


OTHER_TABLE = (
    '<RESOURCE type="meta"><TABLE><FIELD name="x" datatype="int"/><DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA>'
    "</DATA></TABLE></RESOURCE>"
)
STATUS = '<INFO name="QUERY_STATUS" value="{}">{}</INFO>'
MASKED = {"access_url": MaskedColumn(["", ""], mask=[True, True])}

FORMS: dict[str, Callable[[Path, str], object]] = {
    "table.csv": lambda path, uri: row_of(uri).write(path),
    "table.ecsv": lambda path, uri: row_of(uri).write(path),
    "ecsv.csv": lambda path, uri: row_of(uri).write(path, format="ascii.ecsv"),
    "table.tbl": lambda path, uri: row_of(uri).write(path, format="ascii.ipac"),
    "table.fits": lambda path, uri: row_of(uri).write(path),
    "table.vot": lambda path, uri: row_of(uri).write(path, format="votable"),
    "table.parquet": lambda path, uri: row_of(uri).write(path),
    "semicolon.csv": lambda path, uri: path.write_text(f"obs_id;access_url\na;{uri}\n"),
    "tabs.tsv": lambda path, uri: path.write_text(f"obs_id\taccess_url\na\t{uri}\n"),
    "one.csv": lambda path, uri: path.write_text(f'access_url\n"{uri}"\n'),
    "bom.csv": lambda path, uri: path.write_text(f'access_url,b\r\n"{uri}",2\r\n', encoding="utf-8-sig"),
    "excel.txt": lambda path, uri: path.write_text(f"{uri}\r\n", encoding="utf-16"),
    "upper.vot": lambda path, uri: Table({"ACCESS_URL": [uri]}).write(path, format="votable"),
    "mixed.fits": lambda path, uri: Table({"S3_Uri": [uri]}).write(path),
    "other.vot": lambda path, uri: Table(MASKED | {"Uri": [uri, uri]}).write(path, format="votable"),
    "other.parquet": lambda path, uri: Table(MASKED | {"uri": [uri, uri]}).write(path),
    "odd.vot": lambda path, uri: path.write_text(votable_of(uri)),
    "two.vot": lambda path, uri: path.write_text(votable_of(uri, OTHER_TABLE)),
    "blank.txt": lambda path, uri: path.write_text(f"# list\n\n  {uri}  \n"),
    "bom.txt": lambda path, uri: path.write_text(f"{uri}\n", encoding="utf-8-sig"),
    "crlf.txt": lambda path, uri: path.write_bytes(f"{uri}\r\n{uri}\r\n".encode()),
    "quoted.txt": lambda path, uri: path.write_text(f'"{uri}"\n'),
    "latin.txt": lambda path, uri: path.write_bytes(b"# liste cr\xe9\xe9e\n" + uri.encode() + b"\n"),
    "s5cmd.txt": lambda path, uri: path.write_text(f"2025/10/21 18:31:07          71637120  {uri}\n"),
    "wget.txt": lambda path, uri: path.write_text(f"wget --content-disposition '{Path(uri).as_uri()}'\n"),
    "wget.sh": lambda path, uri: path.write_text(f"#!/bin/sh\nset -e\nwget '{Path(uri).as_uri()}'\n"),
    "found.txt": printed,
}
"""Lists that lead to one file, by their names."""


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("below", ["a.fits", "with blank, comma/a.fits"])
def test_forms_of_lists(tmp_path: Path, name: str, below: str) -> None:
    file = tmp_path / below
    file.parent.mkdir(exist_ok=True)
    file.touch()
    if "blank" in below and name == "found.txt":
        pytest.skip("URIs have no blanks")
    FORMS[name](tmp_path / name, str(file))
    report = IngestReport()
    assert is_list(str(tmp_path / name))
    assert list(find_files([str(tmp_path / name)], re.compile("."), report)) == [str(file)]
    assert report.failures == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_tables_of_find_images_are_lists(tmp_path: Path, suffix: str) -> None:
    # As find-images makes them, with numbers in front of the URIs.
    table = Table({"x": [1.5, 2.0], "xy_error": [0.0, 10.0], "address": [URL, "s3://b/c.fits"], "run": ["r", "r/s"]})
    table["x"].unit = "pix"
    write_table(table, tmp_path / f"found{suffix}")
    assert uris_of(tmp_path / f"found{suffix}") == [URL, "s3://b/c.fits"]


def test_printed_table_without_units(tmp_path: Path) -> None:
    write_table(Table({"name": ["a", "b"], "address": [URL, "s3://b/c.fits"]}), tmp_path / "found.txt")
    assert (tmp_path / "found.txt").read_text().splitlines()[1] == ""
    assert uris_of(tmp_path / "found.txt") == [URL, "s3://b/c.fits"]


@pytest.mark.parametrize(
    ("value", "uri"),
    [
        (CLOUD, "s3://nasa-irsa-spherex/qr2/level2/a%20b.fits"),
        ('{"s3": "s3://nasa-irsa-spherex/a.fits"}', "s3://nasa-irsa-spherex/a.fits"),
        ('[{"aws": {"bucket": "b", "key": "/k.fits"}}]', "s3://b/k.fits"),
    ],
)
def test_places_in_the_cloud(tmp_path: Path, value: str, uri: str) -> None:
    Table({"Cloud_Access": [value]}).write(tmp_path / "a.vot", format="votable")
    assert uris_of(tmp_path / "a.vot") == [uri]


def test_relative_uris_of_the_archive(tmp_path: Path) -> None:
    uri = "ibe/data/spherex/qr2/level2/2025W43_1A/l2b-v20-2025-299/5/a.fits"
    Table({"uri": [uri]}).write(tmp_path / "a.vot", format="votable")
    assert uris_of(tmp_path / "a.vot") == [f"https://irsa.ipac.caltech.edu/{uri}"]
    # A copy of the tree beside the list is taken.
    (tmp_path / uri).parent.mkdir(parents=True)
    (tmp_path / uri).touch()
    assert uris_of(tmp_path / "a.vot") == [str(tmp_path / uri)]


@pytest.mark.parametrize("write", [write_parquet, write_votable])
@pytest.mark.parametrize("empty", ["", "{}", '{"aws": 1', None])
def test_rows_without_a_uri_are_reported(tmp_path: Path, write: Callable[..., None], empty: str | None) -> None:
    (tmp_path / "a.fits").touch()
    name = "a.parquet" if write is write_parquet else "a.vot"
    write(tmp_path / name, "cloud_access", [empty or "", "a.fits", *[empty or ""] * 6])
    report = IngestReport()
    assert list(find_files([str(tmp_path / name)], re.compile("."), report)) == [str(tmp_path / "a.fits")]
    assert report.failures == [
        (
            str(tmp_path / name),
            "row 1, row 3, row 4, row 5, row 6 and 2 more of 8 without a URI; complete or remove them",
        )
    ]


@pytest.mark.parametrize(
    ("content", "found", "reason"),
    [
        (votable_of("a.fits", after=STATUS.format("OVERFLOW", "")), ["a.fits"], "OVERFLOW"),
        (votable_of("a.fits", after=STATUS.format("ERROR", "too slow")), ["a.fits"], "ERROR: too slow"),
        (
            f'<VOTABLE><RESOURCE type="results">{STATUS.format("ERROR", "Query timed out")}</RESOURCE></VOTABLE>',
            [],
            "ERROR: Query timed out",
        ),
    ],
)
def test_answers_of_services_that_are_incomplete(tmp_path: Path, content: str, found: list[str], reason: str) -> None:
    (tmp_path / "a.fits").touch()
    (tmp_path / "a.vot").write_text(content)
    report = IngestReport()
    assert list(find_files([str(tmp_path / "a.vot")], re.compile("."), report)) == [str(tmp_path / n) for n in found]
    ((_, message),) = report.failures
    assert message.startswith(f"it is incomplete: the service that made it reports {reason}; repeat the query")


COMMANDS = """#!/bin/sh
# wget https://a/no.fits
cd data
/usr/bin/curl -O https://a/1.fits
sudo wget "https://a/2.fits?center=1,2&size=0.1"
wget https://a/3.fits && wget 's3://a/4 b.fits'; wget https://a/5.fits; wget https://a/6.fits&&true
aria2c https://a/7.fits?a=1\\&b=2 # M31's, not https://a/no.fits
curl --url="https://a/8.fits" \\
  -o 8.fits https://a/9.fits &
"""


def test_commands_of_scripts(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text(COMMANDS)
    names = ["1.fits", "2.fits?center=1,2&size=0.1", "3.fits", "4 b.fits", *(f"{n}.fits" for n in (5, 6))]
    expected = [f"https://a/{name}" for name in [*names, "7.fits?a=1&b=2", "8.fits", "9.fits"]]
    assert uris_of(tmp_path / "a.sh") == [uri.replace("https://a/4 b", "s3://a/4 b") for uri in expected]


def test_lines_with_comments(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("curl -O https://a/1.fits # M31's\nhttps://a/2.fits # it's\n" + f"{URL}\n")
    assert uris_of(tmp_path / "a.txt") == ["https://a/1.fits", "https://a/2.fits", URL]


@pytest.mark.parametrize(
    ("content", "found", "faults"),
    [
        (f'uri\n{URL}\n"{URL}"\ns3://b/c.fits\n', [URL, URL, "s3://b/c.fits"], []),
        (f'uri,b\n{URL},1\n"{URL}",1\ns3://b/c.fits\n', [URL, "s3://b/c.fits"], ["row 1 of 3 without"]),
        (f'b,uri\n"open,{URL}\n1,s3://b/c.fits\n', ["s3://b/c.fits"], ["row 1 of 2 without"]),
    ],
)
def test_odd_rows_of_a_csv(tmp_path: Path, content: str, found: list[str], faults: list[str]) -> None:
    (tmp_path / "a.csv").write_text(content)
    items, reported = read_list(str(tmp_path / "a.csv"))
    assert [item.uri for item in items] == found
    assert [fault[: len(start)] for fault, start in zip(reported, faults, strict=True)] == faults


def test_images_are_not_lists(tmp_path: Path, image: Any) -> None:
    write_product(image, tmp_path / "image.fits")
    compressed = fits.CompImageHDU(np.zeros((10, 10)))
    fits.HDUList([fits.PrimaryHDU(), compressed]).writeto(tmp_path / "compressed.fits")
    Table({"path": ["a"], "x": [1.0]}).write(tmp_path / "calibration.fits")
    for name in ("image.fits", "compressed.fits", "calibration.fits", "none.fits"):
        assert not is_list(str(tmp_path / name))
    assert is_list(str(tmp_path / "a.csv"))


def test_commas_do_not_separate_locations(tmp_path: Path) -> None:
    report = IngestReport()
    assert list(find_files(["a.fits,b.fits"], re.compile("."), report)) == []
    assert "separate LOCATIONS by blanks, not by commas" in report.failures[0][1]


def write_csv(path: Path, column: str, values: Sequence[Any]) -> None:
    path.write_text("number,address\n" + "".join(f"{number},{value}\n" for number, value in enumerate(values)))


@pytest.mark.parametrize(
    ("name", "write", "place"),
    [("a.txt", write_text, "line 60002"), ("a.csv", write_csv, "row 60000"), ("a.parquet", write_parquet, "row 60000")],
)
def test_long_lists_are_not_in_memory(tmp_path: Path, name: str, write: Callable[..., None], place: str) -> None:
    values = [f"s3://bucket/qr2/level2/{number:0100d}.fits" for number in range(60_000)]
    write(tmp_path / name, "address", values)
    # What is imported on first use is not to count.
    write(tmp_path / f"short_{name}", "address", values[:1])
    uris_of(tmp_path / f"short_{name}")
    tracemalloc.start()
    try:
        items, faults = read_list(str(tmp_path / name))
        assert sum(len(item.uri) for item in items) == sum(map(len, values))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The URIs alone are 10 MB.
    assert peak < 5e6
    assert [item.uri for item in items] == values
    assert [item.place for item in items][-1] == place
    assert (len(items), faults) == (60_000, [])


def test_lists_on_disk_have_several_iterators() -> None:
    numbers: DiskList[int] = DiskList()
    numbers.extend(range(2_500))
    assert len(numbers) == 2_500
    assert all(a == b - 1_200 for a, b in zip(numbers, [*numbers][1_200:], strict=False))
    pairs = zip(numbers, numbers, strict=True)
    assert all(a == b for a, b in pairs)
    numbers.append(2_500)
    assert [*numbers] == [*range(2_501)]


def test_lines_end_in_many_ways(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"/a.fits\r/b.fits\r\n\x0c/c.fits\n")
    assert [(item.place, item.uri) for item in read_list(str(tmp_path / "a.txt"))[0]] == [
        ("line 1", "/a.fits"),
        ("line 2", "/b.fits"),
        ("line 4", "/c.fits"),
    ]
