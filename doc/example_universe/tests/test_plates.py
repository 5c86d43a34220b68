"""Tests of the package, with pytest as in its README."""

import importlib.metadata
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.time import Time
from lsst.daf.butler import Butler, CollectionType, Config, DatasetProvenance, DatasetType, Timespan
from lsst.daf.butler.cli.utils import LogCliRunner
from lsst.pipe.base import InMemoryDatasetHandle
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor
from plates import cmd
from plates.scan import Scan
from plates.script import register_plates
from plates.tasks import EdgeTask, FogTask

PROJECT = Path(__file__).parents[1]
BOOK = str(PROJECT / "plate_book.ecsv")
RESOURCES = "resource://plates/"


@pytest.fixture
def repo(tmp_path):
    """Return the path of an empty repository."""
    seed, dimensions = (Config(f"{RESOURCES}{name}.yaml") for name in ("butler", "dimensions"))
    # As `butler create --override`: without the last argument, the Butler's own datastore and database are used.
    Butler.makeRepo(str(tmp_path / "PLATES"), config=seed, dimensionConfig=dimensions, forceConfigRoot=False)
    return str(tmp_path / "PLATES")


@pytest.fixture
def scans(tmp_path):
    """Return a directory with the scan of one of the two plates."""
    (tmp_path / "scans").mkdir()
    header = fits.Header({"STEP": 10.0, "SCANNER": "TPS"})
    fits.writeto(tmp_path / "scans" / "plate_7.fits", np.eye(4, dtype=np.float32), header, checksum=True)
    return tmp_path / "scans"


@pytest.fixture
def wedge(repo):
    """Certify a calibration for the year of the plates."""
    with Butler.from_config(repo, run="wedges/1981") as butler:
        names = ("wedge", ("observatory",), "StructuredDataDict")
        wedge = DatasetType(*names, universe=butler.dimensions, isCalibration=True)
        butler.registry.registerDatasetType(wedge)
        butler.registry.insertDimensionData("observatory", {"name": "Tautenburg"})
        ref = butler.put({"scale": 2.0}, wedge, observatory="Tautenburg")
        butler.collections.register("calib", CollectionType.CALIBRATION)
        butler.registry.certify("calib", [ref], Timespan(*Time(["1981-01-01", "1982-01-01"], scale="tai")))


def invoke(*arguments):
    """Run the command; return its exit status and what it prints."""
    result = LogCliRunner().invoke(cmd.register_plates, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def run_pipeline(repo, name):
    """Run the pipeline of the package; return the run."""
    with SimplePipelineExecutor.prep_butler(repo, inputs=["scans", "calib"], output=name) as butler:
        executor = SimplePipelineExecutor.from_pipeline_filename(f"{RESOURCES}pipeline.yaml", butler=butler)
        executor.run(register_dataset_types=True)
        return butler.run


def test_command_registers_and_ingests(repo, scans):
    """Give the command twice: the second time there is nothing to do."""
    options = (repo, BOOK, "--scans", scans)
    assert invoke(*options) == (0, "2 plates registered, 0 updated, 0 unchanged\n1 scans ingested, 0 unchanged\n")
    assert invoke(*options) == (0, "0 plates registered, 0 updated, 2 unchanged\n0 scans ingested, 1 unchanged\n")


def test_command_reports_a_conflict(repo, tmp_path):
    """An error has one line and an exit status, and leaves what is there."""
    invoke(repo, BOOK)
    (tmp_path / "other.ecsv").write_text(Path(BOOK).read_text().replace("10.7 41.3", "10.8 41.3"))
    status, output = invoke(repo, tmp_path / "other.ecsv")
    assert status == 1
    assert output.startswith("Error: plate 7 of Tautenburg is registered with other values")
    assert invoke(repo, tmp_path / "other.ecsv", "--update")[0] == 0


def test_another_version_of_a_scan_needs_another_run(repo, scans):
    """A dataset does not change when its file is replaced. The plates without a new scan keep the old one."""
    shutil.copy(scans / "plate_7.fits", scans / "plate_8.fits")
    invoke(repo, BOOK, "--scans", scans)
    fits.writeto(scans / "plate_7.fits", np.zeros((4, 4)), fits.Header({"STEP": 10.0}), overwrite=True)
    status, output = invoke(repo, BOOK, "--scans", scans)
    assert (status, output.count("differs from the scan of this plate in the run scans; put the changed")) == (1, 1)
    changed = scans / "changed"
    changed.mkdir()
    shutil.move(scans / "plate_7.fits", changed)
    status, output = invoke(repo, BOOK, "--scans", changed, "--run", "scans/v2")
    assert (status, output.splitlines()[-1]) == (0, "1 scans ingested, 0 unchanged")
    with Butler.from_config(repo, observatory="Tautenburg") as butler:
        for run, total in (("scans", 4.0), ("scans/v2", 0.0)):
            assert butler.get("scan", plate=7, collections=run).density.sum() == total
        found = butler.query_datasets("scan", collections=["scans/v2", "scans"])
        assert {ref.dataId["plate"]: ref.run for ref in found} == {7: "scans/v2", 8: "scans"}


def test_command_names_what_does_not_exist(repo, tmp_path):
    """Click checks paths, with exit status 2."""
    for options in ((repo, "nowhere"), (repo, BOOK, "--scans", tmp_path / "nowhere")):
        status, output = invoke(*options)
        assert (status, "nowhere' does not exist" in output) == (2, True)


def test_butler_finds_the_command():
    """The entry point, and the file for DAF_BUTLER_PLUGINS."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    ((name, value),) = project["entry-points"]["butler.cli"].items()
    commands = importlib.metadata.EntryPoint(name, value, "butler.cli").load()()
    listed = yaml.safe_load((PROJECT / "python" / "plates" / "resources.yaml").read_text())["cmd"]["commands"]
    assert [command.name for command in commands] == listed


def test_parts_are_the_same_in_files_and_in_memory(repo, scans):
    """The formatter takes rows and a component from the file, the delegate from memory."""
    register_plates(repo, BOOK, scans=str(scans))
    with Butler.from_config(repo, collections="scans", observatory="Tautenburg") as butler:
        scan = butler.get("scan", plate=7)
        np.testing.assert_array_equal(scan.density, np.eye(4))
        handle = InMemoryDatasetHandle(scan, storageClass="Scan")
        for rows in ((0, 4), (1, 2)):
            part = {"parameters": {"rows": rows}}
            expected = np.eye(4)[slice(*rows)]
            np.testing.assert_array_equal(butler.get("scan", plate=7, **part).density, expected)
            np.testing.assert_array_equal(handle.get(**part).density, expected)
            size = {"rows": len(expected), "columns": 4, "step": 10.0}
            assert butler.get("scan.size", plate=7, **part) == handle.get(component="size", **part) == size


@pytest.mark.filterwarnings("error:.*sum verification failed")
def test_scans_are_written_with_their_own_provenance(repo, scans):
    """Write a scan that has been read: its header keeps other cards, but not the provenance of the first one."""
    register_plates(repo, BOOK, scans=str(scans))
    with Butler.from_config(repo, collections="scans", run="mine", observatory="Tautenburg") as butler:
        (raw,) = butler.query_datasets("scan")
        clean = DatasetType("cleanScan", raw.dimensions, "Scan")
        copy = DatasetType("copy", raw.dimensions, "Scan")
        butler.registry.registerDatasetType(clean)
        butler.registry.registerDatasetType(copy)
        provenance = DatasetProvenance()
        provenance.add_input(raw)
        first = butler.put(butler.get(raw), clean, raw.dataId, provenance=provenance)
        again = butler.put(butler.get(first), copy, raw.dataId)
        with fits.open(butler.getURI(again).ospath, checksum=True) as hdus:
            header = hdus[0].header
        assert (butler.get(again).step, header["SCANNER"]) == (10.0, "TPS")
        found, ref = DatasetProvenance.from_flat_dict(header, butler)
        assert (list(found.inputs), ref) == ([], again)


def test_fog_is_subtracted():
    """`run` takes objects, and needs no repository."""
    clean = FogTask().run(Scan(np.full((4, 4), 0.5, np.float32), 10.0), {"scale": 1.02}).clean
    np.testing.assert_array_equal(clean.density, 0.0)


def test_edges_are_measured():
    """A connection with deferLoad=True passes handles."""
    scan = Scan(np.arange(12.0).reshape(4, 3), 10.0)
    config = EdgeTask.ConfigClass(rows=1)
    edges = EdgeTask(config=config).run([InMemoryDatasetHandle(scan, storageClass="Scan", plate=7)]).edges
    assert edges.as_array().tolist() == [(7, 3, 1.0)]


def test_pipeline_runs(repo, scans, wedge):
    """The pipeline of the package, with the calibration that is valid."""
    register_plates(repo, BOOK, scans=str(scans))
    run = run_pipeline(repo, "clean")
    with Butler.from_config(repo, collections=run, observatory="Tautenburg") as butler:
        np.testing.assert_array_equal(butler.get("cleanScan", plate=7).density, 2 * np.eye(4))
        assert list(butler.get("edges")["plate"]) == [7]


def test_pipeline_stops_without_a_valid_calibration(repo, scans, wedge):
    """The wedge is not valid for plates of another year."""
    book = scans / "later.ecsv"
    book.write_text(Path(BOOK).read_text().replace("1981", "1985"))
    register_plates(repo, str(book), scans=str(scans))
    with pytest.raises(FileNotFoundError, match="Not enough datasets"):
        run_pipeline(repo, "clean")
