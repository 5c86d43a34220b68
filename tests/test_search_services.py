"""Search in the archive: queries, answers in parts, versions, and services that fail."""

from __future__ import annotations

import math
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates.name_resolve import sesame_url
from astropy.table import Table

from spherex.archive import cloud_uri, mirror_uri
from spherex.errors import SearchError
from spherex.search import ARCHIVE_COLLECTIONS, ArchiveService, position_of_name
from spherex.search.services import adql
from spherex.spectra import catalog_of

from .archive_server import Archive, Entry, error, serving_archive

pytest.importorskip("pyvo")

# From a genuine answer for M31, of 2026-09-28.
GENUINE = (
    "qr2/level2/2025W51_1A/l2b-v21-2025-354/3/level2_2025W51_1A_0684_2D3_spx_l2b-v21-2025-354.fits",
    "qr2/level2/2025W51_2A/l2b-v21-2025-357/6/level2_2025W51_2A_0258_2D6_spx_l2b-v21-2025-357.fits",
    "qr3/level2/2026W30_1B/l2b-v27-2026-222/6/level2_2026W30_1B_0051_1D6_spx_l2b-v27-2026-222.fits",
)
M31 = (10.684708, 41.26875)
BEGINS = (61027.214984, 61028.776824, 61241.252765)


def entries_of(number: int) -> list[Entry]:
    """Return images of M31, one after another."""
    names = [f"2025W51_1A_{n // 4:04d}_{n % 4 + 1}D3" for n in range(number)]
    paths = [f"qr2/level2/2025W51_1A/l2b-v21-2025-354/3/level2_{n}_spx_l2b-v21-2025-354.fits" for n in names]
    return [Entry(path, *M31, 61000.0 + 0.4 * n) for n, path in enumerate(paths)]


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    collections = ("spherex_qr2", "spherex_qr2_deep", "spherex_qr3")
    entries = [
        Entry(path, *M31, begin, collection)
        for path, begin, collection in zip(GENUINE, BEGINS, collections, strict=True)
    ]
    with serving_archive(Archive(tmp_path, [*entries, Entry(entries_of(1)[0].path, 200.0, 10.0, 61000.0)])) as archive:
        yield archive


def sia(archive: Archive, **choices: object) -> ArchiveService:
    return ArchiveService(f"{archive.uri}/SIA", **choices)


def tap(archive: Archive) -> ArchiveService:
    return ArchiveService(f"{archive.uri}/TAP")


def targets(number: int = 1) -> Table:
    return Table({"name": ["a"] * number, "ra": np.full(number, M31[0]), "dec": np.full(number, M31[1])})


def test_images_at_a_position_of_all_releases(archive: Archive) -> None:
    answer = sia(archive).images_at(M31[0] - 360.0, M31[1], 0.001)
    assert (answer.faults, answer.older) == ([], 0)
    assert [image.uri for image in answer.images] == [f"{archive.uri}/ibe/data/spherex/{path}" for path in GENUINE]
    assert [image.cloud_uri for image in answer.images] == [f"s3://spherex/{path}" for path in GENUINE]
    assert [image.begin for image in answer.images] == list(BEGINS)
    assert [image.collection for image in answer.images] == ["spherex_qr2", "spherex_qr2_deep", "spherex_qr3"]
    assert [str(image.name) for image in answer.images] == [path.rpartition("/")[2] for path in GENUINE]
    asked = [(request["COLLECTION"], request["POS"][0].split()) for request in archive.requests]
    assert [names for names, _ in asked] == [[name] for name in ARCHIVE_COLLECTIONS]
    assert np.allclose([float(word) for word in asked[0][1][1:]], [*M31, 0.001])


def test_collections_are_chosen(archive: Archive) -> None:
    (image,) = sia(archive, collections=["spherex_qr3"]).images_at(*M31, 0.001).images
    assert image.collection == "spherex_qr3"
    with pytest.raises(SearchError, match=r"\"q'r2\" is not a name of a collection"):
        ArchiveService(archive.uri, collections=["q'r2"])


@pytest.mark.parametrize(("radius", "number"), [(0.001, 0), (1.0, 3)])
def test_the_circle_is_passed_on(archive: Archive, radius: float, number: int) -> None:
    assert len(sia(archive).images_at(M31[0], M31[1] + 2.0, radius).images) == number
    shifted = Table({"ra": [M31[0]], "dec": [M31[1] + 2.0]})
    assert len(tap(archive).images_of(shifted, radius).images) == number


def test_images_of_a_catalogue(archive: Archive) -> None:
    answer = tap(archive).images_of(Table({"ra": [M31[0], 200.0], "dec": [M31[1], 10.0]}))
    assert [image.begin for image in answer.images] == [61000.0, *BEGINS]
    assert answer.images[-1].uri == f"{archive.uri}/ibe/data/spherex/{GENUINE[2]}"
    assert len(archive.requests) == 1
    assert archive.requests[0]["QUERY"] == adql(ARCHIVE_COLLECTIONS, 0.0, None)


def test_large_catalogues_are_asked_in_parts(archive: Archive) -> None:
    assert len(tap(archive).images_of(targets(2100)).images) == 3
    assert len(archive.requests) == 3


def test_one_geometric_condition_in_a_query() -> None:
    # The service allows no more.
    for radius in (0.0, 0.5):
        query = adql(["spherex_qr2"], radius, (61000.0, 61000.5))
        assert query.count("CONTAINS") + query.count("INTERSECTS") == 1
        assert "time_bounds_lower >= 61000.0" in query
        assert "time_bounds_lower <= 61000.5" in query


@pytest.mark.parametrize("kind", ["sia", "tap"])
def test_answers_that_are_cut_off_are_fetched_in_parts(archive: Archive, kind: str) -> None:
    archive.entries, archive.limit = entries_of(80), 30
    answer = sia(archive).images_at(*M31, 0.001) if kind == "sia" else tap(archive).images_of(targets())
    assert answer.faults == []
    assert {image.uri.rpartition("/")[2] for image in answer.images} == {
        entry.path.rpartition("/")[2] for entry in archive.entries
    }
    assert [image.begin for image in answer.images] == sorted(image.begin for image in answer.images)
    assert 4 < len(archive.requests) < 30


@pytest.mark.parametrize("reason", ["service without time", "image without time", "all at once"])
@pytest.mark.parametrize("kind", ["sia", "tap"])
def test_answers_that_stay_cut_off_are_incomplete(archive: Archive, reason: str, kind: str) -> None:
    archive.entries, archive.limit = entries_of(40), 5
    archive.heeds_time = reason != "service without time"
    if reason == "image without time":
        archive.entries[3].begin = None
    elif reason == "all at once":
        for entry in archive.entries:
            entry.begin = 61000.0
    one = sia(archive, collections=["spherex_qr2"])
    answer = one.images_at(*M31, 0.001) if kind == "sia" else tap(archive).images_of(targets())
    assert 5 <= len(answer.images) < 40
    (fault,) = answer.faults
    assert f" for {'spherex_qr2' if kind == 'sia' else 'targets 1 to 1'} is" in fault
    assert fault.endswith("is incomplete: the service reports OVERFLOW")
    assert len(archive.requests) < 60


def test_number_of_queries_is_limited(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spherex.search.services._MOST_QUERIES", 10)
    archive.entries, archive.limit = entries_of(80), 5
    answer = sia(archive, collections=["spherex_qr2"]).images_at(*M31, 0.001)
    assert len(answer.faults) == 1
    assert len(archive.requests) <= 10


def test_newest_version_of_each_image(archive: Archive) -> None:
    names = [
        f"l2b{run}/3/level2_2025W51_1A_0684_2D3_spx_l2b{run}.fits" for run in ("-v9-2025-360", "_retry-v21-2025-361")
    ]
    older = [f"qr2/level2/2025W51_1A/{name}" for name in names]
    again = GENUINE[0].replace("qr2", "qr3", 1).replace("v21-2025-354", "v27-2026-222")
    archive.entries += [Entry(path, *M31, BEGINS[0], bucket="") for path in older]
    archive.entries += [Entry(GENUINE[0], *M31, BEGINS[0], "spherex_qr2_deep")]
    answer = sia(archive).images_at(*M31, 0.001)
    assert answer.images[0].uri.endswith(older[1])
    assert answer.images[0].cloud_uri == ""
    assert (len(answer.images), answer.older) == (3, 2)
    archive.entries += [Entry(again, *M31, BEGINS[0], "spherex_qr3")]
    answer = sia(archive).images_at(*M31, 0.001)
    assert answer.images[0].uri.endswith(again)
    assert (len(answer.images), answer.older) == (3, 3)


@pytest.mark.parametrize("uri", ["file:///tmp/{}", "/tmp/{}", "", "https://host/preview.jpg"])
def test_rows_without_a_usable_uri_are_reported(archive: Archive, uri: str) -> None:
    archive.entries.append(Entry("a", *M31, 61000.0, uri=uri.format(GENUINE[0].rpartition("/")[2])))
    answer = sia(archive).images_at(*M31, 0.001)
    assert len(answer.images) == 3
    assert answer.faults == [f"1 row of {archive.uri}/SIA without a URI (https, http or s3) of a Level 2 image"]


def test_image_without_a_time_is_the_last(archive: Archive) -> None:
    archive.entries[0].begin = None
    images = sia(archive).images_at(*M31, 0.001).images
    assert [math.isnan(image.begin) for image in images] == [False, False, True]


def test_copies_in_the_cloud() -> None:
    # TAP does not name them.
    uri = f"https://irsa.ipac.caltech.edu/ibe/data/spherex/{GENUINE[0]}"
    access = f'{{"aws": {{"bucket_name": "nasa-irsa-spherex", "key":"{GENUINE[0]}", "region": "us-east-1"}}}}'
    assert mirror_uri(uri) == cloud_uri(access) == f"s3://nasa-irsa-spherex/{GENUINE[0]}"
    assert mirror_uri(uri.replace("irsa.", "other.")) == ""
    assert cloud_uri("") == ""


def test_a_copy_of_another_image_does_not_count(archive: Archive) -> None:
    archive.entries[0].uri = f"https://irsa.ipac.caltech.edu/ibe/data/spherex/{GENUINE[1]}"
    archive.entries[1].uri = f"{archive.uri}/{GENUINE[0]}"
    copies = {image.uri: image.cloud_uri for image in sia(archive).images_at(*M31, 0.001).images}
    assert copies[archive.entries[0].uri] == f"s3://nasa-irsa-spherex/{GENUINE[1]}"
    assert copies[archive.entries[1].uri] == ""


def test_busy_services_are_asked_again(archive: Archive) -> None:
    archive.busy = 1
    assert len(sia(archive).images_at(*M31, 0.001).images) == 3
    archive.busy = 1
    assert len(tap(archive).images_of(targets()).images) == 3


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            (200, error("UsageFault: BAD_REQUEST: no")),
            r"/SIA refuses the query for spherex_qr2: UsageFault: BAD_REQUEST: no\.$",
        ),
        ((400, error("UsageFault: unknown")), r"/SIA refuses the query for spherex_qr2: UsageFault: unknown\.$"),
        ((404, b"<html>no</html>"), r"/SIA does not answer the query \(404 Client Error: Not Found for url"),
        ((500, b""), r"/SIA does not answer the query \(500 Server Error"),
        (
            (200, b"<html>welcome</html>"),
            r"the answer of .*/SIA cannot be read: it is not a VOTable, but XML with <html>",
        ),
        ((200, b"<VOTABLE/>"), r"the answer of .*/SIA does not contain a table"),
    ],
)
def test_answers_that_are_refusals(archive: Archive, answer: tuple[int, bytes], message: str) -> None:
    archive.answer = answer
    with pytest.raises(SearchError, match=message) as caught:
        sia(archive).images_at(*M31, 0.001)
    assert "\n" not in str(caught.value)


def test_a_table_of_another_service(archive: Archive) -> None:
    from .archive_server import votable

    archive.answer = 200, votable([["a"]], ["address"], "OK")
    with pytest.raises(SearchError, match="does not have a column access_url, but address"):
        sia(archive).images_at(*M31, 0.001)


def test_services_that_do_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}/SIA"
        with pytest.raises(SearchError, match=r"/SIA does not answer \(timed out\); check the connection"):
            ArchiveService(uri, timeout=0.2).images_at(*M31, 0.001)
    with pytest.raises(SearchError, match=r"/SIA does not answer \(\[Errno \d+\] Connection refused\); check"):
        ArchiveService(uri).images_at(*M31, 0.001)
    with pytest.raises(SearchError, match="nowhere does not answer .*Invalid URL 'nowhere'"):
        ArchiveService("nowhere").images_at(*M31, 0.001)


def test_pyvo_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvo", None)
    with pytest.raises(SearchError, match=r'not installed: pip install "spherex-butler\[archive\]"\.'):
        ArchiveService("https://host/SIA")


def test_positions_of_names(archive: Archive) -> None:
    archive.names = {"M31": M31, "Barnard's star": (269.45207696, 4.69336497, -801.551, 10362.394)}
    with sesame_url.set([f"{archive.uri}/sesame/"]):
        andromeda = position_of_name("M31")
        assert (andromeda.ra.deg, andromeda.dec.deg) == pytest.approx(M31)
        assert "s" not in andromeda.data.differentials
        (row,) = catalog_of(position_of_name("Barnard's star"))
        assert [row[name] for name in ("ra", "dec", "pmra", "pmdec", "ref_epoch")] == pytest.approx(
            (269.45207696, 4.69336497, -801.551, 10362.394, 2000.0)
        )
        with pytest.raises(
            SearchError, match=r"^the name 'Vulcan' is not known to Sesame .*; check it, or use RA DEC\.$"
        ):
            position_of_name("Vulcan")


def test_another_server_is_asked_if_one_does_not_answer_as_sesame(archive: Archive) -> None:
    archive.names = {"M31": M31}
    (archive.root / "login").mkdir(parents=True)
    (archive.root / "login" / "SNV").write_bytes(b"<html>Log in, \xe9</html>")
    with sesame_url.set([f"{archive.uri}/login/", f"{archive.uri}/sesame/"]):
        assert position_of_name("M31").ra.deg == pytest.approx(M31[0])
    with sesame_url.set([f"{archive.uri}/login/"]), pytest.raises(SearchError, match="Sesame does not answer"):
        position_of_name("M31")


def test_names_without_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}/"
    message = (
        rf"^the position of 'M31' is not known, because Sesame does not answer \({uri}: Connection refused\); use RA"
    )
    # The reason of one server is enough.
    with sesame_url.set([uri, f"{uri}other/"]), pytest.raises(SearchError, match=message) as caught:
        position_of_name("M31")
    assert "\n" not in str(caught.value)
