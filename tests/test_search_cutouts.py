"""Extents of cutouts: recorded at ingest, and what find-images makes of them."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits
from astropy.table import Table
from lsst.daf.butler import Butler, Config

from spherex.geometry import WCS_CARDS
from spherex.image import celestial_wcs
from spherex.search import Criteria, FoundImages, find_images
from spherex.search import pixels as pixels_module

from .ingest_helpers import butler_command, ingest
from .level2_helpers import SIDE, cards_of, exposure_of, ingest_level2, name_of, write_level2
from .programs import run_well

OLD_DIMENSIONS = Path(__file__).parent / "data" / "dimensions_1.yaml"
ORIGIN = (700, 1400)
SHAPE = (60, 60)


def position(x: float, y: float, number: int = 0, detector: int = 1) -> tuple[float, float]:
    """Return right ascension and declination of a pixel of the frame."""
    cards = cards_of(number, detector, (0, 0))
    wcs = celestial_wcs(fits.Header({key: cards[key] for key in WCS_CARDS if key in cards}))
    assert wcs is not None
    ra, dec = wcs.pixel_to_world_values(x, y)
    return float(ra), float(dec)


def cutout(directory: Path, **options: Any) -> Path:
    """Write a cutout of 60 x 60 pixels."""
    return write_level2(directory, **{"origin": ORIGIN, "shape": SHAPE, "planes": (), **options})


def find(repo: Path, x: float, y: float, *, exact: bool = False, **criteria: Any) -> FoundImages:
    """Find the images at a pixel of the first exposure and detector."""
    with Butler.from_config(str(repo)) as butler:
        return find_images(butler, Criteria(*position(x, y), **criteria), exact=exact)


def extents(repo: Path) -> dict[str, tuple[int, int, int, int]]:
    with Butler.from_config(str(repo)) as butler:
        records = butler.query_dimension_records("cutout_extent", instrument="SPHEREx", explain=False)
        return {one.cutout: (one.x0, one.x1, one.y0, one.y1) for one in records}


def ids(repo: Path) -> list[str]:
    with Butler.from_config(str(repo)) as butler:
        refs = butler.query_datasets("level2", "SPHEREx/level2", find_first=False, limit=None)
        return [ref.id.hex for ref in refs]


def test_the_extent_of_a_cutout_is_recorded_with_its_dataset(repo_root: Path, tmp_path: Path) -> None:
    cutout(tmp_path / "in")
    cutout(tmp_path / "in", detector=4, origin=(0, 1980))
    assert ingest_level2(repo_root, "--dry-run", tmp_path / "in").code == 0
    assert ingest_level2(repo_root, tmp_path / "in").code == 0
    assert set(extents(repo_root)) == set(ids(repo_root))
    assert sorted(extents(repo_root).values()) == [(0, 60, 1980, 2040), (700, 760, 1400, 1460)]


def test_extents_can_be_queried(repo_root: Path, tmp_path: Path) -> None:
    ingest_level2(repo_root, cutout(tmp_path / "in"), cutout(tmp_path / "in", number=1, origin=(0, 0)))
    where = "instrument = 'SPHEREx' AND cutout_extent.x0 <= 730 AND cutout_extent.x1 > 730"
    outcome = butler_command("query-dimension-records", repo_root, "cutout_extent", "--where", where)
    rows = [line.split() for line in outcome.output.splitlines() if "SPHEREx" in line]
    assert [row[-4:] for row in rows] == [["700", "760", "1400", "1460"]]


def test_a_dry_run_records_nothing(repo_root: Path, tmp_path: Path) -> None:
    ingest_level2(repo_root, cutout(tmp_path / "in"))
    ingest_level2(repo_root, "--dry-run", cutout(tmp_path / "in", number=1))
    assert len(extents(repo_root)) == 1


def test_a_whole_frame_needs_no_record(repo_root: Path, tmp_path: Path) -> None:
    cutout(tmp_path / "in", origin=(0, 0), shape=(SIDE, SIDE))
    assert ingest_level2(repo_root, tmp_path / "in").code == 0
    assert not extents(repo_root)
    assert len(find(repo_root, 50, 50).table) == 1


def test_a_cutout_without_the_position_is_not_listed(repo_root: Path, tmp_path: Path) -> None:
    ingest_level2(repo_root, "--transfer", "direct", cutout(tmp_path / "in"))
    (tmp_path / "in" / name_of()).unlink()
    found = find(repo_root, 730, 1430)
    assert found.table["exposure"].tolist() == [exposure_of()]
    # Nobody opened the file, which is gone.
    assert not found.problems
    for x, y in ((100, 100), (730, 1430 + 60), (730 - 60, 1430)):
        found = find(repo_root, x, y)
        assert (len(found.table), found.problems) == (0, ())
    assert len(find(repo_root, 730, 1430 + 60, radius=31 * 6.15 / 3600).table) == 1
    assert len(find(repo_root, 730, 1430 + 60, radius=10 * 6.15 / 3600).table) == 0


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("x", "y", "is_in"),
    [(699.6, 1430, True), (699.4, 1430, False), (730, 1459.4, True), (730, 1459.6, False), (759.4, 1399.6, True)],
)
def test_the_edge_of_a_cutout_is_judged_by_the_header(
    repo_root: Path, tmp_path: Path, x: float, y: float, is_in: bool, exact: bool
) -> None:
    ingest_level2(repo_root, cutout(tmp_path / "in"))
    table = find(repo_root, x, y, exact=exact).table
    assert len(table) == is_in
    if is_in:
        assert (table["x"][0], table["y"][0]) == pytest.approx((x, y), abs=1e-3)
        assert table["xy_error"][0] == 0


def test_an_unreadable_cutout_at_an_edge_is_listed_with_the_problem(repo_root: Path, tmp_path: Path) -> None:
    path = cutout(tmp_path / "in")
    ingest_level2(repo_root, "--transfer", "direct", path)
    path.unlink()
    found = find(repo_root, 703, 1430)
    assert found.table["xy_error"].tolist() == [10.0]
    assert path.name in found.problems[0]


def test_another_version_with_the_position_is_listed(repo_root: Path, tmp_path: Path) -> None:
    newer = "l2b-v21-2025-354"
    ingest_level2(repo_root, cutout(tmp_path / "old"), cutout(tmp_path / "new", run=newer, origin=(730, 1400)))
    for x, run in ((710, "l2b-v20-2025-299"), (750, newer), (780, newer)):
        for exact in (False, True):
            assert find(repo_root, x, 1430, exact=exact).table["run"].tolist() == [f"SPHEREx/level2/{run}"]
    assert len(find(repo_root, 800, 1430).table) == 0
    # A version with the position counts before a newer one that the circle touches.
    for x, run in ((710, "l2b-v20-2025-299"), (750, newer), (690, newer)):
        for exact in (False, True):
            table = find(repo_root, x, 1430, exact=exact, radius=60 * 6.15 / 3600).table
            assert table["run"].tolist() == [f"SPHEREx/level2/{run}"]


def test_a_whole_frame_is_found_behind_a_newer_cutout(repo_root: Path, tmp_path: Path) -> None:
    newer = "l2b-v21-2025-354"
    frame = cutout(tmp_path / "old", origin=(0, 0), shape=(SIDE, SIDE))
    ingest_level2(repo_root, frame, cutout(tmp_path / "new", run=newer))
    assert find(repo_root, 730, 1430).table["run"].tolist() == [f"SPHEREx/level2/{newer}"]
    assert find(repo_root, 100, 100).table["run"].tolist() == ["SPHEREx/level2/l2b-v20-2025-299"]


def make_version_1(directory: Path) -> Path:
    """Make a repository of version 1 of the universe, which does not record extents."""
    root = directory / "version_1"
    seed = Config("resource://spherex/configs/butler.yaml")
    Butler.makeRepo(str(root), config=seed, dimensionConfig=str(OLD_DIMENSIONS), forceConfigRoot=False)
    return root


def forget(repo: Path) -> None:
    """Remove the extents, as if the images had been ingested before extents were recorded."""
    with contextlib.closing(sqlite3.connect(repo / "spherex.sqlite3")) as connection, connection:
        connection.execute("DELETE FROM cutout_extent")


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_behind_a_newer_cutout_without_a_record_is_found(
    repo_root: Path, tmp_path: Path, version: int
) -> None:
    newer = "l2b-v21-2025-354"
    repo = repo_root if version == 2 else make_version_1(tmp_path)
    old = cutout(tmp_path / "old", origin=(0, 1400))
    assert ingest_level2(repo, old, cutout(tmp_path / "new", run=newer)).code == 0
    if version == 2:
        forget(repo)
    for radius in (0.0, 10 * 6.15 / 3600):
        # The position is near the edge of the frame, where headers are read.
        assert find(repo, 5, 1430, radius=radius).table["run"].tolist() == ["SPHEREx/level2/l2b-v20-2025-299"]
    assert len(find(repo, 5, 1470).table) == 0


def test_images_without_a_record_count_as_whole_frames_until_ingested_again(repo_root: Path, tmp_path: Path) -> None:
    path = cutout(tmp_path / "in")
    ingest_level2(repo_root, path)
    before = extents(repo_root)
    forget(repo_root)
    assert len(find(repo_root, 100, 100).table) == 1
    assert len(find(repo_root, 100, 100, exact=True).table) == 0
    assert ingest_level2(repo_root, path).counts["already there"] == 1
    assert extents(repo_root) == before
    assert len(find(repo_root, 100, 100).table) == 0


@pytest.mark.parametrize("shape", [SHAPE, (SIDE, SIDE)])
def test_the_extent_is_that_of_the_file_that_took_the_place(
    repo_root: Path, tmp_path: Path, shape: tuple[int, int]
) -> None:
    path = cutout(tmp_path / "in")
    ingest_level2(repo_root, "--transfer", "direct", path)
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        butler.pruneDatasets(butler.query_datasets("level2", "SPHEREx/level2"), purge=True, unstore=True)
    cutout(tmp_path / "in", origin=(0, 0), shape=shape)
    assert ingest_level2(repo_root, "--update-records", path).code == 0
    assert len(find(repo_root, 30, 30).table) == 1
    assert len(find(repo_root, 730, 1430).table) == (shape != SHAPE)


def test_extents_are_transferred_with_the_images(make_repo: Any, tmp_path: Path) -> None:
    source, target = make_repo(tmp_path / "source"), make_repo(tmp_path / "target")
    ingest_level2(source, cutout(tmp_path / "in"))
    options = ["--register-dataset-types", "--transfer-dimensions", "--transfer", "copy"]
    outcome = butler_command("transfer-datasets", *options, source, target)
    assert outcome.code == 0, outcome
    assert extents(target) == extents(source) != {}


def test_a_repository_of_version_1_works_without_extents(tmp_path: Path) -> None:
    root = make_version_1(tmp_path)
    assert ingest_level2(root, cutout(tmp_path / "in")).code == 0
    assert len(find(root, 730, 1430).table) == len(find(root, 100, 100).table) == 1
    assert len(find(root, 730, 1430, exact=True).table) == 1
    assert len(find(root, 100, 100, exact=True).table) == 0


def test_pixels_are_shown_as_well_as_they_are_known(repo_root: Path, tmp_path: Path) -> None:
    ingest_level2(repo_root, cutout(tmp_path / "in"))
    place = [f"{angle:.8f}" for angle in position(730.04, 1430.04)]
    shown = butler_command("find-images", repo_root, *place).output.splitlines()[2].split()
    assert shown[-3:-1] == ["~730", "~1430"]
    shown = butler_command("find-images", repo_root, "--exact", *place).output.splitlines()[2].split()
    assert shown[-3:-1] == ["730.0", "1430.0"]
    path = tmp_path / "images.ecsv"
    butler_command("find-images", repo_root, *place, "--output", path)
    table = Table.read(path)
    assert (table["xy_error"][0], table["xy_error"].unit) == (10.0, "pix")
    assert table["x"][0] == pytest.approx(730.04, abs=10)
    assert table["x"][0] != round(table["x"][0])


def test_pixels_of_a_simulated_frame_are_those_of_its_array(repo_root: Path, tmp_path: Path) -> None:
    options = ["--exposures", "1", "--shape", "64", "--quiet"]
    run_well("spherex-simulate", tmp_path / "in", *options)
    assert ingest(repo_root, tmp_path / "in").code == 0
    (path,) = (tmp_path / "in").glob("**/sim_exposure_*_array_3.fits")
    wcs = celestial_wcs(fits.getheader(path, "IMAGE"))
    assert wcs is not None
    ra, dec = map(float, wcs.pixel_to_world_values(20.0, 50.0))
    where = {"instrument": "simulator", "dataset_type": "rawexp", "collections": ("rawexpr",)}
    with Butler.from_config(str(repo_root)) as butler:
        for exact, error in ((False, 0.4), (True, 1e-3)):
            table = find_images(butler, Criteria(ra, dec, **where, detectors=(3,)), exact=exact).table
            assert (table["x"][0], table["y"][0]) == pytest.approx((20.0, 50.0), abs=error)
            assert table["xy_error"][0] <= error
            touching = Criteria(*map(float, wcs.pixel_to_world_values(20.0, 66.0)), **where, radius=0.5)
            assert find_images(butler, touching, exact=exact).table["y"][0] == pytest.approx(66.0, abs=error)


def test_pixels_with_the_distortions_of_another_image_are_known_to_half_a_pixel(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = {key: cards_of(0, 1, (0, 0))[key] for key in ("CRVAL1", "CRVAL2")}
    paths = [cutout(tmp_path / "in", number=number, change=same) for number in range(12)]
    assert ingest_level2(repo_root, *paths).code == 0
    read: list[str] = []
    original = pixels_module.read_frame
    monkeypatch.setattr(pixels_module, "read_frame", lambda uri: read.append(str(uri)) or original(uri))
    # Three pixels from the edge: the header of one of them is enough for all.
    table = find(repo_root, 703, 1430).table
    assert (len(table), len(read)) == (12, 1)
    assert sorted(table["xy_error"].tolist()) == [0.0, *[0.5] * 11]
    place = [f"{angle:.8f}" for angle in position(703, 1430)]
    shown = [line.split()[-3] for line in butler_command("find-images", repo_root, *place).output.splitlines()[2:]]
    assert sorted(shown) == ["703.0", *["~703"] * 11]
    assert len(find(repo_root, 697, 1430).table) == 0
