"""GatherSpectraTask, CombineChannelsTask and DrawSpectrumTask."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from lsst.daf.butler import Butler, CollectionType, DatasetType, Timespan
from lsst.daf.butler.formatters.parquet import astropy_to_arrow
from lsst.pipe.base import NoWorkFound, Pipeline
from lsst.pipe.base.all_dimensions_quantum_graph_builder import AllDimensionsQuantumGraphBuilder
from lsst.pipe.base.testUtils import assertValidInitOutput, lintConnections, runTestQuantum
from matplotlib.figure import Figure
from matplotlib.image import imread

import spherex
from spherex.spectra import (
    COLUMNS,
    IMAGES,
    TARGETS,
    combine_channels,
    design_channels,
    gather_patch,
    make_table,
    plot_spectrum,
    read_channels,
    spectrum_in,
)
from spherex.tasks import CombineChannelsTask, DrawSpectrumTask, GatherSpectraTask
from spherex.tasks.gather_spectra import TableRows

from .spectra_helpers import CATALOG, PLACES, TargetRepo, _square, measurements

TASKS = [GatherSpectraTask, CombineChannelsTask, DrawSpectrumTask]
SPECTRA = "resource://spherex/pipelines/ingredients/Spectra.yaml"
PLOTS = "resource://spherex/pipelines/SpectrumPlotPipeline.yaml"


@pytest.fixture
def repo(repo_root: Path) -> Iterator[TargetRepo]:
    """Return a repository of five images of `west`, of which two have no measurement, and one of `east`."""
    repo = TargetRepo.make(repo_root)
    with repo.butler:
        repo.butler.collections.register("measured")
        for exposure in range(5):
            ref = repo.add_image(exposure, 1 + exposure % 2)
            rows = measurements(1, exposure, detector=1 + exposure % 2, exposure=exposure, image_id=str(ref.id))
            rows["centroid_dx"], rows["centroid_dy"] = 0.3 * rows["x"].unit, 0.0 * rows["x"].unit
            rows["centroid_dx_error"] = rows["centroid_dy_error"] = 0.01 * rows["x"].unit
            rows["wavelength"][:] = rows["wavelength"].unit * (1.0 - 0.01 * exposure)
            if exposure == 3:
                rows = make_table({"target": "another"}, 1)
            if exposure != 4:
                # The stock formatter of parquet writes no QTable.
                repo.butler.put(Table(rows), "target_measurements", ref.dataId, catalog=CATALOG, run="measured")
        repo.add_image(7, 1, target="east")
        yield repo


def graph(repo: TargetRepo, *collections: str, where: str = "", pipeline: str = SPECTRA) -> dict[str, list]:
    """Build a graph of all tasks of a pipeline; return the quanta of each."""
    tasks = Pipeline.from_uri(pipeline).to_graph()
    builder = AllDimensionsQuantumGraphBuilder(
        tasks,
        repo.butler,
        input_collections=["measured", f"catalogs/{CATALOG}", *collections],
        output_run="o",
        where=where,
    )
    built = builder.finish(attach_datastore_records=False).assemble()
    return {label: list(built.build_execution_quanta(task_label=label).values()) for label in tasks.tasks}


def patch_of(repo: TargetRepo, target: str) -> int:
    (record,) = repo.butler.query_dimension_records("target", catalog=CATALOG, target=target)
    return record.patch


def targets_of(*names: str) -> Table:
    places = [PLACES.get(name, (10.0, 20.0)) for name in names]
    return Table({"name": names, "ra": [ra for ra, _ in places], "dec": [dec for _, dec in places]})


@pytest.mark.parametrize("task", TASKS)
def test_connections_are_sound(task):
    lintConnections(task.ConfigClass.ConnectionsClass)
    assertValidInitOutput(task())


def test_a_graph_takes_the_images_that_overlap_the_patch(repo):
    quanta = graph(repo)
    (gather,) = quanta["gatherSpectra"]
    assert gather.dataId["patch"] == patch_of(repo, "west")
    assert sorted(ref.dataId["exposure"] for ref in gather.inputs["target_measurements"]) == [0, 1, 2, 3]
    assert not quanta["combineChannels"][0].inputs.get("spectral_channels")


def test_a_query_by_target_warns_that_others_of_the_patch_lack_images(repo, caplog):
    beside = {"beside": (9.9, 20.0)}
    repo.register_targets(PLACES | beside)
    assert patch_of(repo, "beside") == patch_of(repo, "west")
    # Only the later images contain both.
    place = {"instrument": "SPHEREx", "exposure": 0, "detector": 1}
    narrow = _square(10.1, 20.0, 0.15)
    repo.butler.registry.insertDimensionData("exposure_detector_region", place | {"region": narrow}, replace=True)
    query = f"catalog = '{CATALOG}' AND instrument = 'SPHEREx'"
    for where, used in (
        (f"{query} AND patch = {patch_of(repo, 'west')}", [0, 1, 2, 3]),
        (f"{query} AND target = 'west'", [0, 1, 2, 3]),
        (f"{query} AND detector = 1", [0, 2]),
    ):
        caplog.clear()
        (gather,) = graph(repo, where=where)["gatherSpectra"]
        assert sorted(ref.dataId["exposure"] for ref in gather.inputs["target_measurements"]) == used
        assert "leaves out images" not in caplog.text
    caplog.clear()
    (gather,) = graph(repo, where=f"{query} AND target = 'beside'")["gatherSpectra"]
    assert sorted(ref.dataId["exposure"] for ref in gather.inputs["target_measurements"]) == [1, 2, 3]
    assert (
        f"The data query leaves out images of 1 of the 2 targets of patch {patch_of(repo, 'west')}, such as west, and "
        "none of the others"
    ) in caplog.text
    assert f"catalog = '{CATALOG}' AND patch = {patch_of(repo, 'west')}." in caplog.text


def put_channels(repo: TargetRepo, run: str, number: int, begin: str | None = None, collection: str = "calib") -> None:
    butler = repo.butler
    dataset_type = DatasetType(
        "spectral_channels", ("instrument",), "AstropyHDUList", universe=butler.dimensions, isCalibration=True
    )
    butler.registry.registerDatasetType(dataset_type)
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("DETECTOR", "J", array=[1, 2]),
            fits.Column("SUBCHAN", "J", array=[number, number]),
            fits.Column("WAVELENGTH", "E", array=[0.9, 1.3]),
        ],
        name="SPECTRAL_CHANNELS",
    )
    pixels = fits.ImageHDU(np.full((2040, 2040), number, np.uint8), name="CHANNEL_MAP")
    butler.collections.register(run)
    ref = butler.put(fits.HDUList([fits.PrimaryHDU(), pixels, table]), dataset_type, run=run, instrument="SPHEREx")
    butler.collections.register(collection, CollectionType.CALIBRATION)
    timespan = Timespan(None if begin is None else Time(begin, scale="tai"), Time("2026-01-01", scale="tai"))
    if begin is not None:
        timespan = Timespan(timespan.begin, None)
    butler.registry.certify(collection, [ref], timespan)


def test_all_of_it_in_a_repository(repo, caplog, tmp_path):
    put_channels(repo, "early", 5)
    put_channels(repo, "late", 7, "2026-01-01")
    quanta = graph(repo, "calib")
    (used,) = quanta["combineChannels"][0].inputs["spectral_channels"]
    assert used.run == "late"
    butler = repo.butler
    for name, dimension, storage_class in [
        ("spectra", "patch", "SpectraTable"),
        ("channel_spectra", "patch", "SpectraTable"),
        ("spectrum_plot", "target", "Plot"),
    ]:
        dataset_type = DatasetType(name, ("catalog", dimension), storage_class, universe=butler.dimensions)
        butler.registry.registerDatasetType(dataset_type)
    output = butler.clone(run="o", collections="o")
    runTestQuantum(GatherSpectraTask(), output, quanta["gatherSpectra"][0], mockRun=False)
    spectrum = spherex.get_spectrum(output, CATALOG, "west")
    assert spectrum.colnames == [column.name for column in COLUMNS]
    assert spectrum["exposure"].tolist() == [2, 1, 0]
    assert spectrum["flux"].info.meta == {"ucd": "phot.flux.density;em.IR"}
    assert str(spectrum["flux"].unit) == "uJy"
    assert (spectrum.meta["ra"], spectrum.meta["dec"], spectrum.meta["images"]) == (10.0, 20.0, 3)
    assert spectrum.meta["off_frame"] == 1
    assert spectrum.meta["instruments"] == ["SPHEREx"]
    first, second = spectrum.meta["diagnostics"]
    assert (first["detector"], first["centroid_images"], first["centroid_dx"]) == (1, 2, pytest.approx(0.3))
    assert (second["detector"], second["centroid_images"], second["centroid_images_off"]) == (2, 1, 1)
    warned = [record.getMessage() for record in caplog.records if "pixels" in record.getMessage()]
    assert len(warned) == 2
    assert re.match("west of patch [0-9]+, detector 1: the bright targets of 2 images are 0.300 ", warned[0])
    assert set(spectrum.meta["code"]) == {"spherex-butler", "lsst-pipe-base"}
    runTestQuantum(CombineChannelsTask(), output, quanta["combineChannels"][0], mockRun=False)
    channels = spherex.get_spectrum(output, CATALOG, "west", dataset_type="channel_spectra")
    assert channels["channel"].tolist() == [7, 7]
    assert channels["visits"].tolist() == [2, 1]
    assert channels.meta["channels"] == f"spectral_channels {used.id}"
    expected = combine_channels(spectrum, read_channels(output.get(used), channels.meta["channels"]))
    for name in channels.colnames:
        np.testing.assert_array_equal(np.asarray(channels[name]), np.asarray(expected[name]))
    picture = draw(repo, output, "calib")
    assert picture.shape == (750, 1100, 4)
    assert not np.array_equal(picture, saved(plot_spectrum(spectrum, channels), tmp_path))
    pixels = read_channels(output.get(used), channels.meta["channels"])
    np.testing.assert_array_equal(picture, saved(plot_spectrum(spectrum, channels, channels=pixels), tmp_path))
    # Newer channels are not those of the means.
    put_channels(repo, "newer", 7, collection="newer_calib")
    np.testing.assert_array_equal(draw(repo, output, "newer_calib"), saved(plot_spectrum(spectrum, channels), tmp_path))


def draw(repo: TargetRepo, output: Butler, calibrations: str) -> np.ndarray:
    """Draw the spectrum of `west`; return the pixels."""
    output.pruneDatasets(output.query_datasets("spectrum_plot", explain=False), unstore=True, purge=True)
    where = f"catalog = '{CATALOG}' AND target = 'west'"
    ((quantum,),) = graph(repo, "o", calibrations, where=where, pipeline=PLOTS).values()
    runTestQuantum(DrawSpectrumTask(), output, quantum, mockRun=False)
    return imread(output.getURI("spectrum_plot", catalog=CATALOG, target="west").ospath)


def saved(figure: Figure, folder: Path) -> np.ndarray:
    """Save a figure; return the pixels."""
    figure.savefig(folder / "expected.png")
    return imread(folder / "expected.png")


def test_a_target_without_measurements_is_no_work(repo):
    refs = repo.butler.query_datasets("target_measurements", collections="measured")
    handles = [repo.butler.getDeferred(ref) for ref in refs]
    with pytest.raises(NoWorkFound, match="None of 4 images whose region overlaps patch 7 has a measurement"):
        GatherSpectraTask().run(handles, targets_of("east"), CATALOG, 7)


def test_a_target_with_empty_tables_only_is_no_work(repo):
    places = [{"instrument": "SPHEREx", "exposure": exposure, "detector": 1} for exposure in (4, 7)]
    handles = []
    for place in places:
        ref = repo.butler.put(Table(make_table({}, 0)), "target_measurements", place, catalog=CATALOG, run="measured")
        handles.append(repo.butler.getDeferred(ref))
    with pytest.raises(NoWorkFound, match="None of 2 images whose region overlaps patch 7 has a measurement"):
        GatherSpectraTask().run(handles, targets_of("east"), CATALOG, 7)


def test_without_the_calibration_channels_are_found_by_wavelength():
    meta = {"catalog": CATALOG, "patch": 1, "instruments": ["SPHEREx"], IMAGES: [], TARGETS: {"west": {}, "other": {}}}
    patch = gather_patch([astropy_to_arrow(Table(measurements(50)))], meta)
    combined = spectrum_in(CombineChannelsTask().run(patch).channelSpectra, "west")
    assert combined.meta["channels"] == design_channels().source
    assert combined["visits"].sum() + combined.meta["without_channel"] == 50


def folder_without_metadata(folder: Path) -> Path:
    """Link this package and all others that are installed into a folder, without the metadata of this one.

    In a checkout they may lie beside the package, after an editable installation.
    """
    folder.mkdir()
    (folder / "spherex").symlink_to(Path(spherex.__file__).parent)
    for path in {Path(one) for one in sys.path if one.endswith("site-packages")}:
        for entry in path.iterdir():
            if not entry.name.startswith(("spherex", "__editable__")):
                (folder / entry.name).symlink_to(entry)
    return folder


@pytest.mark.slow
def test_a_checkout_without_package_metadata_runs_to_the_end(repo, tmp_path):
    installed = folder_without_metadata(tmp_path / "installed")
    repo.butler.close()
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    code = "import sys; from lsst.ctrl.mpexec.cli.pipetask import main; sys.exit(main())"
    command = [sys.executable, "-S", "-c", code, "run", "-b", repo.root, "-p", SPECTRA, "-o", "spectra"]
    command += ["-i", f"measured,catalogs/{CATALOG}", "--register-dataset-types"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with Butler.from_config(str(repo.root), collections="spectra") as butler:
        version = spherex.get_spectrum(butler, CATALOG, "west").meta["code"]["spherex-butler"]
    # With the commit or the word unknown behind the number, unless scons has written the module.
    assert "+" in version or (installed / "spherex" / "version.py").exists()


class Counting:
    """Handle that counts how often its table is read."""

    def __init__(self, handle):
        self.handle, self.ref, self.butler, self.reads = handle, handle.ref, handle.butler, 0

    def get(self, **kwargs):
        self.reads += 1
        return self.handle.get(**kwargs)


@pytest.fixture
def handles(repo) -> list[Counting]:
    """Return handles of four tables, of which one has no row of `west`."""
    refs = repo.butler.query_datasets("target_measurements", collections="measured")
    return [Counting(repo.butler.getDeferred(ref)) for ref in sorted(refs)]


def reads_of(rows: TableRows, handles: list[Counting], times: int = 3) -> list[int]:
    for handle in handles:
        handle.reads = 0
    for _ in range(times):
        found = rows.of(["west"], handles)
        assert [len(table) for table in found] == [
            int("west" in handle.handle.get()["target"].tolist()) for handle in handles
        ]
    return [handle.reads for handle in handles]


def test_tables_are_read_once(handles):
    assert reads_of(TableRows(), handles) == [1] * 4


def test_what_memory_is_too_small_for_is_read_again_and_the_rest_is_not(handles):
    sizes = [handle.get(storageClass="ArrowParquet").nbytes for handle in handles]
    assert reads_of(TableRows(sum(sizes[:2])), handles) == [1, 1, 3, 3]
    assert reads_of(TableRows(0), handles) == [3] * 4


def test_tables_of_other_targets_make_room(handles):
    sizes = [handle.get(storageClass="ArrowParquet").nbytes for handle in handles]
    rows = TableRows(max(sum(sizes[:2]), sum(sizes[2:])))
    assert reads_of(rows, handles[:2]) == [1, 1]
    assert reads_of(rows, handles[2:]) == [1, 1]
    assert reads_of(rows, handles[:2], 1) == [1, 1]


def test_channels_are_looked_up_once_for_a_graph(repo, monkeypatch):
    put_channels(repo, "early", 5)
    asked = []
    registry = type(repo.butler.registry)
    original = registry.queryDatasetAssociations

    def counting(self, dataset_type, *args, **kwargs):
        asked.append(dataset_type)
        return original(self, dataset_type, *args, **kwargs)

    monkeypatch.setattr(registry, "queryDatasetAssociations", counting)
    place = {"instrument": "SPHEREx", "exposure": 7, "detector": 1}
    rows = Table(measurements(1, target="east", exposure=7, detector=1))
    repo.butler.put(rows, "target_measurements", place, catalog=CATALOG, run="measured")
    quanta = graph(repo, "calib")["combineChannels"]
    assert [quantum.inputs["spectral_channels"][0].run for quantum in quanta] == ["early"] * 2
    assert asked.count("spectral_channels") == 1
    # Connections that one graph was made with make another one.
    put_channels(repo, "late", 7, "2026-01-01")
    task_graph = Pipeline.from_uri(SPECTRA).to_graph()
    for expected in ("late", "early"):
        builder = AllDimensionsQuantumGraphBuilder(
            task_graph, repo.butler, input_collections=["measured", "calib", f"catalogs/{CATALOG}"], output_run="o"
        )
        built = builder.finish(attach_datastore_records=False).assemble()
        quanta = built.build_execution_quanta(task_label="combineChannels").values()
        assert [quantum.inputs["spectral_channels"][0].run for quantum in quanta] == [expected] * 2
        repo.butler.registry.decertify("calib", "spectral_channels", Timespan(Time("2026-01-01", scale="tai"), None))
