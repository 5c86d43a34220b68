from __future__ import annotations

import itertools
import math
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from lsst.daf.butler import Butler
from lsst.sphgeom import LonLat, UnitVector3d

from spherex.archive import Level2Name
from spherex.errors import HeaderError
from spherex.ingest.level2 import origin_of

from .ingest_helpers import butler_command, snapshot
from .level2_helpers import (
    NEWER,
    OLDER,
    RETRY,
    RUN,
    SIDE,
    chain_of,
    exposure_of,
    ingest_level2,
    level2_datasets,
    level2_record,
    level2_region,
    name_of,
    write_level2,
    write_many,
)

CUTOUT = "cutout, smaller than the frame of 2040 x 2040 pixels"


def test_all_samples(repo_root: Path, archive_samples: list[Path]) -> None:
    outcome = ingest_level2(repo_root, "--transfer", "direct", archive_samples[0].parent)
    assert outcome.code == 0
    assert outcome.counts["ingested"] == 24
    assert f"24 of them: {CUTOUT}" in outcome.output
    assert [child.rpartition("/")[2] for child in chain_of(repo_root)] == [
        "l2b-v12-2025-176",
        "l2b-v12-2025-175",
        "l2b-v12-2025-164",
        "l2b-v11-2025-163",
        "l2b-v11-2025-162",
    ]
    names = {path.name: Level2Name.parse(path.name) for path in archive_samples}
    with Butler.from_config(str(repo_root)) as butler:
        refs = butler.query_datasets(
            "level2",
            collections="SPHEREx/level2",
            where="exposure_detector_region.region OVERLAPS POINT(308.027, 38.350)",
            instrument="SPHEREx",
        )
        found = {Path(butler.getURI(ref).ospath).name: ref for ref in refs}
        tables = butler.query_datasets("level2_wavelength", collections="SPHEREx/level2", find_first=False)
    assert found.keys() == names.keys()
    for name, ref in found.items():
        assert ref.run == f"SPHEREx/level2/{names[name].run}"
        assert ref.dataId["exposure"] == names[name].observation.exposure
        assert ref.dataId["detector"] == names[name].detector
    pairs = {(f"SPHEREx/level2/{name.run}", name.detector) for name in names.values()}
    assert {(ref.run, ref.dataId["detector"]) for ref in tables} == pairs
    assert len(tables) == 14


def test_samples_lie_where_astropy_says(repo_root: Path, archive_samples: list[Path]) -> None:
    """The region is that of the frame, though the file is a cutout of 6 x 6 pixels."""
    ingest_level2(repo_root, archive_samples[0].parent)
    with Butler.from_config(str(repo_root)) as butler:
        records = butler.query_dimension_records("exposure_detector_region", instrument="SPHEREx")
        regions = {(record.exposure, record.detector): record.region for record in records}
        exposures = {record.id: record for record in butler.query_dimension_records("exposure", instrument="SPHEREx")}
    for path in archive_samples:
        header = fits.getheader(path, "IMAGE")
        region = regions[header["EXPIDN"] // 10, header["DETECTOR"]]
        x0, y0 = 1 - header["CRPIX1A"], 1 - header["CRPIX2A"]
        wcs = WCS(header)
        edge = np.array([(-0.5, -0.5), (SIDE - 0.5, -0.5), (SIDE - 0.5, SIDE - 0.5), (-0.5, SIDE - 0.5)])
        assert len(region.getVertices()) == 4
        for x, y in edge - (x0, y0):
            sky = wcs.pixel_to_world(x, y)
            corner = UnitVector3d(LonLat.fromDegrees(sky.ra.deg, sky.dec.deg))
            assert min((corner - vertex).getNorm() for vertex in region.getVertices()) < 5e-9
        if header["DETECTOR"] in (2, 5):
            # The middle detectors lie at the boresight, and their rows along
            # the focal plane's: to two arcminutes and a degree.
            record = exposures[header["EXPIDN"] // 10]
            centre, up = wcs.pixel_to_world([1019.5 - x0] * 2, [1019.5 - y0, 1119.5 - y0])
            separation = math.hypot(
                (centre.ra.deg - record.ra_boresight) * math.cos(math.radians(record.dec_boresight)),
                centre.dec.deg - record.dec_boresight,
            )
            assert separation < 0.05
            assert abs((centre.position_angle(up).deg - record.roll + 180) % 360 - 180) < 1.1


def test_what_is_recorded(repo_root: Path, tmp_path: Path) -> None:
    write_many(tmp_path / "in", 2, [1, 4])
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert outcome.code == 0
    assert outcome.counts == {"found": 4, "ingested": 4, "already there": 0, "skipped": 0, "failed": 0}
    assert level2_datasets(repo_root).keys() == {(0, 1), (0, 4), (1, 1), (1, 4)}
    record = level2_record(repo_root, 1)
    assert record.name == "2025W43_1A_0000_2"
    assert (record.group_name, record.group_id) == ("2025W43_1A", None)
    assert (record.survey, record.target_name, record.exposure_time) == ("all_sky", "87514", 113.5826)
    with Butler.from_config(str(repo_root)) as butler:
        ref = butler.find_dataset(
            "level2",
            instrument="SPHEREx",
            exposure=exposure_of(1),
            detector=4,
            collections="SPHEREx/level2",
            datastore_records=True,
        )
        assert ref is not None
        assert ref.run == f"SPHEREx/level2/{RUN}"
        (records,) = ref._datastore_records.values()  # type: ignore[union-attr]
        assert records[0].file_size == -1, "the archive replaces files under the same name"
        assert butler.get(ref).unit == "MJy / sr"


def test_file_sizes_on_request(repo_root: Path, tmp_path: Path) -> None:
    path = write_level2(tmp_path / "in")
    ingest_level2(repo_root, "--track-file-attrs", "--transfer", "direct", path)
    with path.open("ab") as stream:
        stream.write(bytes(2880))
    outcome = ingest_level2(repo_root, path)
    assert outcome.code == 1
    assert "the ingested file had" in outcome.failures[0]


@pytest.mark.parametrize("skip", [[], ["--skip-existing"]])
def test_again_changes_nothing(repo_root: Path, tmp_path: Path, skip: list[str]) -> None:
    write_many(tmp_path / "in", 2)
    ingest_level2(repo_root, tmp_path / "in")
    before = snapshot(repo_root)
    outcome = ingest_level2(repo_root, tmp_path / "in", *skip)
    assert outcome.code == 0
    assert outcome.counts["skipped" if skip else "already there"] == 12
    assert snapshot(repo_root) == before


def test_the_report_says_what_has_changed_in_a_record(tmp_path: Path, make_repo: Callable[..., Path]) -> None:
    repo = make_repo(tmp_path / "repo")
    assert "changed" not in ingest_level2(repo, write_level2(tmp_path / "in", 0, 2)).output
    outcome = ingest_level2(repo, write_level2(tmp_path / "in", 0, 1))
    line = "1 exposure record changed: values joined with those of another image, equal within tolerances\n"
    assert line in outcome.output
    later = {"MJD-END": 60971.001332312 + 1 / 86400}
    outcome = ingest_level2(repo, write_level2(tmp_path / "in", 0, 1, run=NEWER, change=later))
    assert "1 exposure record changed: times widened to those of another processing run\n" in outcome.output


def test_records_do_not_depend_on_the_order(tmp_path: Path, make_repo: Callable[..., Path]) -> None:
    """Detectors differ in time, and two runs in astrometry; files come together or one by one."""
    paths = [write_level2(tmp_path / "in", 0, detector) for detector in range(1, 7)]
    paths += [
        write_level2(tmp_path / "in", 0, detector, run=NEWER, change={"CRVAL2": 40.003, "MJD-END": 60971.001332319})
        for detector in range(1, 7)
    ]
    whole = make_repo(tmp_path / "whole")
    assert ingest_level2(whole, "-j", 3, *paths).code == 0
    expected = snapshot(whole)
    record = level2_record(whole)
    begins = [60971.0, 60971.000000012]
    assert record.timespan.nsec[1] - record.timespan.nsec[0] > round(0.0013323 * 86400e9)
    assert begins[1] - begins[0] > 0
    generator = random.Random(3)
    for number in range(3):
        repo = make_repo(tmp_path / f"repo{number}")
        generator.shuffle(paths)
        for part in itertools.batched(paths, 5) if hasattr(itertools, "batched") else [paths[:5], paths[5:]]:
            assert ingest_level2(repo, *(["--skip-existing"] if number else []), *part).code == 0
        found = snapshot(repo)
        for element in ("exposure", "exposure_detector_region"):
            assert found[element] == expected[element]


def test_a_second_of_difference_is_a_conflict(repo_root: Path, tmp_path: Path) -> None:
    first = write_level2(tmp_path / "in", 0, 1)
    late = write_level2(tmp_path / "in", 0, 2, change={"MJD-END": 60971.0013323 + 1 / 86400})
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert outcome.code == 1
    for failure, one, other in zip(outcome.failures, (first, late), (late, first), strict=True):
        assert failure.startswith(f"failed: {one}: timespan of exposure")
        assert f"in {other}; fix or leave out the wrong one" in failure


def test_astrometry_that_moves_far_is_a_conflict(repo_root: Path, tmp_path: Path) -> None:
    ingest_level2(repo_root, write_level2(tmp_path / "in", 0, 1))
    moved = write_level2(tmp_path / "in", 0, 1, run=NEWER, change={"CRVAL2": 40.1})
    outcome = ingest_level2(repo_root, moved)
    assert outcome.code == 1
    assert "region of exposure_detector_region" in outcome.failures[0]
    before = level2_region(repo_root)
    assert ingest_level2(repo_root, "--update-records", moved).code == 0
    assert level2_region(repo_root) != before


def test_newest_run_is_found_first(repo_root: Path, tmp_path: Path) -> None:
    for run in (RUN, NEWER, OLDER, RETRY):
        write_level2(tmp_path / run, 0, 1, run=run, seed=len(run))
        assert ingest_level2(repo_root, tmp_path / run).code == 0
    assert chain_of(repo_root) == [f"SPHEREx/level2/{run}" for run in (NEWER, RETRY, RUN, OLDER)]
    with Butler.from_config(str(repo_root)) as butler:
        refs = butler.query_datasets("level2", collections="SPHEREx/level2", instrument="SPHEREx")
        assert [ref.run for ref in refs] == [f"SPHEREx/level2/{NEWER}"]
        every = butler.query_datasets("level2", collections="SPHEREx/level2", find_first=False, instrument="SPHEREx")
        assert len(every) == 4


def test_cutout_and_whole_frame_have_one_region(repo_root: Path, tmp_path: Path) -> None:
    whole = write_level2(tmp_path / "whole", origin=(0, 0), shape=(SIDE, SIDE), planes=["FLAGS", "VARIANCE"])
    outcome = ingest_level2(repo_root, whole)
    assert outcome.code == 0
    assert CUTOUT not in outcome.output
    region = level2_region(repo_root)
    cutout = write_level2(tmp_path / "cut")
    outcome = ingest_level2(repo_root, "--dataset-type", "cutout", cutout)
    assert outcome.code == 0
    assert "1 of them: cutout, smaller than the frame of 2040 x 2040 pixels" in outcome.output
    for one, other in zip(region.getVertices(), level2_region(repo_root).getVertices(), strict=True):
        assert (one - other).getNorm() < 1e-12
    assert level2_datasets(repo_root, "cutout").keys() == level2_datasets(repo_root).keys() == {(0, 1)}
    assert chain_of(repo_root) == [f"SPHEREx/level2/{RUN}"]


def test_whole_frame_without_planes_is_counted(repo_root: Path, tmp_path: Path) -> None:
    path = write_level2(tmp_path, origin=(0, 0), shape=(SIDE, SIDE), planes=[])
    outcome = ingest_level2(repo_root, path)
    assert outcome.code == 0
    assert "1 of them: whole frame without FLAGS or VARIANCE, perhaps cut short" in outcome.output


def test_two_cutouts_of_one_image(repo_root: Path, tmp_path: Path) -> None:
    first = write_level2(tmp_path / "a")
    second = write_level2(tmp_path / "b", origin=(0, 0), seed=5)
    outcome = ingest_level2(repo_root, first, second)
    assert outcome.code == 1
    assert len(outcome.failures) == 2
    assert all(str(first) in line and str(second) in line and "--dataset-type" in line for line in outcome.failures)
    assert ingest_level2(repo_root, "--transfer", "direct", first).code == 0
    outcome = ingest_level2(repo_root, second)
    assert outcome.code == 1
    assert str(first) in outcome.failures[0]
    assert str(second) in outcome.failures[0]
    assert "--dataset-type" in outcome.failures[0]


def test_of_copies_the_one_with_the_name_of_the_archive_is_ingested(repo_root: Path, tmp_path: Path) -> None:
    path = write_level2(tmp_path / "in")
    copy = shutil.copy(path, path.with_name(f"{path.stem} (1).fits"))
    outcome = ingest_level2(repo_root, "--transfer", "direct", tmp_path / "in")
    assert outcome.code == 0, outcome
    assert f"skipped: {copy}: it is a copy of {path}\n" in outcome.output
    assert [uri.ospath for uri in level2_datasets(repo_root).values()] == [str(path)]
    assert ingest_level2(repo_root, tmp_path / "in").counts == outcome.counts | {"ingested": 0, "already there": 1}


def test_copies_of_a_file_are_ingested_once(repo_root: Path, tmp_path: Path) -> None:
    first, second = (write_level2(tmp_path / name) for name in "ab")
    (tmp_path / "c").mkdir()
    link = tmp_path / "c" / first.name
    link.symlink_to(first)
    copy = ("--transfer", "copy", "--list-stored", tmp_path / "stored.txt")
    outcome = ingest_level2(repo_root, link, second, first, *copy)
    assert (outcome.code, outcome.counts["ingested"], outcome.counts["skipped"]) == (0, 1, 2)
    assert f"skipped: {second}: it is a copy of {first}" in outcome.output
    assert (tmp_path / "stored.txt").read_text() == f"{first}\n"
    assert "2 originals not listed: it is a copy of a file in LOCATIONS" in outcome.output
    # A second time the counts are the same.
    outcome = ingest_level2(repo_root, link, second, first)
    assert (outcome.code, outcome.counts["already there"], outcome.counts["skipped"]) == (0, 1, 2)
    # The copy alone is compared with the dataset.
    outcome = ingest_level2(repo_root, second, *copy)
    assert (outcome.code, outcome.counts["already there"]) == (0, 1)
    assert (tmp_path / "stored.txt").read_text() == f"{second}\n"


def wavelength_tables(repo: Path) -> dict[tuple[str, int], list[int]]:
    """Return the control points along X of each table, by run and detector."""
    with Butler.from_config(str(repo)) as butler:
        if not list(butler.registry.queryDatasetTypes("level2_wavelength")):
            return {}
        refs = butler.query_datasets(
            "level2_wavelength", collections="SPHEREx/level2", find_first=False, explain=False, limit=None
        )
        tables = {}
        for ref in refs:
            hdus = butler.get(ref)
            assert [hdu.name for hdu in hdus] == ["PRIMARY", "WCS-WAVE"]
            tables[ref.run.rpartition("/")[2], ref.dataId["detector"]] = hdus[1].data["X"][0].tolist()
    return tables


def test_wavelength_tables_are_kept_once(repo_root: Path, tmp_path: Path) -> None:
    write_many(tmp_path / "in", 3, [1, 2])
    write_many(tmp_path / "in", 1, [1], run=NEWER)
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert "3 datasets level2_wavelength made from them" in outcome.output
    expected = {(RUN, 1): [1, SIDE], (RUN, 2): [1, SIDE], (NEWER, 1): [1, SIDE]}
    assert wavelength_tables(repo_root) == expected
    write_many(tmp_path / "more", 5, [1, 2])
    outcome = ingest_level2(repo_root, tmp_path / "more")
    assert "level2_wavelength" not in outcome.output
    assert wavelength_tables(repo_root) == expected


def test_table_of_a_part_of_the_frame_is_not_kept(repo_root: Path, tmp_path: Path) -> None:
    write_many(tmp_path / "cut", 3, [1], grid=(700, 706))
    write_level2(tmp_path / "none", 3, 1, grid=None)
    assert ingest_level2(repo_root, tmp_path / "cut", tmp_path / "none").code == 0
    assert wavelength_tables(repo_root) == {}
    whole = write_level2(tmp_path / "whole", 4, 1, origin=(0, 0), shape=(SIDE, SIDE))
    assert ingest_level2(repo_root, tmp_path / "cut", whole).code == 0
    assert wavelength_tables(repo_root) == {(RUN, 1): [1, SIDE]}


def test_damaged_table(repo_root: Path, tmp_path: Path) -> None:
    bad = write_level2(tmp_path / "in", 0, 1)
    bad.write_bytes(bad.read_bytes().replace(b"TTYPE1  = 'X", b"TTYPE1  = 'Q"))
    write_level2(tmp_path / "in", 1, 1)
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 1
    assert outcome.failures[0].startswith(
        f"failed: {bad}: the table WCS-WAVE of the wavelength solution has no column X"
    )
    assert wavelength_tables(repo_root) == {(RUN, 1): [1, SIDE]}


def test_dry_run_writes_nothing(repo_root: Path, tmp_path: Path) -> None:
    write_many(tmp_path / "in", 2)
    before = sorted((path, path.stat().st_mtime_ns) for path in repo_root.rglob("*"))
    outcome = ingest_level2(repo_root, "--dry-run", tmp_path / "in")
    assert outcome.code == 0
    assert outcome.counts["would be ingested"] == 12
    assert sorted((path, path.stat().st_mtime_ns) for path in repo_root.rglob("*")) == before


def test_tree_of_the_archive(repo_root: Path, tmp_path: Path) -> None:
    for run in (RUN, NEWER):
        for detector in (1, 3, 6):
            name = Level2Name.parse(name_of(0, detector, run))
            write_level2((tmp_path / "qr2" / "level2" / name.tree).parent, 0, detector, run=run)
    outcome = ingest_level2(repo_root, tmp_path / "qr2")
    assert outcome.counts["ingested"] == 6
    assert level2_datasets(repo_root).keys() == level2_datasets(repo_root, run=NEWER).keys()


def test_names_of_the_user(repo_root: Path, tmp_path: Path) -> None:
    write_level2(tmp_path / "tree" / RUN / "2", 0, 2, name="m31.fits")
    other = write_level2(tmp_path / "flat", 1, 2, name="cutout_1.fits")
    outcome = ingest_level2(repo_root, tmp_path / "tree", tmp_path / "flat")
    assert outcome.code == 1
    (failure,) = outcome.failures
    assert failure.startswith(f"failed: {other}: neither its name nor its directory contains its processing run")
    assert "--processing-run l2b-v20-2025-299" in failure
    assert level2_datasets(repo_root).keys() == {(0, 2)}
    outcome = ingest_level2(repo_root, "--processing-run", NEWER, tmp_path / "tree", tmp_path / "flat")
    assert outcome.code == 1
    (failure,) = outcome.failures
    assert f"its directory contains the run {RUN}, but --processing-run is {NEWER}" in failure
    assert level2_datasets(repo_root, run=NEWER).keys() == {(1, 2)}


def test_files_of_another_repository_tell_their_run(
    repo_root: Path, tmp_path: Path, make_repo: Callable[..., Path]
) -> None:
    for run in (RUN, NEWER):
        write_level2(tmp_path / "in", run=run)
    other = make_repo(tmp_path / "other")
    assert ingest_level2(other, "--transfer", "copy", tmp_path / "in").code == 0
    addresses = [*level2_datasets(other).values(), *level2_datasets(other, run=NEWER).values()]
    (tmp_path / "images.txt").write_text("".join(f"{address}\n" for address in addresses))
    outcome = ingest_level2(repo_root, tmp_path / "images.txt")
    assert (outcome.code, outcome.counts["ingested"]) == (0, 2)
    assert level2_datasets(repo_root).keys() == level2_datasets(repo_root, run=NEWER).keys() == {(0, 1)}


def test_nameless_files_of_one_exposure_are_in_one_batch(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spherex.ingest import writer as batch

    sizes = []
    write = batch.BatchWriter.write

    def record(self: object, files: list, trial: bool = False) -> object:
        sizes.append([file.group for file in files])
        return write(self, files, trial)  # type: ignore[arg-type]

    monkeypatch.setattr(batch.BatchWriter, "write", record)
    for number, (exposure, detector) in enumerate(itertools.product(range(2), range(1, 7))):
        write_level2(tmp_path / "in", exposure, detector, name=f"{(7 * number) % 12:02d}.fits")
    assert ingest_level2(repo_root, "--processing-run", RUN, tmp_path / "in").code == 0
    assert sizes == [[exposure_of(0)] * 6 + [exposure_of(1)] * 6]


def test_bad_dataset_type(repo_root: Path, tmp_path: Path) -> None:
    write_level2(tmp_path)
    outcome = ingest_level2(repo_root, "--dataset-type", "my type", tmp_path)
    assert outcome.code == 1
    assert re.search(r"'my type' cannot be used in this repository: .*\w\. Choose another name by --", outcome.output)


def test_bad_processing_run(repo_root: Path, tmp_path: Path) -> None:
    outcome = ingest_level2(repo_root, "--processing-run", "v20", tmp_path)
    assert outcome.code == 2
    assert "'v20' is not a processing run of the form l2b-v20-2025-299" in outcome.output


def test_registered_by_the_stock_command(repo_root: Path, tmp_path: Path) -> None:
    assert butler_command("register-instrument", repo_root, "spherex.instrument.SPHEREx").code == 0
    with Butler.from_config(str(repo_root)) as butler:
        (record,) = butler.query_dimension_records("instrument")
        assert (record.name, record.class_name) == ("SPHEREx", "spherex.instrument.SPHEREx")
        assert record.exposure_max > exposure_of(0)
        detectors = butler.query_dimension_records("detector", instrument="SPHEREx")
    assert sorted(detector.full_name for detector in detectors) == ["D1", "D2", "D3", "D4", "D5", "D6"]
    assert ingest_level2(repo_root, write_level2(tmp_path)).code == 0


def test_help_names_the_options() -> None:
    text = butler_command("ingest-level2", "--help").output
    for option in ("--dataset-type", "--processing-run", "--transfer", "--skip-existing", "--no-track-file-attrs"):
        assert option in text


def test_table_that_a_killed_process_left_behind(
    repo_root: Path, tmp_path: Path, make_repo: Callable[..., Path]
) -> None:
    """Its file is in the datastore, of which the registry knows nothing."""
    path = write_level2(tmp_path / "in")
    other = make_repo(tmp_path / "other")
    ingest_level2(other, path)
    with Butler.from_config(str(other)) as butler:
        (ref,) = butler.query_datasets("level2_wavelength", collections="SPHEREx/level2")
        place = Path(butler.getURI(ref).ospath).relative_to(other)
    (repo_root / place).parent.mkdir(parents=True)
    (repo_root / place).write_bytes(b"half of a table")
    assert ingest_level2(repo_root, path).code == 0
    assert wavelength_tables(repo_root) == {(RUN, 1): [1, SIDE]}


def test_run_without_a_place_in_the_chain(repo_root: Path, tmp_path: Path) -> None:
    """As a process leaves it that dies when it has registered the run."""
    path = write_level2(tmp_path / "in", run=OLDER)
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        butler.collections.register(f"SPHEREx/level2/{OLDER}")
    assert ingest_level2(repo_root, write_level2(tmp_path / "in", run=NEWER)).code == 0
    assert ingest_level2(repo_root, path).code == 0
    assert chain_of(repo_root) == [f"SPHEREx/level2/{NEWER}", f"SPHEREx/level2/{OLDER}"]
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        butler.collections.redefine_chain("SPHEREx/level2", [f"SPHEREx/level2/{NEWER}"])
    assert ingest_level2(repo_root, "--skip-existing", path).code == 0
    assert chain_of(repo_root) == [f"SPHEREx/level2/{NEWER}", f"SPHEREx/level2/{OLDER}"]


def test_runs_that_were_transferred_are_in_the_chain(
    repo_root: Path, tmp_path: Path, make_repo: Callable[..., Path]
) -> None:
    """The stock command copies runs, but not the chain."""
    middle = {"origin": (1016, 1016), "shape": (8, 8)}
    paths = [write_level2(tmp_path / "in", run=run, **middle) for run in (RUN, NEWER, OLDER, RETRY)]
    other = make_repo(tmp_path / "other")
    assert ingest_level2(other, "--transfer", "copy", *paths).code == 0
    copied = butler_command(
        "transfer-datasets", other, repo_root, "--collections", "SPHEREx/level2/*",
        "--register-dataset-types", "--transfer-dimensions", "-t", "copy",
    )  # fmt: skip
    assert copied.code == 0
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        butler.collections.register("SPHEREx/level2/mine")
    assert ingest_level2(repo_root, paths[2]).counts["already there"] == 1
    assert chain_of(repo_root) == chain_of(other) == [f"SPHEREx/level2/{run}" for run in (NEWER, RETRY, RUN, OLDER)]
    found = butler_command("find-images", repo_root, "30.5", "40.0")
    assert found.code == 0
    assert NEWER in found.output


def test_rows_and_columns_of_a_cutout_have_their_own_limits() -> None:
    cards = {"CRPIX1A": -29.0, "CRPIX2A": -2000.0}
    assert origin_of(cards, (39, 2010)) == (30, 2001)
    with pytest.raises(HeaderError, match="CRPIX1A is -29.* its 2011 pixels on axis 1 begin at pixel 30"):
        origin_of(cards, (39, 2011))
    with pytest.raises(HeaderError, match="CRPIX2A is -2000.* its 40 pixels on axis 2 begin at pixel 2001"):
        origin_of(cards, (40, 2010))
