"""Level 2 images on servers: what is read of them, and what is not."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lsst.daf.butler import Butler
from lsst.resources import ResourcePath

import spherex
from spherex.fits import read_product

from .ingest_helpers import snapshot
from .level2_helpers import (
    RUN,
    SIDE,
    ingest_level2,
    level2_datasets,
    write_level2,
    write_many,
)
from .servers import QuietHandler, serving

HEADERS = 15 * 2880
"""Bytes that are asked for to get the headers up to that of the image."""


@dataclasses.dataclass
class Traffic:
    """Requests to S3 servers, and bytes that came back."""

    requests: list[tuple[str, str, int]] = dataclasses.field(default_factory=list)

    def of(self, method: str, name: str) -> list[int]:
        """Return the bytes of each request for a file."""
        return [size for verb, url, size in self.requests if verb == method and url.endswith(name)]


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    from botocore.httpsession import URLLib3Session

    traffic = Traffic()
    send = URLLib3Session.send

    def count(self: Any, request: Any) -> Any:
        response = send(self, request)
        size = 0 if request.method == "HEAD" else int(response.headers.get("Content-Length", 0))
        traffic.requests.append((request.method, request.url, size))
        return response

    monkeypatch.setattr(URLLib3Session, "send", count)
    return traffic


def upload(address: str, paths: list[Path]) -> None:
    for path in paths:
        ResourcePath(f"{address}/{path.name}").write(path.read_bytes())


def whole_frames(directory: Path, detectors: list[int]) -> list[Path]:
    planes = ["FLAGS", "VARIANCE"]
    return [
        write_level2(directory, 0, detector, shape=(SIDE, SIDE), origin=(0, 0), planes=planes, grid=None)
        for detector in detectors
    ]


@pytest.mark.parametrize("threads", [1, 3])
def test_only_headers_are_read(repo_root: Path, tmp_path: Path, bucket: str, traffic: Traffic, threads: int) -> None:
    paths = whole_frames(tmp_path, [1, 2, 3])
    upload(f"{bucket}/qr2", paths)
    traffic.requests.clear()
    outcome = ingest_level2(repo_root, "-j", threads, "--dry-run", f"{bucket}/qr2/")
    assert outcome.code == 0
    assert outcome.counts["would be ingested"] == 3
    for path in paths:
        assert traffic.of("GET", path.name) == [HEADERS], "one request for the headers"
        assert traffic.of("HEAD", path.name) == [], "its answer contains the size"
    assert path.stat().st_size > 1000 * HEADERS
    assert ingest_level2(repo_root, "-j", threads, f"{bucket}/qr2/").code == 0
    stored = level2_datasets(repo_root)
    assert {str(uri) for uri in stored.values()} == {f"{bucket}/qr2/{path.name}" for path in paths}


def test_table_is_read_once_for_run_and_detector(
    repo_root: Path, tmp_path: Path, bucket: str, traffic: Traffic
) -> None:
    paths = write_many(tmp_path, 4, [1, 2])
    upload(f"{bucket}/qr2", paths)
    traffic.requests.clear()
    outcome = ingest_level2(repo_root, f"{bucket}/qr2/")
    assert "2 datasets level2_wavelength made from them" in outcome.output
    numbers = [len(traffic.of("GET", path.name)) for path in paths]
    assert numbers[0] > 1
    assert numbers[1] > 1
    assert numbers[2:] == [1] * 6
    traffic.requests.clear()
    assert ingest_level2(repo_root, f"{bucket}/qr2/").counts["already there"] == 8
    assert all(len(traffic.of("GET", path.name)) == 1 for path in paths)


def test_table_is_found_after_a_file_was_read_whole(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    """The places of all headers are known then, and only they are asked for."""
    paths = [write_level2(tmp_path, 0, detector, shape=(200, 200)) for detector in (1, 2)]
    upload(f"{bucket}/qr2", paths)
    read_product(ResourcePath(f"{bucket}/qr2/{paths[0].name}"))
    outcome = ingest_level2(repo_root, f"{bucket}/qr2/")
    assert "2 datasets level2_wavelength made from them" in outcome.output


def test_cutouts_with_cut_tables_are_tried_three_times(
    repo_root: Path, tmp_path: Path, bucket: str, traffic: Traffic
) -> None:
    # The table of the first one might be the only bad one.
    paths = write_many(tmp_path, 5, [1], grid=(700, 706))
    upload(f"{bucket}/cut", paths)
    traffic.requests.clear()
    assert ingest_level2(repo_root, f"{bucket}/cut/").code == 0
    assert [len(traffic.of("GET", path.name)) > 1 for path in paths] == [True, True, True, False, False]


def test_bad_files(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    paths = whole_frames(tmp_path, [1]) + write_many(tmp_path, 1, [2, 3, 4])
    paths[0].write_bytes(paths[0].read_bytes()[: 10 * 2**20])
    paths[1].write_bytes(b"")
    paths[2].write_bytes(b"not FITS" * 1000)
    upload(f"{bucket}/in", paths)
    outcome = ingest_level2(repo_root, f"{bucket}/in/", f"{bucket}/in/none.fits", f"{bucket}/nothing")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 1
    text = "\n".join(outcome.failures)
    for pattern in (
        r"D1_spx_.*: the file is cut short: it ends at byte 10485760, HDU 1 \(IMAGE\)",
        "D2_spx_.*: the file is empty",
        "D3_spx_.*: the file is not FITS",
        "none.fits: the file does not exist",
        r"nothing: it has no name of this kind of file; if it is a directory, end its URI with /",
    ):
        assert re.search(pattern, text), text
    assert len(outcome.failures) == 5


@pytest.mark.parametrize("extension", ["txt", "parquet"])
def test_list_in_the_bucket(repo_root: Path, tmp_path: Path, bucket: str, extension: str) -> None:
    paths = write_many(tmp_path / "in", 1, [1, 2])
    upload(f"{bucket}/qr2", paths)
    local = tmp_path / f"list.{extension}"
    if extension == "txt":
        local.write_text("".join(f"qr2/{path.name}\n" for path in paths))
    else:
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.table({"s3_uri": [f"{bucket}/qr2/{path.name}" for path in paths]})
        pyarrow.parquet.write_table(table, local)
    upload(bucket, [local])
    assert ingest_level2(repo_root, f"{bucket}/list.{extension}").code == 0
    assert level2_datasets(repo_root).keys() == {(0, 1), (0, 2)}


def test_cutouts_under_two_addresses(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    one, other = write_level2(tmp_path / "a"), write_level2(tmp_path / "b", origin=(0, 0))
    upload(f"{bucket}/a", [one])
    upload(f"{bucket}/same", [one])
    upload(f"{bucket}/b", [other])
    assert ingest_level2(repo_root, f"{bucket}/a/").code == 0
    before = snapshot(repo_root)
    assert ingest_level2(repo_root, f"{bucket}/same/").counts["already there"] == 1
    outcome = ingest_level2(repo_root, f"{bucket}/b/")
    assert outcome.code == 1
    (failure,) = outcome.failures
    assert failure.startswith(f"failed: {bucket}/b/{other.name}: ")
    assert f"its content is not that of the ingested file {bucket}/a/{one.name}" in failure
    assert "--dataset-type" in failure
    assert snapshot(repo_root) == before
    assert ingest_level2(repo_root, one).counts["already there"] == 1, "a local copy of the same"


def test_local_files_beside_remote_ones(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    """Without --transfer remote files stay where they are, and local ones go into the repository."""
    remote = write_level2(tmp_path / "remote", 0, 1)
    upload(f"{bucket}/in", [remote])
    local = write_level2(tmp_path / "local", 0, 2)
    assert ingest_level2(repo_root, f"{bucket}/in/", local).code == 0
    stored = level2_datasets(repo_root)
    assert str(stored[0, 1]) == f"{bucket}/in/{remote.name}"
    assert stored[0, 2].relative_to(ResourcePath(repo_root, forceDirectory=True)) is not None


def test_copy_on_request(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    upload(f"{bucket}/in", [write_level2(tmp_path)])
    assert ingest_level2(repo_root, "--transfer", "copy", f"{bucket}/in/").code == 0
    assert level2_datasets(repo_root)[0, 1].isLocal


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, list[tuple[str, str, str | None]]]]:
    """Serve ``tmp_path / "web"`` by HTTP with byte ranges, and note the requests."""
    root = tmp_path / "web"
    requests: list[tuple[str, str, str | None]] = []

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802
            name = self.path.partition("?")[0].lstrip("/")
            wanted = self.headers.get("Range")
            requests.append((self.command, self.path, wanted))
            path = root / name
            if not path.is_file():
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = path.read_bytes()
            status, size = 200, len(content)
            if wanted:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                begin, end = int(first), min(int(last or size - 1), size - 1)
                status, content = 206, content[begin : end + 1]
            self.send_response(status)
            self.send_header("Accept-Ranges", "bytes")
            if wanted:
                self.send_header("Content-Range", f"bytes {begin}-{end}/{size}")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815

    with serving(Handler) as uri:
        yield uri, requests


def test_web_addresses(repo_root: Path, tmp_path: Path, web: tuple[str, list]) -> None:
    """Addresses with a query, as the archive's cutout service has them."""
    root, requests = web
    tree = tmp_path / "web" / "2025W43_1A" / RUN
    whole = whole_frames(tree / "1", [1])[0]
    cutout = write_level2(tree / "2", 0, 2)
    addresses = [
        f"{root}/2025W43_1A/{RUN}/1/{whole.name}",
        f"{root}/2025W43_1A/{RUN}/2/{cutout.name}?center=308.027,38.350&size=0.01",
    ]
    (tmp_path / "list.txt").write_text("\n".join([*addresses, f"{root}/none.fits"]))
    outcome = ingest_level2(repo_root, "--dry-run", tmp_path / "list.txt")
    assert outcome.code == 1
    assert outcome.counts["would be ingested"] == 2
    assert "none.fits: " in outcome.failures[0]
    ranges = [wanted for method, path, wanted in requests if method == "GET" and whole.name in path]
    assert ranges == [f"bytes=0-{HEADERS - 1}"]
    assert ingest_level2(repo_root, tmp_path / "list.txt").counts["ingested"] == 2
    stored = level2_datasets(repo_root)
    assert {str(uri) for uri in stored.values()} == set(addresses)
    with Butler.from_config(str(repo_root)) as butler:
        (ref,) = butler.query_datasets(
            "level2", collections="SPHEREx/level2", where="detector = 2", instrument="SPHEREx"
        )
        assert butler.get(ref).shape == (6, 6)


@pytest.fixture
def cutouts(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve ``tmp_path / "web"`` as a cutout service does: no ranges, no lengths, and 503 to each first request."""
    busy: set[tuple[str, str]] = set()
    refused: list[str] = []

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802
            parts = urllib.parse.urlsplit(self.path)
            path = tmp_path / "web" / urllib.parse.parse_qs(parts.query).get("path", [parts.path.lstrip("/")])[0]
            if path.is_file() and (self.command, self.path) not in busy:
                busy.add((self.command, self.path))
                refused.append(self.path)
                self.send_error(503)
                return
            self.send_response(200 if path.is_file() else 404)
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command == "GET" and path.is_file():
                self.wfile.write(path.read_bytes())
            self.close_connection = True

        do_HEAD = do_GET  # noqa: N815

    with serving(Handler) as uri:
        yield uri, refused


@pytest.mark.parametrize("as_list", [False, True])
def test_cutout_service(repo_root: Path, tmp_path: Path, cutouts: tuple[str, list[str]], as_list: bool) -> None:
    root, refused = cutouts
    tree = Path("ibe/data/spherex/qr2/level2/2025W43_1A") / RUN
    paths = [write_level2(tmp_path / "web" / tree / str(d), 0, d).relative_to(tmp_path / "web") for d in (1, 2)]
    uris = [
        f"{root}/{paths[0]}?center=308.027,38.350&size=0.01",
        f"{root}/ibe/cutout?ra=308.027&dec=38.350&size=0.01&path={paths[1]}",
    ]
    (tmp_path / "list.csv").write_text("access_url\n" + "".join(f'"{uri}"\n' for uri in uris))
    # The name of the second one is in its query, but the run of a directory is not looked for there.
    locations = [tmp_path / "list.csv"] if as_list else uris
    outcome = ingest_level2(repo_root, *locations)
    assert (outcome.code, outcome.counts["ingested"]) == (0, 2), outcome.failures
    assert len(refused) >= 2
    assert {str(uri) for uri in level2_datasets(repo_root).values()} == set(uris)
    with Butler.from_config(str(repo_root), collections="SPHEREx/level2") as butler:
        for ref in butler.query_datasets("level2"):
            whole = butler.get(ref)
            assert whole.shape == (6, 6)
            np.testing.assert_array_equal(butler.get(ref, parameters={"box": (1, 4, 2, 5)}).data, whole.data[2:5, 1:4])


@pytest.mark.parametrize(
    "query", ["X-Amz-Credential=AK&X-Amz-Signature=SECRET", "sig=SECRET&x=1", "access_token=SECRET", "a=1"]
)
def test_secrets_in_uris_are_not_shown(repo_root: Path, tmp_path: Path, web: tuple[str, list], query: str) -> None:
    root, _ = web
    (tmp_path / "web").mkdir()
    host = root.removeprefix("http://")
    uri = f"http://user:SECRET@{host}/{RUN}/1/none.fits?{query}"
    (tmp_path / "web" / "list.txt").write_text(f"{uri}\n")
    listed = f"http://user:SECRET@{host}/list.txt?{query}"
    for location in (uri, listed, listed.replace("list.txt", "nothing.txt")):
        outcome = ingest_level2(repo_root, location)
        assert outcome.code == 1
        (line,) = outcome.failures
        assert "SECRET" not in line
        assert f"http://user:***@{host}" in line
    with pytest.raises(Exception, match="none.fits") as caught:
        spherex.read(uri)
    assert "SECRET" not in str(caught.value)
