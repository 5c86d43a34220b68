"""ObsCore tables, of the repository itself and exported, and SIAv2 queries."""

from __future__ import annotations

import importlib.util
import shutil
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lsst.daf.butler import Butler, Config, DatasetRef, FileDataset
from lsst.daf.butler.registry.obscore import RecordFactory

from spherex.detectors import DETECTORS
from spherex.obscore import get_record_factory

from .ingest_helpers import butler_command
from .search_helpers import FIRST_MJD, NEW, OLD, Image, add_images, prepare

SEED = "resource://spherex/configs/butler_obscore.yaml"
DIMENSIONS = "resource://spherex/configs/dimensions.yaml"
CONFIG = "resource://spherex/configs/obscore.yaml"
COLUMNS = {"access_format": "application/fits", "calib_level": 2, "dataproduct_type": "image"}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Return an empty repository with an ObsCore table."""
    root = tmp_path / "repo"
    outcome = butler_command("create", "--override", "--seed-config", SEED, "--dimension-config", DIMENSIONS, root)
    assert outcome.code == 0, outcome
    return root


def rows(repo: Path) -> list[dict[str, Any]]:
    with Butler.from_config(str(repo)) as butler:
        manager = butler.registry.obsCoreTableManager
        assert manager is not None
        with manager.query() as result:
            return [dict(row) for row in result.mappings()]


def test_factories_are_entry_points() -> None:
    (factory,) = entry_points(group="butler.obscore_factory", name="spherex")
    assert factory.load() is get_record_factory
    (siav2,) = entry_points(group="dax_obscore.siav2", name="spherex")
    assert siav2.value == "spherex.obscore:get_siav2_handler"
    assert issubclass(get_record_factory(), RecordFactory)


def test_repository_with_a_table_is_like_any_other(repo: Path, make_repo: Any, tmp_path: Path) -> None:
    with_table = Config(str(repo / "butler.yaml"))
    without = Config(str(make_repo(tmp_path / "other") / "butler.yaml"))
    assert "includeConfigs" not in with_table
    del with_table["registry", "managers", "obscore"]
    assert with_table == without


def test_a_failed_create_is_mended_as_the_documentation_says(tmp_path: Path) -> None:
    seed, root = tmp_path / "seed.yaml", tmp_path / "repo"
    config = Config(SEED)
    config["registry", "managers", "obscore", "config", "collection_type"] = "RUNS"
    config.dumpToUri(seed)
    create = ["create", "--override", "--dimension-config", DIMENSIONS, root, "--seed-config"]
    assert "Input should be 'RUN' or 'TAGGED'" in butler_command(*create, seed).output
    assert "its database has no tables of a repository" in butler_command("ingest-level2", root, tmp_path).output
    assert "File exists" in butler_command(*create, SEED).output
    shutil.rmtree(root)
    assert butler_command(*create, SEED).code == 0


def test_ingested_images_are_in_the_table(repo: Path, tmp_path: Path) -> None:
    images = [
        Image(0, 3, survey="deep_north"),
        Image(1, 6, ra=200.0, dec=-70.0),
        Image(1, 6, ra=200.0, dec=-70.0, run=OLD),
    ]
    add_images(repo, images, tmp_path / "files")
    first, second, older = sorted(rows(repo), key=lambda row: (row["exposure"], row["run"]))
    assert COLUMNS.items() <= first.items()
    assert (first["facility_name"], first["instrument_name"]) == ("SPHEREx", "SPHEREx")
    assert first["obs_id"] == first["obs_creator_did"] == "2025W20_1A_0000_1D3"
    assert first["exposure"] == images[0].observation.exposure
    assert first["detector"] == 3
    assert first["obs_publisher_did"].endswith(f"&id={first['registry_dataset_id']}")
    assert len({row["obs_publisher_did"] for row in (first, second, older)}) == 3
    assert first["t_min"] == pytest.approx(FIRST_MJD, abs=1e-9)
    assert first["t_max"] == pytest.approx(FIRST_MJD + 115.1175 / 86400, abs=1e-9)
    assert first["t_exptime"] == 113.58
    assert first["target_name"] == "27376"
    # It may be a cutout.
    assert (first["s_xel1"], first["s_xel2"]) == (None, None)
    assert (first["em_min"], first["em_max"]) == pytest.approx((1.63e-6, 2.41e-6))
    assert first["em_res_power"] == DETECTORS[2].r
    assert first["energy_bandpassname"] == first["em_filter_name"] == "SPHEREx-D3"
    assert (second["run"], older["run"]) == (f"SPHEREx/level2/{NEW}", f"SPHEREx/level2/{OLD}")
    assert second["energy_bandpassname"] == "SPHEREx-D6"
    assert (second["s_ra"], second["s_dec"]) == pytest.approx((200.0, -70.0), abs=0.05)
    word, frame, *numbers = second["s_region"].split()
    assert (word, frame) == ("POLYGON", "ICRS")
    corners = np.array(numbers, float).reshape(-1, 2)
    true = np.array([images[1].position(x, y) for x in (-0.5, 2039.5) for y in (-0.5, 2039.5)])
    assert np.min(np.abs(true[:, np.newaxis] - corners).max(axis=-1), axis=1).max() < 2e-6


def test_removed_images_leave_the_table(repo: Path, tmp_path: Path) -> None:
    add_images(repo, [Image(0), Image(1)], tmp_path / "files")
    with Butler.from_config(str(repo), writeable=True) as butler:
        refs = butler.query_datasets(
            "level2", "SPHEREx/level2", where="instrument='SPHEREx' AND exposure=20252010100001"
        )
        butler.pruneDatasets(refs, disassociate=True, unstore=True, purge=True)
    assert [row["exposure"] for row in rows(repo)] == [20252010100011]


def test_image_without_region_and_time_has_a_row(repo: Path, tmp_path: Path) -> None:
    path = tmp_path / "image.fits"
    path.touch()
    with Butler.from_config(str(repo), writeable=True) as butler:
        prepare(butler)
        run = f"SPHEREx/level2/{NEW}"
        butler.collections.register(run)
        data_id = {"instrument": "SPHEREx", "exposure": 5, "detector": 2}
        butler.registry.insertDimensionData("exposure", {"instrument": "SPHEREx", "id": 5, "name": "five"})
        butler.registry.insertDimensionData("exposure_detector_region", data_id)
        ref = DatasetRef(butler.get_dataset_type("level2"), butler.registry.expandDataId(data_id), run=run)
        butler.ingest(FileDataset(str(path), [ref]), transfer="direct")
    (row,) = rows(repo)
    assert row["obs_id"] == "fiveD2"
    assert {name for name in ("s_region", "s_ra", "t_min", "t_max", "t_exptime") if row[name] is not None} == set()


def test_other_dataset_types_and_runs_stay_out(repo: Path, tmp_path: Path) -> None:
    add_images(repo, [Image(0)], tmp_path / "files")
    # The table of wavelengths is in the same run, and is no image.
    assert len(rows(repo)) == 1


needs_dax = pytest.mark.skipif(
    importlib.util.find_spec("lsst.dax") is None, reason="needs the tools: pip install lsst-dax-obscore"
)


@pytest.fixture
def plain(repo_root: Path, tmp_path: Path) -> Path:
    """Return a repository without an ObsCore table, of images of all detectors."""
    add_images(repo_root, [Image(n, d) for n in range(2) for d in range(1, 7)], tmp_path / "files", wavelengths=False)
    return repo_root


@needs_dax
def test_table_is_exported(plain: Path, tmp_path: Path) -> None:
    import pyarrow.parquet

    path = tmp_path / "obscore.parquet"
    options = ["--config", CONFIG, "--collections", "SPHEREx/level2"]
    outcome = butler_command("obscore", "export", *options, plain, path)
    assert outcome.code == 0, outcome
    table = pyarrow.parquet.read_table(path).to_pylist()
    assert sorted(row["obs_id"] for row in table) == [f"2025W20_1A_000{n}_1D{d}" for n in range(2) for d in range(1, 7)]
    assert all(row["s_region"].startswith("POLYGON ICRS ") for row in table)
    assert all(row["em_min"] < row["em_max"] < 5.1e-6 for row in table)


@needs_dax
@pytest.mark.parametrize(
    ("options", "detectors"),
    [
        ([], [1, 2, 3, 4, 5, 6]),
        (["--band", "4.6e-6 4.7e-6"], [6]),
        (["--band", "1.0e-6", "--band", "4.2e-6"], [1, 5]),
        (["--band", "9e-6"], []),
        (["--pos", "CIRCLE 30 40 0.1", "--band", "1.7e-6"], [3]),
        (["--pos", "CIRCLE 90 40 0.1"], []),
        (["--instrument", "SPHEREx", "--time", f"{FIRST_MJD} {FIRST_MJD + 0.5}", "--band", "1.7e-6"], [3]),
    ],
)
def test_siav2_queries(plain: Path, tmp_path: Path, options: list[str], detectors: list[int]) -> None:
    from astropy.table import Table

    path = tmp_path / "found.vot"
    common = ["--config", CONFIG, "--collections", "SPHEREx/level2"]
    outcome = butler_command("obscore", "siav2", *common, *options, plain, path)
    assert outcome.code == 0, outcome
    assert sorted(set(Table.read(path, format="votable")["detector"].tolist())) == detectors
