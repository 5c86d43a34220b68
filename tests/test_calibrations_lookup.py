"""Tasks, find-images and stale-spectra look up the same calibration for an exposure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from lsst.daf.butler import (
    Butler,
    CollectionType,
    Config,
    DataCoordinate,
    DatasetRef,
    DatasetType,
    FileDataset,
    Timespan,
)
from lsst.daf.butler.formatters.parquet import astropy_to_arrow
from lsst.daf.butler.time_utils import TimeConverter
from lsst.pipe.base import Pipeline
from lsst.pipe.base.all_dimensions_quantum_graph_builder import AllDimensionsQuantumGraphBuilder

from spherex.calibrations import CalibrationIndex, instant_of, middle_of
from spherex.errors import RepositoryError
from spherex.provenance.images import instants_of
from spherex.search import Criteria, find_images
from spherex.spectra import IMAGES, gather_patch, make_plain_table
from spherex.targets import register_catalog

from .calibrations_helpers import write_maps
from .conftest import DIMENSIONS, SEED
from .ingest_helpers import butler_command
from .search_helpers import Image, add_images

RUNS = {"a": 1.0, "b": 2.0, "c": 3.0}
"""Runs with a calibration, and the wavelength of the first pixel in it (um)."""

IMAGE, TIMELESS = Image(0), Image(1)
"""The repository does not know the time of the second exposure."""

SECOND = 10**9
PIPELINE = "resource://spherex/pipelines/SpectrumPipeline.yaml#measureTargets"


def timespan(begin: int | None, end: int | None) -> Timespan:
    """Return a timespan between limits in TAI nanoseconds, exactly."""
    return Timespan(*[None if limit is None else TimeConverter().nsec_to_astropy(limit) for limit in (begin, end)])


def exposure_limits(butler: Butler) -> tuple[int, int]:
    (record,) = butler.query_dimension_records("exposure", instrument="SPHEREx", exposure=IMAGE.observation.exposure)
    begin, end = record.timespan.nsec
    return begin, end


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with two images, three calibrations in collections of all types, and a spectrum with each."""
    root = tmp_path_factory.mktemp("lookup") / "repo"
    Butler.makeRepo(str(root), config=Config(SEED), dimensionConfig=DIMENSIONS, forceConfigRoot=False)
    files = tmp_path_factory.mktemp("files")
    with Butler.from_config(str(root), writeable=True) as butler:
        add_images(root, [IMAGE], files)
        record = {"instrument": "SPHEREx", "id": TIMELESS.observation.exposure, "name": str(TIMELESS.observation)}
        butler.registry.insertDimensionData("exposure", record | {"group_name": TIMELESS.observation.planning_period})
        add_images(root, [TIMELESS], files)
        calibrations = {run: _put_calibration(butler, run, files) for run in RUNS}
        _collect(butler, calibrations)
        ra, dec = IMAGE.position(0, 0)
        register_catalog(butler, "mine", Table({"name": list(RUNS), "ra": [ra] * 3, "dec": [dec] * 3}), "")
        _put_spectra(butler, calibrations)
    return root


def _put_calibration(butler: Butler, run: str, folder: Path) -> DatasetRef:
    path = write_maps(folder / f"{run}.fits", {"CWAVE": RUNS[run], "CBAND": RUNS[run] / 40})
    _set_unit(path)
    butler.collections.register(run)
    data_id = butler.registry.expandDataId(instrument="SPHEREx", detector=1)
    ref = DatasetRef(butler.get_dataset_type("spectral_wcs"), data_id, run=run)
    butler.ingest(FileDataset(str(path), [ref]), transfer="direct")
    return ref


def _set_unit(path: Path) -> None:
    """Replace the unit of the planes, which has the same length."""
    content = path.read_bytes()
    assert content.count(b"'electron/s'") == 2
    path.write_bytes(content.replace(b"'electron/s'", b"'um        '"))


def _collect(butler: Butler, calibrations: dict[str, DatasetRef]) -> None:
    begin, end = exposure_limits(butler)
    middle = middle_of(begin, end)
    certified = {
        "SPHEREx/calib": [("c", None, None)],
        "elsewhere": [("a", None, None)],
        "first": [("b", None, None)],
        "before": [("a", None, begin)],
        "at the middle": [("a", begin, middle), ("b", middle, end)],
        "behind the middle": [("a", begin, middle + 1), ("b", middle + 1, end)],
        "early in the exposure": [("a", None, begin + SECOND), ("b", begin + SECOND, None)],
        "late in the exposure": [("a", None, end - SECOND), ("b", end - SECOND, None)],
    }
    for collection, ranges in certified.items():
        butler.collections.register(collection, CollectionType.CALIBRATION)
        for run, first, last in ranges:
            butler.registry.certify(collection, [calibrations[run]], timespan(first, last))
    butler.collections.register("tagged", CollectionType.TAGGED)
    butler.registry.associate("tagged", [calibrations["b"]])
    chains = {
        "first wins": ["first", "elsewhere"],
        "first has none": ["before", "first wins", "elsewhere"],
        "run in front": ["b", "elsewhere"],
    }
    for chain, children in chains.items():
        butler.collections.register(chain, CollectionType.CHAINED)
        butler.collections.redefine_chain(chain, children)


def _put_spectra(butler: Butler, calibrations: dict[str, DatasetRef]) -> None:
    """Put a spectrum of the image with each of the calibrations; its target has the name of the run."""
    dataset_type = DatasetType("spectra", ("catalog", "patch"), "SpectraTable", universe=butler.dimensions)
    butler.registry.registerDatasetType(dataset_type)
    butler.collections.register("spectra")
    images = {int(ref.dataId["exposure"]): ref for ref in butler.query_datasets("level2", "SPHEREx/level2")}
    tables = []
    for run, calibration in calibrations.items():
        values = {
            "target": run,
            "wavelength": 1.0,
            "detector": 1,
            "exposure": list(images),
            "image_id": [str(image.id) for image in images.values()],
            "spectral_wcs_id": str(calibration.id),
        }
        tables.append(astropy_to_arrow(make_plain_table(values, len(images))))
    (patch,) = {record.patch for record in butler.query_dimension_records("target", catalog="mine")}
    meta = {"instruments": ["SPHEREx"], IMAGES: [["SPHEREx", exposure, 1] for exposure in images]}
    butler.put(gather_patch(tables, meta), "spectra", catalog="mine", patch=patch, run="spectra")


CASES = [
    (["SPHEREx/calib"], "c"),
    (["elsewhere"], "a"),
    (["SPHEREx/calib", "elsewhere"], "c"),
    (["elsewhere", "SPHEREx/calib"], "a"),
    (["first wins"], "b"),
    (["first has none"], "b"),
    (["run in front"], "b"),
    (["b"], "b"),
    (["tagged"], "b"),
    (["before"], None),
    (["before", "c"], "c"),
    (["at the middle"], "b"),
    (["behind the middle"], "a"),
    (["early in the exposure"], "b"),
    (["late in the exposure"], "a"),
]


def of_tasks(repo: Path, collections: list[str]) -> dict[int, str | None]:
    """Return the run of the calibration in the quantum of each exposure."""
    with Butler.from_config(str(repo)) as butler:
        builder = AllDimensionsQuantumGraphBuilder(
            Pipeline.from_uri(PIPELINE).to_graph(),
            butler,
            input_collections=["SPHEREx/level2", "catalogs/mine", *collections],
            output_run="out",
        )
        graph = builder.finish(attach_datastore_records=False).assemble()
        found = {}
        for quantum in graph.build_execution_quanta(task_label="measureTargets").values():
            refs = quantum.inputs.get("spectral_wcs", [])
            found[int(quantum.dataId["exposure"])] = refs[0].run if refs else None
    return found


def of_find_images(repo: Path, collections: list[str], output: Path) -> dict[int, str | None]:
    """Return the run of the calibration that has the wavelength of each exposure at its first pixel."""
    ra, dec = IMAGE.position(0, 0)
    command = ["find-images", repo, ra, dec, "--calibrations", ",".join(collections), "--output", output]
    assert butler_command(*command, "--overwrite").code == 0
    runs = {wavelength: run for run, wavelength in RUNS.items()}
    table = Table.read(output)
    return {int(row["exposure"]): runs.get(float(row["wavelength"])) for row in table}


def of_stale_spectra(repo: Path, collections: list[str]) -> dict[str, int]:
    """Return the number of images of each spectrum for which another calibration is valid."""
    command = ["stale-spectra", repo, "spectra", "--calibrations", ",".join(collections), "--format", "ecsv"]
    outcome = butler_command(*command)
    assert outcome.code == 0, outcome
    text = outcome.output[outcome.output.index("# %ECSV") :]
    table = Table.read([line for line in text.splitlines() if " of 3 spectra" not in line], format="ascii.ecsv")
    return {row["target"]: int(row["recalibrated"]) for row in table}


@pytest.mark.parametrize(("collections", "run"), CASES, ids=lambda value: ",".join(value) if value else "none")
def test_all_users_look_up_the_same_calibration(
    repo: Path, tmp_path: Path, collections: list[str], run: str | None
) -> None:
    exposure, timeless = (image.observation.exposure for image in (IMAGE, TIMELESS))
    # Without its time, no calibration can be looked up for an exposure.
    assert of_tasks(repo, collections) == {exposure: run, timeless: None}
    assert of_find_images(repo, collections, tmp_path / "found.ecsv") == {exposure: run, timeless: None}
    assert of_stale_spectra(repo, collections) == {name: 1 for name in RUNS if name != run}


def test_the_default_is_the_collection_of_the_mission(repo: Path) -> None:
    with Butler.from_config(str(repo)) as butler:
        table = find_images(butler, Criteria(*IMAGE.position(0, 0))).table
    assert table["wavelength"][table["exposure"] == IMAGE.observation.exposure].tolist() == [RUNS["c"]]
    assert butler_command("stale-spectra", repo, "spectra").output.count("1 image with another spectral_wcs") == 2


@pytest.mark.parametrize("command", [["find-images", *IMAGE.position(0, 0)], ["stale-spectra", "spectra"]])
def test_a_collection_that_does_not_exist_is_refused(repo: Path, command: list[object]) -> None:
    outcome = butler_command(command[0], repo, *command[1:], "--calibrations", "elsewhere,nowhere")
    assert outcome.code == 1
    assert "nowhere" in outcome.output


def test_the_time_of_an_exposure_that_is_not_known_is_masked(repo: Path) -> None:
    with Butler.from_config(str(repo)) as butler:
        table = find_images(butler, Criteria(*IMAGE.position(0, 0))).table
    is_timeless = table["exposure"] == TIMELESS.observation.exposure
    for name in ("time", "mjd"):
        assert table[name].mask.tolist() == is_timeless.tolist()


def test_one_exposure_and_many_are_looked_up_alike(repo: Path, rng: np.random.Generator) -> None:
    with Butler.from_config(str(repo)) as butler:
        begin, end = exposure_limits(butler)
        index = CalibrationIndex(butler.registry, "spectral_wcs", ["before", "at the middle", "late in the exposure"])
        times = np.unique(np.concatenate([[0, begin, middle_of(begin, end), end], rng.integers(begin, end, 50)]))
        times = np.concatenate([times - 1, times, times + 1])
        detectors = np.ones(len(times), np.int64)
        detectors[::7] = 2
        numbers = index.find_all("SPHEREx", detectors, times)
        assert len({index.refs[number].run for number in numbers if number >= 0}) == 2
        for detector, time, number in zip(detectors.tolist(), times.tolist(), numbers.tolist(), strict=True):
            data_id = butler.registry.expandDataId(instrument="SPHEREx", detector=detector)
            found = index.find(data_id, time)
            assert (None if found is None else found.ref) == (index.refs[number] if number >= 0 else None)
            assert found is None or found.begin <= time < found.end
        assert (index.find_all("simulator", detectors, times) == -1).all()


def test_a_dataset_type_that_does_not_exist_has_no_calibrations(repo: Path) -> None:
    with Butler.from_config(str(repo)) as butler:
        index = CalibrationIndex(butler.registry, "spectral_channels", ["elsewhere"])
        assert index.refs == index.newest == []
        assert index.find(butler.registry.expandDataId(instrument="SPHEREx", detector=1), 0) is None
        assert index.find_all("SPHEREx", np.array([1]), np.array([0])).tolist() == [-1]


def test_calibrations_of_other_dimensions_are_explained(repo: Path) -> None:
    with Butler.from_config(str(repo)) as butler:
        index = CalibrationIndex(butler.registry, "level2", ["SPHEREx/level2"])
        assert index.refs
        with pytest.raises(
            RepositoryError, match="'level2' of the repository has the dimensions instrument, .*exposure"
        ):
            index.find_all("SPHEREx", np.array([1]), np.array([0]))


def test_the_middle_is_exact() -> None:
    assert middle_of(1_767_225_637_000_000_001, 1_767_225_637_000_000_004) == 1_767_225_637_000_000_002
    assert instant_of(timespan(3, 8)) == 5
    assert instant_of(None) is None
    assert instant_of(Timespan.makeEmpty()) is None


def test_times_of_more_exposures_than_a_query_can_list(repo: Path) -> None:
    with Butler.from_config(str(repo), writeable=False) as butler:
        images = butler.query_datasets("level2", "SPHEREx/level2")
        for number in range(3000):
            data_id = {"instrument": "SPHEREx", "exposure": number, "detector": 1}
            absent = DataCoordinate.standardize(data_id, universe=butler.dimensions)
            images.append(DatasetRef(images[0].datasetType, absent, "absent"))
        instants = instants_of(butler, images)
        assert instants == {("SPHEREx", IMAGE.observation.exposure): middle_of(*exposure_limits(butler))}
