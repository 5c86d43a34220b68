"""Bad Level 2 files: the same table as that of simulated ones."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from lsst.daf.butler import Butler, CollectionType

from .damages import cut, dangling, empty, grow, not_fits
from .ingest_helpers import Bare, ingest_bound, snapshot
from .level2_helpers import (
    NEWER,
    RUN,
    SIDE,
    chain_of,
    ingest_level2,
    level2_datasets,
    level2_record,
    level2_region,
    name_of,
    obsid_of,
    write_level2,
    write_many,
)

DAMAGES = [
    (not_fits, "not FITS.*intact copy"),
    (empty, "the file is empty.*intact copy"),
    (cut(1000), "cut short.*intact copy"),
    (cut(4000), "cut short or damaged.*intact copy"),
    (cut(11600), "cut short.*intact copy"),
    (cut(6 * 2880 + 500), "cut short.*intact copy"),
    (cut(4 * 2880 - 1), r"cut short: it ends at byte 11519, HDU 1 \(IMAGE\) at byte 11520.*intact copy"),
    (cut(2880), "no 2-D image in HDU IMAGE.*intact copy"),
    (dangling, "does not exist; check its name"),
]


@pytest.mark.parametrize("name", [None, "mine.fits"])
@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_damaged_file(
    repo_root: Path, tmp_path: Path, damage: Callable[[Path], None], message: str, name: str | None
) -> None:
    write_many(tmp_path / "in", 1, [1, 2, 4])
    path = write_level2(tmp_path / "in", 0, 3, name=name)
    damage(path)
    outcome = ingest_level2(repo_root, "--processing-run", RUN, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 3
    (failure,) = outcome.failures
    assert failure.startswith(f"failed: {path}: ")
    assert re.search(message, failure), failure
    assert level2_datasets(repo_root).keys() == {(0, detector) for detector in (1, 2, 4)}


BAD_CARDS = [
    ({"OBSID": None}, "OBSID is missing in the header"),
    ({"EXPIDN": None}, "EXPIDN is missing in the header"),
    ({"DETECTOR": None}, "DETECTOR is missing in the header"),
    ({"OBSID": "2025W43"}, "OBSID in the header: '2025W43' is not an observation ID"),
    ({"EXPIDN": 7}, "EXPIDN in the header is 7, but OBSID 2025W43_1A_0000_1 and DETECTOR 3 make 202543101000013"),
    ({"EXPIDN": "202543101000013"}, "EXPIDN in the header is '202543101000013'"),
    ({"DETECTOR": 7}, "DETECTOR in the header is 7, not 1 to 6"),
    ({"DETECTOR": 3.0}, "DETECTOR in the header is 3.0, not 1 to 6"),
    (
        {"DETECTOR": 6, "EXPIDN": 202543101000016},
        ": DETECTOR in the header is 6, but the file name has 3; rename the file",
    ),
    (
        {"OBSID": "2025W43_1A_0000_2", "EXPIDN": 202543101000023},
        ": OBSID in the header is 2025W43_1A_0000_2, but the file name has 2025W43_1A_0000_1; rename the file, ",
    ),
    ({"MJD-BEG": Bare("NaN")}, "nan"),
    ({"MJD-END": None}, "MJD-END is missing"),
    ({"MJD-BEG": None, "MJD-END": None}, "MJD-BEG and MJD-END are missing in the header"),
    ({"MJD-BEG": 60972.0}, "is not after the begin"),
    ({"DATE-BEG": "2025-10-23T01:00:00.000"}, "DATE-BEG in the header is 2025-10-23T01:00:00.000, but MJD-BEG is"),
    ({"TIMESYS": "TDB"}, "the time scale 'TDB' is neither UTC nor TAI"),
    ({"XPOSURE": "long"}, "XPOSURE in the header is not a number"),
    ({"XPOSURE": -1.0}, "XPOSURE in the header is -1.0, not 0 or more"),
    ({"DATE-BEG": "2025-10-23T00:00:00.000+02:00"}, "DATE-BEG is not a date"),
    ({"SPS_ELAT": 99.0}, "SPS_ELAT in the header is not a latitude"),
    ({"CRVAL1": Bare("NaN")}, "CRVAL1 of the WCS is not a number: nan"),
    ({"CRVAL2": None}, "the WCS is incomplete: CRVAL2 is missing"),
    ({"CTYPE1": None, "CTYPE2": None, "CRVAL1": None, "CRVAL2": None}, "the header has no celestial WCS"),
    ({"CRPIX1A": None, "CRPIX1": 9000.0}, "by WCS A (CRPIX1A is missing) its 6 pixels on axis 1 begin at pixel"),
    ({"CRPIX2A": -2036.0}, r"by WCS A (CRPIX2A is -2036) its 6 pixels on axis 2 begin at pixel 2037 of the frame"),
    ({"CRPIX1A": 5.0}, "by WCS A (CRPIX1A is 5) its 6 pixels on axis 1 begin at pixel -4 of the frame"),
    ({"CRPIX1A": -3.5}, "by WCS A (CRPIX1A is -3.5)"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CARDS, ids=str)
def test_bad_header(repo_root: Path, tmp_path: Path, change: dict, message: str) -> None:
    write_many(tmp_path / "in", 1, [1, 2])
    path = write_level2(tmp_path / "in", 0, 3, change=change)
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 2
    (failure,) = outcome.failures
    assert failure.startswith(f"failed: {path}: ")
    assert message in failure
    assert "fix the header" in failure
    with Butler.from_config(str(repo_root)) as butler:
        regions = butler.query_dimension_records("exposure_detector_region", instrument="SPHEREx")
        assert {record.detector for record in regions} == {1, 2}


@pytest.mark.parametrize(
    ("shape", "origin", "message"),
    [
        ((SIDE, SIDE), (1, 0), "by WCS A (CRPIX1A is 0) its 2040 pixels on axis 1 begin at pixel 1 of the frame"),
        ((6, SIDE + 8), (0, 0), "the image has 6 x 2048 pixels, but the detector has 2040 x 2040"),
    ],
)
def test_sizes_that_cannot_be(
    repo_root: Path, tmp_path: Path, shape: tuple[int, int], origin: tuple[int, int], message: str
) -> None:
    path = write_level2(tmp_path, shape=shape, origin=origin, planes=[])
    outcome = ingest_level2(repo_root, path)
    assert outcome.code == 1
    assert message in outcome.failures[0]


def test_whole_frame_needs_no_wcs_a(repo_root: Path, tmp_path: Path) -> None:
    without = {"CRPIX1A": None, "CRPIX2A": None, "CDELT1A": None, "CDELT2A": None}
    path = write_level2(tmp_path, shape=(SIDE, SIDE), origin=(0, 0), planes=[], change=without)
    assert ingest_level2(repo_root, path).code == 0


def test_planes_of_another_shape(repo_root: Path, tmp_path: Path) -> None:
    path = write_level2(tmp_path)
    content = path.read_bytes()
    at = content.rindex(b"NAXIS2  =                    6", 0, content.index(b"'VARIANCE'"))
    path.write_bytes(content[:at] + b"NAXIS2  =                    5" + content[at + 30 :])
    outcome = ingest_level2(repo_root, path)
    assert outcome.code == 1
    assert (
        "its HDUs VARIANCE and IMAGE have different shapes: (5, 6) and (6, 6) (rows, columns); replace the file with "
        "an intact copy" in outcome.failures[0]
    )


OPTIONAL = ["SPS_TARGET", "SPS_FLAGS", "SPS_ELON", "SPS_ELAT", "SPS_EPA", "XPOSURE", "TIMESYS", "L2 N_SOURCE", "BUNIT"]


def test_other_keys_may_be_missing(repo_root: Path, tmp_path: Path) -> None:
    write_level2(tmp_path / "in", 0, 1, change=dict.fromkeys(OPTIONAL))
    assert ingest_level2(repo_root, tmp_path / "in").code == 0
    record = level2_record(repo_root)
    assert record.timespan is not None
    assert record.ra_boresight is record.roll is record.survey is record.target_name is record.exposure_time is None
    write_level2(tmp_path / "more", 0, 2)
    assert ingest_level2(repo_root, tmp_path / "more").code == 0
    assert level2_record(repo_root).survey == "all_sky", "what one detector does not tell another one fills in"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (name_of(0, 3).replace("D3_", "D0_"), "its name is not level2_<observation>D<detector>_spx_<run>.fits"),
        (name_of(0, 3).replace("D3_", "D7_"), "with a detector 1 to 6"),
        (name_of(0, 3).replace("W43", "W4"), "rename it"),
    ],
)
def test_bad_names(repo_root: Path, tmp_path: Path, name: str, message: str) -> None:
    write_many(tmp_path / "in", 1, [1, 2])
    path = write_level2(tmp_path / "in", 0, 3, name=name)
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 2
    assert outcome.failures[0].startswith(f"failed: {path}: ")
    assert message in outcome.failures[0]


def test_calibrations_in_the_tree_are_passed_over(repo_root: Path, tmp_path: Path) -> None:
    write_many(tmp_path / "in", 1, [1, 2])
    path = write_level2(tmp_path / "in", 0, 3, name="spectral_wcs_D1_spx_cal-wcs-v4-2025-254.fits")
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert (outcome.code, outcome.counts["found"], outcome.counts["ingested"]) == (0, 2, 2)
    # By name it is refused, whatever the regular expression.
    outcome = ingest_level2(repo_root, "--regex", "fits", path)
    assert outcome.code == 1
    assert "its name is that of a calibration" in outcome.failures[0]


@pytest.mark.parametrize("name", ["sim_exposure_000001_array_3.fits", "sim_exposure_000001_array_3_dark_current.fits"])
def test_images_of_the_simulator_have_another_command(repo_root: Path, tmp_path: Path, name: str) -> None:
    path = write_level2(tmp_path / "in", name=name)
    (failure,) = ingest_level2(repo_root, "--processing-run", RUN, path).failures
    assert failure.endswith("its name is that of a raw image of the simulator; use butler ingest-simulated")


def test_name_that_does_not_match(repo_root: Path, tmp_path: Path) -> None:
    outcome = ingest_level2(repo_root, write_level2(tmp_path, name="image.png"))
    assert outcome.code == 1
    assert "it has no name of this kind of file" in outcome.failures[0]


def test_directory_of_another_detector(repo_root: Path, tmp_path: Path) -> None:
    path = write_level2(tmp_path / RUN / "4", 0, 3, name="m31.fits")
    outcome = ingest_level2(repo_root, path)
    assert outcome.code == 1
    assert "DETECTOR in the header is 3, but its directory is 4" in outcome.failures[0]


def test_the_same_file_by_two_names(repo_root: Path, tmp_path: Path) -> None:
    path = write_level2(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "link.fits").symlink_to(path)
    outcome = ingest_level2(repo_root, "--processing-run", RUN, tmp_path / "a", tmp_path / "b")
    assert outcome.code == 0
    assert outcome.counts["ingested"] == outcome.counts["skipped"] == 1


def other_header(path: Path) -> None:
    write_level2(path.parent, change={"XPOSURE": 50.0})


def other_pixels(path: Path) -> None:
    write_level2(path.parent, seed=99)


@pytest.mark.parametrize(
    ("mode", "change", "message"),
    [
        ("copy", grow, "its content is not that of the ingested file"),
        ("copy", other_pixels, "its content is not that of the ingested file"),
        ("copy", other_header, "its content is not that of the ingested file"),
        ("direct", other_header, "was replaced in place since, by another content"),
    ],
)
def test_changed_file_under_a_known_name(
    repo_root: Path, tmp_path: Path, mode: str, change: Callable[[Path], None], message: str
) -> None:
    path = write_level2(tmp_path / "in")
    write_level2(tmp_path / "in", 0, 2)
    ingest_level2(repo_root, "--transfer", mode, tmp_path / "in")
    before = snapshot(repo_root)
    change(path)
    outcome = ingest_level2(repo_root, "--transfer", mode, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["already there"] == 1
    assert outcome.failures[0].startswith(f"failed: {path}: ")
    assert message in outcome.failures[0]
    assert "--dataset-type" in outcome.failures[0] or "--update-records" in outcome.failures[0]
    assert snapshot(repo_root) == before
    assert ingest_level2(repo_root, "--skip-existing", tmp_path / "in").code == 0


def test_reissued_file_that_the_repository_points_to(repo_root: Path, tmp_path: Path) -> None:
    """The archive replaced the PSFs of files under their old names."""
    path = write_level2(tmp_path / "in")
    ingest_level2(repo_root, "--transfer", "direct", path)
    grow(path)
    other_pixels(path)
    outcome = ingest_level2(repo_root, "--transfer", "direct", path)
    assert outcome.code == 0
    assert outcome.counts["already there"] == 1


def test_file_of_the_repository_is_gone(repo_root: Path, tmp_path: Path) -> None:
    write_level2(tmp_path / "in")
    ingest_level2(repo_root, "--transfer", "copy", tmp_path / "in")
    os.remove(level2_datasets(repo_root)[0, 1].ospath)
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert outcome.code == 1
    assert "is missing or cannot be reached" in outcome.failures[0]


@pytest.mark.parametrize("location", ["empty", "missing"])
def test_empty_or_missing_directory(repo_root: Path, tmp_path: Path, location: str) -> None:
    (tmp_path / "empty").mkdir()
    write_level2(tmp_path / "in")
    outcome = ingest_level2(repo_root, tmp_path / location, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 1
    assert str(tmp_path / location) in outcome.failures[0]


def test_link_loop(repo_root: Path, tmp_path: Path) -> None:
    write_many(tmp_path / "in", 1, [1, 2])
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert outcome.code == 0
    assert outcome.counts["found"] == 2


@pytest.mark.parametrize("name", [None, "mine.fits"])
def test_fail_fast(repo_root: Path, tmp_path: Path, name: str | None) -> None:
    write_many(tmp_path / "in", 2)
    write_level2(tmp_path / "in", 0, 2, name=name).write_bytes(b"")
    outcome = ingest_level2(repo_root, "--fail-fast", "--processing-run", RUN, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 0
    assert outcome.counts["not tried"] == (12 if name else 11)
    assert len(outcome.failures) == 1
    assert level2_datasets(repo_root) == {}


@pytest.mark.slow
def test_without_permission(repo_root: Path, tmp_path: Path) -> None:
    paths = write_many(tmp_path / "in", 1, [1, 2])
    write_many(tmp_path / "in" / "closed", 1, [3])
    os.chmod(paths[1], 0)
    os.chmod(tmp_path / "in" / "closed", 0)
    outcome = ingest_bound(repo_root, tmp_path / "in", command="ingest-level2")
    os.chmod(tmp_path / "in" / "closed", 0o755)
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 1
    text = "\n".join(outcome.failures)
    assert f"failed: {paths[1]}: no permission to read it; ask its owner or use chmod" in text
    assert "the directory cannot be searched (Permission denied)" in text


def test_no_repository(tmp_path: Path) -> None:
    write_level2(tmp_path / "in")
    outcome = ingest_level2(tmp_path / "none", tmp_path / "in")
    assert outcome.code == 1
    assert "is not a repository of the Butler" in outcome.output


def test_repository_of_another_universe(tmp_path: Path) -> None:
    Butler.makeRepo(str(tmp_path / "lsst"))
    write_level2(tmp_path / "in")
    outcome = ingest_level2(tmp_path / "lsst", tmp_path / "in")
    assert outcome.code == 1
    assert "not 'spherex'" in outcome.output


@pytest.mark.parametrize(
    ("name", "collection_type", "message"),
    [
        ("SPHEREx/level2", CollectionType.RUN, "'SPHEREx/level2' of the repository is of type RUN, not CHAINED"),
        (f"SPHEREx/level2/{RUN}", CollectionType.TAGGED, "is of type TAGGED, not RUN: remove or rename it"),
    ],
)
def test_collection_of_another_type(
    repo_root: Path, tmp_path: Path, name: str, collection_type: CollectionType, message: str
) -> None:
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        butler.collections.register(name, collection_type)
    outcome = ingest_level2(repo_root, write_level2(tmp_path))
    assert outcome.code == 1
    assert message in outcome.output


def test_dataset_type_of_another_kind(repo_root: Path, tmp_path: Path) -> None:
    outcome = ingest_level2(repo_root, "--dataset-type", "level2_wavelength", write_level2(tmp_path))
    assert outcome.code == 1
    assert "choose another name by --dataset-type" in outcome.output


def test_failures_leave_good_runs_alone(repo_root: Path, tmp_path: Path) -> None:
    paths = [write_level2(tmp_path / "in", 0, 1)]
    paths.append(write_level2(tmp_path / "in", 0, 1, run=NEWER, change={"CRVAL1": 200.0}))
    together = ingest_level2(repo_root, tmp_path / "in")
    assert together.counts["ingested"] == 0, "which one is right is not guessed"
    assert [line.split(": ")[1] for line in together.failures] == [str(path) for path in paths]
    assert ingest_level2(repo_root, paths[0]).counts["ingested"] == 1
    assert "--update-records" in ingest_level2(repo_root, paths[1]).failures[0]
    assert level2_datasets(repo_root).keys() == {(0, 1)}
    assert level2_region(repo_root) is not None
    assert set(chain_of(repo_root)) == {f"SPHEREx/level2/{RUN}", f"SPHEREx/level2/{NEWER}"}
    assert obsid_of(0) == level2_record(repo_root).name


def test_a_file_of_another_kind(repo_root: Path, tmp_path: Path) -> None:
    path = tmp_path / "map.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((4, 4)), name="SCI")]).writeto(path)
    (failure,) = ingest_level2(repo_root, path).failures
    remedy = "; replace the file with an intact copy"
    assert failure.endswith(f"no 2-D image in HDU IMAGE{remedy}, or leave it out if it is a file of another kind")
    # The name of an image: it was cut short between two HDUs.
    path.rename(write_level2(tmp_path))
    (failure,) = ingest_level2(repo_root, tmp_path).failures
    assert failure.endswith(f"no 2-D image in HDU IMAGE{remedy}")
