"""Products at a real S3 endpoint: only what is needed is fetched."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units
from lsst.resources import ResourcePath

from spherex.errors import ProductError
from spherex.fits import byte_sources, open_product, read_product, write_product
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


@pytest.fixture
def fetched(monkeypatch) -> list[int]:
    """Return a list that receives the size of every read of a remote file."""
    sizes: list[int] = []
    read_at = byte_sources._RemoteSource.read_at

    def counted(self, offset, nbytes):
        content = read_at(self, offset, nbytes)
        sizes.append(len(content))
        return content

    monkeypatch.setattr(byte_sources._RemoteSource, "read_at", counted)
    return sizes


def test_a_cutout_fetches_its_rows_only(remote, fetched):
    uri, image = remote
    got = read_product(uri, Box(100, 140, 300, 310))
    expected = image[300:310, 100:140]
    np.testing.assert_array_equal(got.data, expected.data)
    np.testing.assert_array_equal(got.flags, expected.flags)
    np.testing.assert_array_equal(got.variance, expected.variance)
    rows = 3 * 10 * 500 * 4
    headers = 4 * 15 * 2880
    assert sum(fetched) <= rows + headers
    assert len(fetched) <= 3 + 5


def test_a_component_fetches_its_plane_only(remote, fetched):
    uri, image = remote
    with open_product(uri) as product:
        np.testing.assert_array_equal(product.image().value, image.data)
    assert sum(fetched) <= image.data.nbytes + 2 * 15 * 2880
    fetched.clear()
    with open_product(uri) as product:
        assert product.header()["BUNIT"] == "MJy / sr"
    assert len(fetched) == 1


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


@pytest.mark.parametrize("release", ["qr2", "qr3"])
def test_a_place_on_the_sky_fetches_its_rows_only(bucket, tmp_path, fetched, release):
    shape = (1500, 1800)
    whole = read_product(write_level2(tmp_path / "a.fits", release, shape=shape, origin=(200, 300)).path)
    uri = bucket.join(f"{release}.fits")
    uri.transfer_from(ResourcePath(str(tmp_path / "a.fits")), "copy", overwrite=True)
    cut = Cutout(position=whole.wcs.pixel_to_world(1000.3, 700.2), size=2 * units.arcmin)
    expected = whole.cutout(position=cut.position, size=cut.size)
    headers = 7 * 15 * 2880
    rows = expected.shape[0] * shape[1] * 4
    with open_product(uri) as product:
        got = product.read(cut, planes=[])
    for name in ("data", "variance", "flags"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
    # Compressed flags come with the list of their tiles, and are read ahead.
    assert sum(fetched) <= 3 * rows + headers + (2**19 if release == "qr3" else 0)
    assert len(fetched) <= 12
    fetched.clear()
    with open_product(uri) as product:
        product.read(cut)
    assert whole.psf.nbytes < sum(fetched) - 4 * rows < whole.psf.nbytes + headers + 2**19
    for component, data, requests in (
        ("image", rows, 2),
        ("wcs", 0, 1),
        ("bbox", 0, 1),
        ("calibrations", 0, 1),
        ("wavelength", 2880, 8),
        ("psf", 2 * whole.psf.nbytes, 8),
    ):
        fetched.clear()
        with open_product(uri) as product:
            getattr(product, component)(cut)
        assert sum(fetched) <= data + headers + 15 * 2880, component
        assert len(fetched) <= requests, component
