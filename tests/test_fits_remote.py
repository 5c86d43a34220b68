"""Products at a real S3 endpoint: only what is needed is fetched."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from benchmarks.s3_server import Counter, Counts
from lsst.resources import ResourcePath

from spherex.errors import ProductError
from spherex.fits import byte_sources, hdus, open_product, read_product, write_product
from spherex.image import Box, Cutout, SPHERExImage

from .level2_files import write_level2


@pytest.fixture
def bucket(bucket: str) -> ResourcePath:
    return ResourcePath(bucket, forceDirectory=True)


@pytest.fixture
def remote(bucket, tmp_path, rng) -> tuple[ResourcePath, SPHERExImage]:
    shape = (600, 500)
    image = SPHERExImage(
        rng.normal(size=shape).astype(np.float32),
        unit="MJy/sr",
        variance=rng.uniform(1, 2, shape).astype(np.float32),
        flags=rng.integers(0, 2**20, shape).astype(np.int32),
    )
    write_product(image, tmp_path / "a.fits")
    uri = bucket.join("a.fits")
    uri.transfer_from(ResourcePath(str(tmp_path / "a.fits")), "copy", overwrite=True)
    return uri, image


LATENCY = 0.2


@pytest.fixture
def served(bucket) -> Iterator[Callable[[], Counts]]:
    """Let each request wait, and return a function that returns what was counted since its last call."""
    counter, arrivals, last = Counter(), threading.local(), Counts()

    def wait(**_: Any) -> None:
        arrivals.time = time.monotonic()
        time.sleep(LATENCY)

    def count(parsed: dict[str, Any], model: Any, **_: Any) -> None:
        counter.add(parsed["ContentLength"] if model.name == "GetObject" else 0, arrivals.time)

    def look() -> Counts:
        nonlocal last
        new, last = Counts(*(now - before for now, before in zip(counter.counts, last, strict=True))), counter.counts
        return new

    hdus._followers.clear()
    events = bucket.client.meta.events
    events.register("before-send.s3", wait)
    events.register("after-call.s3", count)
    try:
        yield look
    finally:
        events.unregister("before-send.s3", wait)
        events.unregister("after-call.s3", count)


def test_a_cutout_fetches_its_rows_only(remote, served):
    uri, image = remote
    served()
    got = read_product(uri, Box(100, 140, 300, 310))
    expected = image[300:310, 100:140]
    np.testing.assert_array_equal(got.data, expected.data)
    np.testing.assert_array_equal(got.flags, expected.flags)
    np.testing.assert_array_equal(got.variance, expected.variance)
    rows = 3 * 10 * 500 * 4
    first = served()
    assert first.trips <= 4
    read_product(uri, Box(100, 140, 300, 310))
    second = served()
    assert second.trips <= 3
    # The first headers, those of FLAGS and VARIANCE, and the rows.
    assert second.requests <= 6
    assert second.sent <= rows + byte_sources.REMOTE_READ + 2 * 2 * 2880 < first.sent


def test_a_component_fetches_its_plane_only(remote, served):
    uri, image = remote
    served()
    with open_product(uri) as product:
        np.testing.assert_array_equal(product.image().value, image.data)
    assert served().sent <= image.data.nbytes + 15 * 2880
    with open_product(uri) as product:
        assert product.header()["BUNIT"] == "MJy / sr"
    counts = served()
    assert (counts.requests, counts.trips) == (1, 1)


def test_threads_share_one_client(remote, monkeypatch):
    uri, image = remote
    made: list[str] = []
    make = boto3.Session.client

    def counted(self, name, **choices):
        made.append(name)
        return make(self, name, **choices)

    monkeypatch.setattr(boto3.Session, "client", counted)
    monkeypatch.setenv("S3_ENDPOINT_URL", f"{os.environ['S3_ENDPOINT_URL']}/")

    def rows_of(location: str) -> int:
        with open_product(location) as product:
            return product.header()["NAXIS2"]

    read = byte_sources.read_many(rows_of, [str(uri)] * 16, threads=16)
    assert [future.result() for future in read] == [image.shape[0]] * 16
    assert made == ["s3"]


def test_the_whole_is_read_from_afar(remote):
    uri, image = remote
    got = read_product(uri)
    np.testing.assert_array_equal(got.data, image.data)
    assert got.flag_table == image.flag_table


def test_a_missing_remote_file_is_an_error(bucket):
    with pytest.raises(FileNotFoundError):
        read_product(bucket.join("absent.fits"))


def test_a_remote_file_that_is_cut_short_is_named(remote):
    uri, _ = remote
    uri.write(uri.read(200_000))
    with pytest.raises(ProductError, match="s3://spherex/a.fits.*cut short"):
        read_product(uri)


@pytest.fixture
def level2(bucket, tmp_path) -> Callable[[str], tuple[ResourcePath, SPHERExImage]]:
    """Return a function that writes an image of a release to the bucket."""

    def write(release: str) -> tuple[ResourcePath, SPHERExImage]:
        path = write_level2(tmp_path / "a.fits", release, shape=(1500, 1800), origin=(200, 300)).path
        uri = bucket.join(f"{release}.fits")
        uri.transfer_from(ResourcePath(str(path)), "copy", overwrite=True)
        return uri, read_product(path)

    return write


def cut_in(whole: SPHERExImage) -> Cutout:
    """Return a cutout around a position."""
    return Cutout(position=whole.wcs.pixel_to_world(1000.3, 700.2), size=2 * units.arcmin)


def rows_needed(release: str, uri: ResourcePath, cut: SPHERExImage) -> int:
    """Return the bytes of the rows of a cutout in IMAGE, VARIANCE and FLAGS."""
    row = 1800 * 4
    tiles = cut.shape[0] * row
    if release == "qr3":
        with fits.open(io.BytesIO(uri.read()), disable_image_compression=True) as found:
            tiles = sum(len(found["FLAGS"].data["COMPRESSED_DATA"][y]) for y in range(cut.bbox.y0, cut.bbox.y1))
    return 2 * cut.shape[0] * row + tiles


@pytest.mark.parametrize("release", ["qr2", "qr3"])
def test_a_place_on_the_sky_takes_few_round_trips_and_bytes(level2, served, release):
    uri, whole = level2(release)
    cut = cut_in(whole)
    expected = whole.cutout(position=cut.position, size=cut.size)
    rows = rows_needed(release, uri, expected)
    served()
    # The tiles of compressed flags take a round trip more. Before the first file nothing is known of the headers.
    for trips, waste in ((5, 420_000), (4, 110_000)) if release == "qr3" else ((4, 320_000), (3, 110_000)):
        with open_product(uri) as product:
            got = product.read(cut, planes=[])
        for name in ("data", "variance", "flags"):
            np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
        counts = served()
        assert counts.trips <= trips
        assert counts.sent <= rows + waste
    assert counts.sent <= 2 * rows
    # Seven headers in six requests, and three times rows.
    assert counts.requests <= 9
    for component, nbytes, requests, trips in (
        ("image", rows, 2, 2),
        ("wcs", 0, 1, 1),
        ("bbox", 0, 1, 1),
        ("calibrations", 0, 1, 1),
        ("wavelength", 2880 * 2, 7, 4),
        ("psf", whole.psf.nbytes * 2, 7, 4),
    ):
        with open_product(uri) as product:
            getattr(product, component)(cut)
        counts = served()
        assert counts.requests <= requests, component
        assert counts.trips <= trips, component
        assert counts.sent <= nbytes + 110_000, component
    with open_product(uri) as product:
        product.read(cut)
    counts = served()
    assert counts.trips <= 4
    assert whole.psf.nbytes < counts.sent <= whole.psf.nbytes * 2 + rows * 4 / 3 + 110_000


@pytest.mark.parametrize("first", ["qr2", "qr3"])
def test_a_file_of_another_structure_is_read_right(level2, served, first):
    for release in (first, "qr3" if first == "qr2" else "qr2"):
        uri, whole = level2(release)
        cut = cut_in(whole)
        expected = whole.cutout(position=cut.position, size=cut.size)
        served()
        got = read_product(uri, cut)
        assert served().trips <= 5
        for name in ("data", "variance", "flags"):
            np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
        assert list(got.planes) == list(expected.planes)
        np.testing.assert_array_equal(got.psf, expected.psf)


@pytest.mark.parametrize("tile", [(128, 128), (500, 100), (7, 1)])
def test_tiles_of_any_shape_are_read_right(bucket, tmp_path, rng, served, tile):
    image = SPHERExImage(
        np.zeros((400, 500), np.float32), unit="MJy/sr", flags=rng.integers(0, 2**20, (400, 500)).astype(np.int32)
    )
    write_product(image, tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as found:
        found["FLAGS"] = fits.CompImageHDU(
            image.flags, found["FLAGS"].header, compression_type="RICE_1", tile_shape=tile[::-1]
        )
        found.writeto(tmp_path / "b.fits")
    uri = bucket.join("b.fits")
    uri.transfer_from(ResourcePath(str(tmp_path / "b.fits")), "copy", overwrite=True)
    size = uri.size()
    served()
    for box in (Box(120, 140, 250, 262), Box(0, 500, 0, 1), Box(490, 500, 390, 400)):
        with open_product(uri) as product:
            np.testing.assert_array_equal(product.flags(box), image.flags[box.slices])
        counts = served()
        assert counts.trips <= 5
        assert counts.sent < size / 2
