"""VOTables from other sites: faults of services, and files that want more than to be read.

Promise 2 of doc/safe_formats.md.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from astropy.table import Table

from spherex.errors import CatalogError, ProductError
from spherex.ingest import IngestReport
from spherex.ingest.locations import find_files
from spherex.targets import read_catalog
from spherex.votables import incompleteness, open_votable

from .servers import QuietHandler, serving

FIELDS = """<FIELD name="name" datatype="char" arraysize="*"/><FIELD name="access_url" datatype="char" arraysize="*"/>
<FIELD name="ra" datatype="double" unit="deg"/><FIELD name="dec" datatype="double" unit="deg"/>"""
ROWS = "<TABLEDATA><TR><TD>a</TD><TD>{uri}</TD><TD>1</TD><TD>2</TD></TR></TABLEDATA>"


def votable(data: str = ROWS, fields: str = FIELDS, before: str = "", after: str = "", declaration: str = "") -> str:
    return (
        f'<?xml version="1.0"?>{declaration}<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
        f'<RESOURCE type="results">{before}<TABLE>{fields}<DATA>{data}</DATA></TABLE>{after}</RESOURCE></VOTABLE>'
    )


@pytest.fixture
def requests() -> Iterator[tuple[str, list[str]]]:
    """Serve the URI of a server, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

    with serving(Handler) as uri:
        yield uri, asked


@pytest.mark.parametrize("form", ["BINARY", "BINARY2", "FITS", "PARQUET"])
@pytest.mark.parametrize("prefix", ["", "v:"])
def test_rows_elsewhere_are_refused_and_nothing_is_asked(
    tmp_path: Path, requests: tuple[str, list[str]], form: str, prefix: str
) -> None:
    server, asked = requests
    content = votable(f'<{form}><STREAM href="{server}/rows" encoding="gzip"/></{form}>')
    if prefix:
        content = re.sub("<(/?)(?=[A-Z])", rf"<\1{prefix}", content).replace("xmlns=", "xmlns:v=")
    path = tmp_path / "a.vot"
    path.write_text(content)
    with pytest.raises(CatalogError, match="its rows are in another file, which is not read"):
        read_catalog(str(path))
    report = IngestReport()
    assert list(find_files([str(path)], re.compile("."), report)) == []
    assert "its rows are in another file, which is not read" in report.failures[0][1]
    assert asked == []


def test_rows_in_a_local_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    path = tmp_path / "a.vot"
    path.write_text(votable(f'<BINARY><STREAM href="file://{tmp_path}/secret"/></BINARY>'))
    with pytest.raises(ProductError, match="STREAM with href"):
        open_votable(str(path))


@pytest.mark.parametrize(
    "declared",
    [
        '<!ENTITY a "aaaa">' + "".join(f'<!ENTITY {y} "&{x};&{x};">' for x, y in zip("abcde", "bcdef", strict=True)),
        '<!ENTITY f SYSTEM "file:///etc/passwd">',
        '<!ENTITY % f SYSTEM "file:///etc/passwd">',
    ],
)
def test_entities_are_refused(tmp_path: Path, declared: str) -> None:
    path = tmp_path / "a.vot"
    path.write_text(votable(ROWS.format(uri="&f;"), declaration=f"<!DOCTYPE VOTABLE [{declared}]>"))
    with pytest.raises(ProductError, match="it declares XML entities"):
        open_votable(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<html><body>502 Bad Gateway</body></html>", "it is not a VOTable, but XML with <html>"),
        ("<html><body>502<br></body></html>", "it is not a VOTable"),
        ("name,ra,dec\n", "it is not a VOTable (syntax error"),
        ("", "it is not a VOTable (no element found"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.vot").write_text(content)
    with pytest.raises(ProductError, match=re.escape(message)):
        open_votable(str(tmp_path / "a.vot"))


@pytest.mark.parametrize(
    "declaration", ["", '<!DOCTYPE VOTABLE SYSTEM "http://us-vo.org/xml/VOTable.dtd">'], ids=["plain", "dtd"]
)
def test_rows_in_the_file_are_read(tmp_path: Path, declaration: str) -> None:
    content = votable(ROWS.format(uri="x"), declaration=declaration).encode()
    for name, stored in {"a.vot": content, "b.vot": gzip.compress(content)}.items():
        (tmp_path / name).write_bytes(stored)
        table = Table.read(open_votable(str(tmp_path / name)), format="votable")
        assert table["name"].tolist() == ["a"]
        assert read_catalog(str(tmp_path / name))["ra"].tolist() == [1.0]


@pytest.mark.parametrize("size", ["54x*", "3x54x*", "*"])
def test_array_of_texts(tmp_path: Path, size: str) -> None:
    fields = f'<FIELD name="name" arraysize="{size}" datatype="char"/>'
    (tmp_path / "a.vot").write_text(votable("<TABLEDATA><TR><TD>a</TD></TR></TABLEDATA>", fields))
    assert open_votable(str(tmp_path / "a.vot")).get_first_table().to_table()["name"].tolist() == ["a"]


STATUS = '<INFO name="QUERY_STATUS" value="{}">{}</INFO>'


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("", "", ""),
        (STATUS.format("OK", ""), "", ""),
        (STATUS.format("OK", ""), STATUS.format("OVERFLOW", ""), "OVERFLOW"),
        (STATUS.format("OK", ""), STATUS.format("ERROR", "Query\n timed out"), "ERROR: Query timed out"),
        (STATUS.format("overflow", ""), "", "OVERFLOW"),
    ],
)
def test_incomplete_answers(tmp_path: Path, before: str, after: str, reason: str) -> None:
    (tmp_path / "a.vot").write_text(votable(ROWS.format(uri="x"), before=before, after=after))
    assert incompleteness(open_votable(str(tmp_path / "a.vot"))) == reason


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (ROWS.format(uri="x"), ": it is incomplete: the service that made it reports OVERFLOW; repeat the query"),
        ("<TABLEDATA/>", " cannot be read as VOTable: it is incomplete: the service that made it reports OVERFLOW"),
    ],
)
def test_incomplete_catalogues(tmp_path: Path, data: str, message: str) -> None:
    path = tmp_path / "a.vot"
    path.write_text(votable(data, after=STATUS.format("OVERFLOW", "")))
    with pytest.raises(CatalogError, match=re.escape(f"{path}{message}")):
        read_catalog(str(path))
    faults: list[str] = []
    if "<TR>" in data:
        assert read_catalog(str(path), faults=faults)["name"].tolist() == ["a"]
        assert len(faults) == 1
