"""What version 2 of the universe added, and repositories of version 1."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsst.daf.butler import Butler, Config, DatasetType
from lsst.daf.butler.datastore.file_templates import FileTemplate
from lsst.sphgeom import Angle, LonLat, Region, UnitVector3d
from lsst.utils import doImportType

from .ingest_helpers import butler_command, datasets, ingest, write_file
from .level2_helpers import ingest_level2, level2_datasets, level2_record, write_level2, write_many
from .targets_helpers import positions, register, write_csv

OLD_DIMENSIONS = Path(__file__).parent / "data" / "dimensions_1.yaml"
SEED = "resource://spherex/configs/butler.yaml"

STATE = {
    "X_SC_START": 5202.549456378194,
    "Y_SC_START": 219.3065332520285,
    "Z_SC_START": 4712.279472218596,
    "VX_SC_START": 5.034972380230296,
    "VY_SC_START": -1.1974290936664072,
    "VZ_SC_START": -5.476785719031565,
    "XYZ_SC_SYSTEM": "GEOCENTER",
    "VXYZ_SC_SYSTEM": "GEOCENTER",
    "X_SC": 5481.951086440418,
    "Y_SC": 150.0940688632607,
    "Z_SC": 4388.6535283501635,
    "VX_SC": 4.682025825872335,
    "VY_SC": -1.2096334037448198,
    "VZ_SC": -5.778226402051567,
    "X_SC_END": 5740.54502655975,
    "Y_SC_END": 80.31179958648417,
    "Z_SC_END": 4048.3250332208077,
    "VX_SC_END": 4.311326293318862,
    "VY_SC_END": -1.2172457555106817,
    "VZ_SC_END": -6.057664206921169,
}
"""Cards of a genuine QR2 image, level2_2025W51_1A_0684_2D3_spx_l2b-v21-2025-354.fits."""


def field_of(keyword: str) -> str:
    axis, _, end = keyword.lower().partition("_sc")
    return f"spacecraft_{axis}{end or '_middle'}"


FIELDS = {field_of(keyword): value for keyword, value in STATE.items() if "SYSTEM" not in keyword}


def state_of(repo: Path) -> dict[str, float | None]:
    record = level2_record(repo)
    return {field: getattr(record, field) for field in FIELDS}


@pytest.fixture
def old_repo(tmp_path: Path) -> Path:
    """Return a repository with version 1 of the universe."""
    root = tmp_path / "old"
    Butler.makeRepo(str(root), config=Config(SEED), dimensionConfig=str(OLD_DIMENSIONS), forceConfigRoot=False)
    return root


def test_the_state_of_the_spacecraft_is_recorded(repo_root: Path, tmp_path: Path) -> None:
    outcome = ingest_level2(repo_root, write_level2(tmp_path / "in", change=STATE))
    assert outcome.code == 0
    assert state_of(repo_root) == FIELDS
    assert len(FIELDS) == 18


@pytest.mark.parametrize(
    "change",
    [{}, STATE | {"XYZ_SC_SYSTEM": "HELIOCENTER"}, STATE | {"VXYZ_SC_SYSTEM": None}],
    ids=["QR1", "other", "no"],
)
def test_a_state_without_the_geocentre_is_unknown(repo_root: Path, tmp_path: Path, change: dict) -> None:
    assert ingest_level2(repo_root, write_level2(tmp_path / "in", change=change)).code == 0
    assert set(state_of(repo_root).values()) == {None}


def test_a_state_that_is_not_a_number_is_refused(repo_root: Path, tmp_path: Path) -> None:
    outcome = ingest_level2(repo_root, write_level2(tmp_path / "in", change=STATE | {"VY_SC_END": "fast"}))
    assert outcome.code == 1
    assert "VY_SC_END" in outcome.failures[0]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_detectors_differ_by_the_way_in_a_millisecond(repo_root: Path, tmp_path: Path, order: tuple[int, int]) -> None:
    later = STATE | {"Z_SC": STATE["Z_SC"] - 0.0058, "VZ_SC": STATE["VZ_SC"] - 8e-6}
    for detector in order:
        path = write_level2(tmp_path / "in", detector=detector, change=STATE if detector == 1 else later)
        assert ingest_level2(repo_root, path).code == 0
    assert state_of(repo_root) == FIELDS | {
        "spacecraft_z_middle": later["Z_SC"],
        "spacecraft_vz_middle": later["VZ_SC"],
    }


@pytest.mark.parametrize("change", [{"X_SC": STATE["X_SC"] + 11}, {"VX_SC": STATE["VX_SC"] + 0.011}])
def test_another_state_contradicts(repo_root: Path, tmp_path: Path, change: dict) -> None:
    ingest_level2(repo_root, write_level2(tmp_path / "in", change=STATE))
    outcome = ingest_level2(repo_root, write_level2(tmp_path / "in", detector=2, change=STATE | change))
    assert outcome.code == 1
    (keyword,) = change
    assert field_of(keyword) in outcome.failures[0]


def test_a_later_release_completes_the_state(repo_root: Path, tmp_path: Path) -> None:
    ingest_level2(repo_root, write_level2(tmp_path / "in"))
    ingest_level2(repo_root, write_level2(tmp_path / "in", run="l2b-v21-2025-354", change=STATE))
    assert state_of(repo_root) == FIELDS


def test_targets_that_are_near_share_a_patch(repo_root: Path, tmp_path: Path) -> None:
    rows = ("a,10,20", "b,10.001,20.001", "far,200,-40")
    assert register(repo_root, "cat", write_csv(tmp_path / "cat.csv", *rows, header="name,ra,dec")).code == 0
    patches, targets = patches_of(repo_root), targets_of(repo_root)
    assert targets["a"].patch == targets["b"].patch != targets["far"].patch
    assert {one: record.targets for one, record in patches.items()} == {targets["a"].patch: 2, targets["far"].patch: 1}
    for target in targets.values():
        # A circle does not contain itself: sphgeom allows for errors of 6e-8 rad.
        assert patches[target.patch].region.dilatedBy(Angle(1e-7)).contains(target.region)


def test_a_target_that_moves_leaves_other_patches_alone(repo_root: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "cat.csv", "a,10,20", "b,10.001,20.001", "far,200,-40", header="name,ra,dec")
    register(repo_root, "cat", path)
    before, old = patches_of(repo_root), targets_of(repo_root)["b"].patch
    write_csv(path, "a,10,20", "b,60.001,20.001", "far,200,-40", header="name,ra,dec")
    assert register(repo_root, "cat", path, "--update").code == 0
    after, targets = patches_of(repo_root), targets_of(repo_root)
    new = targets["b"].patch
    assert after[old].targets == after[new].targets == 1
    assert after[old].region.getOpeningAngle() < before[old].region.getOpeningAngle()
    assert after[targets["far"].patch] == before[targets["far"].patch]
    write_csv(path, "a,60,20", "b,60.001,20.001", "far,200,-40", header="name,ra,dec")
    assert register(repo_root, "cat", path, "--update").code == 0
    emptied = patches_of(repo_root)[old]
    assert (emptied.targets, emptied.region) == (0, None)


def patches_of(repo: Path) -> dict:
    with Butler.from_config(str(repo)) as butler:
        return {one.id: one for one in butler.query_dimension_records("patch", catalog="cat")}


def targets_of(repo: Path) -> dict:
    with Butler.from_config(str(repo)) as butler:
        return {one.name: one for one in butler.query_dimension_records("target", catalog="cat")}


def test_patches_and_targets_are_joined_to_the_images_that_cover_them(repo_root: Path, tmp_path: Path) -> None:
    write_many(tmp_path / "in", 1, [1])
    ingest_level2(repo_root, tmp_path / "in")
    with Butler.from_config(str(repo_root)) as butler:
        (record,) = butler.query_dimension_records("exposure_detector_region", instrument="SPHEREx")
    middle = LonLat(record.region.getCentroid())
    ra, dec = middle.getLon().asDegrees(), middle.getLat().asDegrees()
    edge = next(dec + step / 100 for step in range(400) if not covers(record.region, ra, dec + step / 100))
    rows = (f"inside,{ra},{edge - 0.05}", f"outside,{ra},{edge + 0.05}", "far,200,-40")
    assert register(repo_root, "cat", write_csv(tmp_path / "cat.csv", *rows, header="name,ra,dec")).code == 0
    with Butler.from_config(str(repo_root)) as butler, butler.query() as query:
        query = query.where(instrument="SPHEREx", catalog="cat")
        found = {one["target"] for one in query.data_ids(["exposure", "detector", "target"])}
        patches = {one["patch"] for one in query.data_ids(["exposure", "detector", "patch"])}
    targets = targets_of(repo_root)
    assert targets["inside"].patch == targets["outside"].patch
    assert found == {"inside"}
    assert patches == {targets["inside"].patch}


def covers(region: Region, ra: float, dec: float) -> bool:
    return region.contains(UnitVector3d(LonLat.fromDegrees(ra, dec)))


def test_files_of_patches_and_of_targets_are_named_by_them(butler: Butler) -> None:
    butler.registry.syncDimensionData("catalog", {"name": "cat", "desc": ""})
    butler.registry.insertDimensionData("patch", {"catalog": "cat", "id": 51234, "targets": 1})
    butler.registry.insertDimensionData("target", {"catalog": "cat", "patch": 51234, "name": "star"})
    for name, dimensions in (("of_patch", ("catalog", "patch")), ("of_target", ("catalog", "target"))):
        dataset_type = DatasetType(name, dimensions, "StructuredDataDict", universe=butler.dimensions)
        butler.registry.registerDatasetType(dataset_type)
        FileTemplate(butler._config[".datastore.templates.default"]).validateTemplate(dataset_type)
    patch = butler.put({}, "of_patch", catalog="cat", patch=51234, run="run")
    target = butler.put({}, "of_target", catalog="cat", target="star", run="run")
    assert butler.getURI(patch).basename().startswith("of_patch_cat_51234_run")
    assert butler.getURI(target).basename().startswith("of_target_cat_star_run")


def test_a_repository_of_version_1_takes_images(old_repo: Path, tmp_path: Path) -> None:
    write_many(tmp_path / "in", 2, [1, 4], **{"change": STATE})
    outcome = ingest_level2(old_repo, tmp_path / "in")
    assert (outcome.code, outcome.counts["ingested"]) == (0, 4)
    assert len(level2_datasets(old_repo)) == 4
    record = level2_record(old_repo)
    assert record.survey == "all_sky"
    assert not hasattr(record, "spacecraft_x_start")
    assert ingest_level2(old_repo, tmp_path / "in").counts["already there"] == 4
    found = butler_command("find-images", old_repo, "32", "40.0")
    assert found.code == 0, found.output


def test_a_repository_of_version_1_takes_simulated_files(old_repo: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in")
    assert ingest(old_repo, tmp_path / "in").code == 0
    assert len(datasets(old_repo)) == 1


def test_a_repository_of_version_1_takes_targets(old_repo: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "cat.csv", "a,10,20", header="name,ra,dec")
    assert register(old_repo, "cat", path).code == 0
    write_csv(path, "a,10,21", "b,10,22", header="name,ra,dec")
    assert register(old_repo, "cat", path, "--update").code == 0
    assert positions(old_repo, "cat") == {"a": (10.0, 21.0), "b": (10.0, 22.0)}


@pytest.mark.parametrize(
    "name",
    [
        "spherex.formatters.CCDDataFormatter",
        "spherex.formatters.HDUListFormatter",
        "spherex.formatters.JsonPackagesFormatter",
        "spherex.formatters.NumpyFormatter",
        "spherex.formatters.RefusedFormatter",
        "spherex.formatters.SPHERExImageDelegate",
        "spherex.formatters.SPHERExImageFormatter",
        "spherex.formatters.tables.NativeParquetFormatter",
        "spherex.formatters.tables.PlainQTableFormatter",
        "spherex.image.Box",
        "spherex.image.FlagPlane",
        "spherex.image.Psf",
        "spherex.image.SPHERExImage",
        "spherex.image.Wavelength",
        "spherex.instrument.SPHEREx",
        "spherex.instrument.SimulatorInstrument",
    ],
)
def test_names_that_repositories_keep_are_importable(name: str) -> None:
    """In the configuration, the records of files and of instruments of every repository made before."""
    assert isinstance(doImportType(name), type)
