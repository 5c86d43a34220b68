"""Wavelengths come from calibrations of which only rows are read, else from the tables of runs."""

from __future__ import annotations

import functools
import http.server
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from lsst.daf.butler import Butler, CollectionType, DatasetRef, FileDataset, Timespan
from lsst.resources import ResourcePath

from spherex.fits import read_product
from spherex.image import PlaneWavelengths, wavelengths_in
from spherex.search import Criteria, FoundImages, find_images
from spherex.search.wavelengths import read_planes

from .ingest_helpers import butler_command
from .level2_files import write_level2
from .search_helpers import FIRST_MJD, NEW, SIDE, Image, add_images, prepare, true_wavelength
from .servers import QuietHandler, serving

PLACE = (30.0, 40.0)
SHAPE = (SIDE, SIDE)


def write_calibration(
    path: Path, shape: tuple[int, int] = SHAPE, unit: str = "um", names: tuple[str, str] = ("CWAVE", "CBAND")
) -> Path:
    """Write planes in which each pixel has its own number, and its double."""
    planes = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for name, factor in zip(names, (1, 2), strict=True):
        hdus.append(fits.ImageHDU(planes * factor, fits.Header({"BUNIT": unit}), name=name))
    path.parent.mkdir(parents=True, exist_ok=True)
    hdus.writeto(path)
    return path


def ingest_calibration(repo: Path, address: Path | str, detector: int = 1) -> None:
    """Ingest a calibration where it is, and certify it for all the time."""
    with Butler.from_config(str(repo), writeable=True) as butler:
        prepare(butler)
        butler.collections.register("SPHEREx/calib/x")
        butler.collections.register("SPHEREx/calib", CollectionType.CALIBRATION)
        data_id = butler.registry.expandDataId(instrument="SPHEREx", detector=detector)
        ref = DatasetRef(butler.get_dataset_type("spectral_wcs"), data_id, run="SPHEREx/calib/x")
        butler.ingest(FileDataset(str(address), [ref]), transfer="direct", record_validation_info=False)
        validity = Timespan(*Time([FIRST_MJD - 1, FIRST_MJD + 99], format="mjd", scale="utc").tai)
        butler.registry.certify("SPHEREx/calib", [ref], validity)


def search(repo: Path, place: tuple[float, float] = PLACE) -> FoundImages:
    with Butler.from_config(str(repo)) as butler:
        return find_images(butler, Criteria(*place), threads=2)


def number_of(x: float, y: float) -> float:
    """Return what the plane CWAVE has at a pixel."""
    return float(np.float32(np.rint(y) * SIDE + np.rint(x)))


class Server(QuietHandler, http.server.SimpleHTTPRequestHandler):
    """Files by byte ranges; the number of bytes of each answer is noted."""

    protocol_version = "HTTP/1.1"
    sent: list[int]

    def do_GET(self) -> None:  # noqa: N802
        self._answer()

    def do_HEAD(self) -> None:  # noqa: N802
        self._answer()

    def _answer(self) -> None:
        path = Path(self.translate_path(self.path))
        content = path.read_bytes() if path.is_file() else b""
        status, size = (200, len(content)) if path.is_file() else (404, 0)
        wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted and status == 200:
            begin, end = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
            status, content = 206, content[begin : end + 1]
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{end}/{size}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.sent.append(len(content))
            self.wfile.write(content)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, str, list[int]]]:
    """Serve a folder by HTTP; return it, its address, and what was sent."""
    folder = tmp_path / "web"
    folder.mkdir()
    sent: list[int] = []
    handler = functools.partial(type("Handler", (Server,), {"sent": sent}), directory=str(folder))
    with serving(handler) as uri:
        yield folder, uri, sent


def test_of_a_remote_calibration_only_rows_are_read(
    repo_root: Path, tmp_path: Path, web: tuple[Path, str, list[int]]
) -> None:
    folder, root, sent = web
    # The position is in rows that are far from each other.
    images = [Image(number, dec=40 + dec, ra=30 + number / 10) for number, dec in enumerate((-1.2, 0.0, 0.01, 1.2))]
    add_images(repo_root, images, tmp_path / "files", wavelengths=False)
    path = write_calibration(folder / "spectral_wcs_D1.fits")
    ingest_calibration(repo_root, f"{root}/{path.name}")
    sent.clear()
    found = search(repo_root)
    assert not found.problems
    assert len(found.table) == 4
    for row in found.table:
        assert row["wavelength"] == number_of(row["x"], row["y"])
        assert row["bandwidth"] == 2 * row["wavelength"]
    assert 0 < sum(sent) < path.stat().st_size / 20


@pytest.mark.parametrize("rows", [[0, SIDE - 1], [5, 5, 60, 1000, 1300, 1310], list(range(0, SIDE, 50))])
def test_rows_of_a_file_are_those_in_memory(
    tmp_path: Path, web: tuple[Path, str, list[int]], rows: list[int], rng: np.random.Generator
) -> None:
    folder, root, _ = web
    # All numbers are below 100 um, which no wavelength exceeds.
    path = write_calibration(folder / "a.fits", unit="pm")
    places = np.column_stack([rng.uniform(0, SIDE - 1, len(rows)), rng.permutation(np.array(rows, float))])
    with fits.open(path) as hdus:
        solution = wavelengths_in(hdus)
        assert isinstance(solution, PlaneWavelengths)
        expected = [value.to_value("um") for value in solution.of_pixels(*np.rint(places).astype(int).T)]
    assert expected[0].tolist() == pytest.approx([number_of(x, y) / 1e6 for x, y in places])
    for address in (ResourcePath(str(path)), ResourcePath(f"{root}/{path.name}")):
        got = read_planes(address, places)
        assert got is not None
        assert np.array_equal(got, expected)


BAD = {
    "absent": (lambda path: path.unlink(), ""),
    "no FITS": (lambda path: path.write_text("<html>503 busy</html>"), ""),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:9_000_000]), "the file is cut short: it ends"),
    "shape": (
        lambda path: (path.unlink(), write_calibration(path, (100, 90))),
        "plane CWAVE has shape (100, 90), not (2040, 2040)",
    ),
    "unit": (
        lambda path: (path.unlink(), write_calibration(path, unit="s")),
        "BUNIT of plane CWAVE is 's', which is not a unit of length",
    ),
    "no planes": (
        lambda path: (path.unlink(), write_calibration(path, names=("A", "B"))),
        "no wavelengths: neither planes CWAVE and CBAND nor a table WCS-WAVE",
    ),
}


@pytest.mark.parametrize("place", ["local", "remote"])
@pytest.mark.parametrize("damage", BAD)
def test_bad_calibration_is_named_and_the_table_taken(
    repo_root: Path, tmp_path: Path, web: tuple[Path, str, list[int]], damage: str, place: str
) -> None:
    folder, root, _ = web
    add_images(repo_root, [Image(0), Image(1, 2)], tmp_path / "files")
    path = write_calibration(folder / "spectral_wcs_D1.fits")
    ingest_calibration(repo_root, path if place == "local" else f"{root}/{path.name}")
    spoil, message = BAD[damage]
    spoil(path)
    found = search(repo_root)
    for row in found.table:
        assert row["wavelength"] == pytest.approx(true_wavelength(row["detector"], row["y"]), rel=1e-5)
    assert len(found.table) == 2
    (problem,) = found.problems
    assert problem.startswith("spectral_wcs of detector 1 in SPHEREx/calib/x is left out: ")
    assert f"{path.name} cannot be read: " in problem
    assert message in problem
    assert not found.without_wavelength


def test_bad_calibration_is_shown_by_the_command(repo_root: Path, tmp_path: Path) -> None:
    add_images(repo_root, [Image()], tmp_path / "files")
    path = write_calibration(tmp_path / "spectral_wcs_D1.fits", (10, 10))
    ingest_calibration(repo_root, path)
    outcome = butler_command("find-images", repo_root, *PLACE)
    assert outcome.code == 1
    first, _, _, row = outcome.output.splitlines()
    assert first.startswith("spectral_wcs of detector 1 in SPHEREx/calib/x is left out: ")
    assert "--" not in row


def test_bad_table_leaves_wavelengths_unknown(repo_root: Path, tmp_path: Path) -> None:
    add_images(repo_root, [Image(0), Image(1, 2)], tmp_path / "files")
    with Butler.from_config(str(repo_root)) as butler:
        uri = butler.getURI("level2_wavelength", instrument="SPHEREx", detector=2, collections=f"SPHEREx/level2/{NEW}")
    Path(uri.ospath).write_text("nothing")
    found = search(repo_root)
    assert found.without_wavelength == (2,)
    (problem,) = found.problems
    assert problem.startswith(f"level2_wavelength of detector 2 in SPHEREx/level2/{NEW} is left out: ")
    assert not np.ma.is_masked(found.table["wavelength"][0])


def test_wavelengths_of_cutouts_put_back_come_from_the_cutouts(repo_root: Path, tmp_path: Path) -> None:
    path = write_level2(tmp_path / f"level2_2025W51_1A_0684_2D1_spx_{NEW}.fits", origin=(900, 700)).path
    assert butler_command("ingest-level2", repo_root, path).code == 0
    image = read_product(path)
    place = image.wcs.pixel_to_world(21, 33)
    wavelength, bandwidth = image.wavelength.at(21, 33)
    with Butler.from_config(str(repo_root), writeable=True, run="u/me/cutouts") as butler:
        (ref,) = butler.query_datasets("level2", f"SPHEREx/level2/{NEW}")
        cutout = butler.get(ref, parameters={"position": place, "size": 9})
        butler.put(cutout, "level2", ref.dataId)
        criteria = Criteria(float(place.ra.deg), float(place.dec.deg), collections=("u/me/cutouts",))
        assert find_images(butler, criteria).without_wavelength == (1,)
        found = find_images(butler, criteria, exact=True)
    (row,) = found.table
    assert (row["x"], row["y"]) == pytest.approx((921, 733), abs=1e-3)
    assert (row["wavelength"], row["bandwidth"]) == pytest.approx((wavelength.value, bandwidth.value), rel=1e-5)
    assert not found.without_wavelength
    assert not found.problems
    position = (repo_root, *place.to_string("decimal", precision=8).split(), "--collections", "u/me/cutouts")
    assert (
        "(butler ingest-calibrations), or read them from the images with --exact."
        in butler_command("find-images", *position).output
    )
    outcome = butler_command("find-images", *position, "--exact")
    assert outcome.code == 0
    assert "not known" not in outcome.output


def test_images_without_wavelengths_are_none_to_read_them_from(repo_root: Path, tmp_path: Path) -> None:
    add_images(repo_root, [Image()], tmp_path / "files", wavelengths=False)
    outcome = butler_command("find-images", repo_root, *PLACE, "--exact")
    assert outcome.code == 0
    assert "(butler ingest-calibrations), which the images do not contain either." in outcome.output
