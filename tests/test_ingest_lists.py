from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from astropy.table import Table

from spherex.ingest import IngestReport
from spherex.ingest.locations import find_files, is_list, read_list

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
    return [item.uri for item in read_list(str(path))]


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
        ("a.parquet", write_parquet, "url", [URL, None], "row 2 of 2 has no URI"),
        ("a.xml", write_votable, "url", [URL, ""], "row 2 of 2 has no URI"),
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
        ("dir", False),
    ],
)
def test_extension_decides(location: str, expected: bool) -> None:
    assert is_list(location) is expected


def test_directory_of_such_a_name_is_searched(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    assert not is_list(str(tmp_path / "a.txt"))
