"""The map of the package in doc/extending.md leads to what there is."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import yaml
from astropy import units
from astropy.io import fits
from astropy.time import Time
from lsst.daf.butler import (
    Butler,
    CalibrationLookupError,
    CollectionType,
    DataIdValueError,
    DatasetNotFoundError,
    DatasetType,
    DimensionConfig,
    DimensionUniverse,
    InvalidQueryError,
    Timespan,
)
from lsst.daf.butler.cli.butler import cli
from lsst.daf.butler.cli.utils import LogCliRunner
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.pipe.base import (
    InMemoryDatasetHandle,
    Instrument,
    NoWorkFound,
    Pipeline,
    PipelineGraph,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    connectionTypes,
)
from lsst.pipe.base.all_dimensions_quantum_graph_builder import AllDimensionsQuantumGraphBuilder
from lsst.pipe.base.connections import ScalarError
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor

from . import layout
from .ingest_helpers import Outcome, butler_command
from .test_readme import ROOT, UNIVERSE, blocks_of, environment, run, run_blocks

RESOURCES = UNIVERSE / "python" / "plates"
PAGE = (ROOT / "doc" / "extending.md").read_text()
PLACES = re.findall(r"`(\w+)` in\s+\[([\w/]+\.py)\]\(\.\./python/spherex/\2\)", PAGE)


def test_the_map_answers_the_questions() -> None:
    assert len(PLACES) >= 8


@pytest.mark.parametrize(("name", "file"), PLACES)
def test_places_of_the_map_exist(name: str, file: str) -> None:
    tree = ast.parse((ROOT / "python" / "spherex" / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def test_the_page_quotes_the_example() -> None:
    (quoted,) = blocks_of(ROOT / "doc" / "extending.md", "toml")
    assert quoted in (UNIVERSE / "pyproject.toml").read_text()
    seed = (RESOURCES / "butler.yaml").read_text()
    assert [block for block in blocks_of(ROOT / "doc" / "extending.md", "yaml") if block in seed]


def test_files_of_the_example_are_in_the_table_of_the_page() -> None:
    section = PAGE[PAGE.index("## For another mission") : PAGE.index("## For data of SPHEREx")]
    cells = re.findall(r"^\| (`.*`) \|", section, re.MULTILINE)
    listed = {Path(name).name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    files = {path.name for path in UNIVERSE.rglob("*.*") if path.is_file() and "__" not in str(path)}
    assert files - listed == {"resources.yaml", "plate_book.ecsv", "make_scans.py"}


def test_a_pipeline_of_the_page_is_for_the_instrument_of_the_archive() -> None:
    (text,) = blocks_of(ROOT / "doc" / "extending.md", "yaml sky")
    pipeline = yaml.safe_load(text)
    assert Instrument.from_string(pipeline["instrument"]).getName() == "SPHEREx"
    graph = Pipeline.fromString(text.replace("sky_task.SkyTask", "spherex.tasks.QuickLookTask")).to_graph()
    graph.resolve(
        dimensions=DimensionUniverse(DimensionConfig(str(ROOT / "configs" / "dimensions.yaml"))), dataset_types={}
    )
    assert dict(graph.data_id.mapping) == {"instrument": "SPHEREx"}
    # The notebook has the task.
    name = pipeline["tasks"]["sky"].removeprefix("sky_task.")
    notebook = (ROOT / "doc" / "notebooks" / "4_own_task.md").read_text()
    assert "%%writefile sky_task.py" in notebook
    assert f"class {name}(" in notebook


def test_the_tests_of_the_example_pass() -> None:
    path = os.pathsep.join([str(UNIVERSE / "python"), os.environ.get("PYTHONPATH", "")])
    run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests"], UNIVERSE, environment(PYTHONPATH=path))


def test_the_wheel_of_the_example_has_all_files_of_the_package(tmp_path: Path) -> None:
    source = shutil.copytree(UNIVERSE, tmp_path / "source", ignore=shutil.ignore_patterns("__pycache__"))
    options = ("--no-isolation", "--wheel", "--outdir", str(tmp_path))
    subprocess.run([sys.executable, "-m", "build", *options, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("plates/")}
    assert names == {f"plates/{path.name}" for path in RESOURCES.glob("*.*")}


def test_the_example_has_the_pins_of_this_package() -> None:
    theirs, ours = (
        tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"] for folder in (UNIVERSE, ROOT)
    )
    pins = {need for need in theirs if "==" in need}
    assert len(pins) == 3
    assert pins <= set(ours)


def test_rooms_are_listed_in_their_order() -> None:
    table = PAGE[PAGE.index("| Room |") :]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))[: len(layout.ROOMS)] == layout.ROOMS


def test_datasets_without_the_record_of_a_region(
    butler: Butler,
    register: Callable[[str, str], DatasetType],
    repo_root: Path,
    make_repo: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exposure = {"instrument": "simulator", "id": 2, "name": "sim_000002", "group_name": "20261123"}
    butler.registry.insertDimensionData("exposure", exposure)
    note = register("note", "StructuredDataDict")
    for number in (1, 2):
        butler.put({}, note, instrument="simulator", exposure=number, detector=1)
    other = make_repo(tmp_path / "other")
    copy = ("transfer-datasets", repo_root, other, "--collections", "run", "--register-dataset-types")
    assert "transferred: 1\n" in butler_command(*copy).output
    with Butler.from_config(str(other), writeable=True) as to, pytest.raises(KeyError):
        to.transfer_from(butler, butler.query_datasets("note", "run"), transfer="copy", transfer_dimensions=True)
    (check,) = blocks_of(ROOT / "doc" / "extending.md", "python records")
    check = check.replace("REPO", str(repo_root)).replace("TYPE", "note").replace("RUN", "run")
    exec(check, {})
    assert re.findall(r"exposure: (\d)", capsys.readouterr().out) == ["2"]
    region = {"instrument": "simulator", "exposure": 2, "detector": 1}
    butler.registry.insertDimensionData("exposure_detector_region", region)
    exec(check, {})
    assert capsys.readouterr().out == "set()\n"
    assert "transferred: 2\n" in butler_command(*copy).output


@pytest.fixture
def plates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of an empty repository of the example universe."""
    monkeypatch.syspath_prepend(UNIVERSE / "python")
    repo = tmp_path / "PLATES"
    options = ("--override", "--seed-config", RESOURCES / "butler.yaml")
    assert butler_command("create", *options, "--dimension-config", RESOURCES / "dimensions.yaml", repo).code == 0
    return repo


def plates_at(repo: Path, ra: float, dec: float) -> list[int]:
    with Butler.from_config(str(repo)) as butler:
        where = f"plate.region OVERLAPS POINT({ra}, {dec})"
        return [record.id for record in butler.query_dimension_records("plate", where=where, explain=False)]


def test_the_example_refuses_or_updates_a_plate_with_another_position(plates: Path, tmp_path: Path) -> None:
    from plates.script import register_plates

    book = UNIVERSE / "plate_book.ecsv"
    corrected = tmp_path / "corrected.ecsv"
    corrected.write_text(book.read_text().replace("83.8 -5.4", "120.0 30.0").replace("Tautenburg 7", "Tautenburg 6"))
    assert register_plates(str(plates), str(book)) == (2, 0, 0, 0, 0)
    assert register_plates(str(plates), str(book)) == (0, 0, 2, 0, 0)
    with pytest.raises(click.ClickException, match="plate 8 of Tautenburg .* --update"):
        register_plates(str(plates), str(corrected))
    # Plate 6 is not registered either.
    assert (plates_at(plates, 83.8, -5.4), plates_at(plates, 10.7, 41.3)) == ([8], [7])
    assert register_plates(str(plates), str(corrected), update=True) == (1, 1, 0, 0, 0)
    assert (plates_at(plates, 83.8, -5.4), plates_at(plates, 120.0, 30.0)) == ([], [8])
    assert sorted(plates_at(plates, 10.7, 41.3)) == [6, 7]


@pytest.mark.parametrize(
    ("mode", "kept"), [("auto", (True, False)), ("copy", (True, True)), ("direct", (False, False))]
)
def test_what_changes_the_dataset_of_a_linked_file(plates: Path, tmp_path: Path, mode: str, kept: tuple) -> None:
    from plates.script import register_plates

    register_plates(str(plates), str(UNIVERSE / "plate_book.ecsv"))
    (tmp_path / "scans.csv").write_text("file,plate\nreplaced.fits,7\nedited.fits,8\n")
    replaced, edited = tmp_path / "replaced.fits", tmp_path / "edited.fits"
    for path in (replaced, edited):
        fits.PrimaryHDU(np.zeros((4, 4)), fits.Header({"STEP": 10.0})).writeto(path)
    butler_command("register-dataset-type", plates, "scan", "Scan", "observatory", "plate")
    options = ("--data-id", "observatory=Tautenburg", "--prefix", tmp_path, "-t", mode)
    assert butler_command("ingest-files", *options, plates, "scan", "scans", tmp_path / "scans.csv").code == 0
    fits.PrimaryHDU(np.ones((4, 4)), fits.getheader(replaced)).writeto(replaced, overwrite=True)
    with fits.open(edited, mode="update") as hdus:
        hdus[0].data += 1
    with Butler.from_config(str(plates), collections="scans", observatory="Tautenburg") as butler:
        assert tuple(not butler.get("scan", plate=plate).density.any() for plate in (7, 8)) == kept


def with_scans(repo: Path, folder: Path) -> Path:
    """Fill a repository of the example with its plates and one scan."""
    from plates.script import register_plates

    register_plates(str(repo), str(UNIVERSE / "plate_book.ecsv"))
    fits.PrimaryHDU(np.zeros((4, 4)), fits.Header({"STEP": 10.0})).writeto(folder / "plate_7.fits")
    (folder / "scans.csv").write_text("file,plate\nplate_7.fits,7\n")
    butler_command("register-dataset-type", repo, "scan", "Scan", "observatory", "plate")
    assert ingest_scans(repo, folder).code == 0
    return repo


def with_wedges(repo: Path, spans: list[tuple[float | None, float | None]], has_times: bool = True) -> int:
    """Add a scan, and wedges that are valid between fractions of its exposure; return the plate."""
    from plates.scan import Scan
    from plates.script import register_plates

    register_plates(str(repo), str(UNIVERSE / "plate_book.ecsv"))
    number = 7 if has_times else 9
    with Butler.from_config(str(repo), writeable=True, run="scans", observatory="Tautenburg") as butler:
        if not has_times:
            butler.registry.insertDimensionData("plate", {"observatory": "Tautenburg", "id": number})
        (plate,) = butler.query_dimension_records("plate", plate=7)
        begin, end = plate.timespan.begin, plate.timespan.end
        scan = DatasetType("scan", ("observatory", "plate"), "Scan", universe=butler.dimensions)
        butler.registry.registerDatasetType(scan)
        names = ("wedge", ("observatory",), "StructuredDataDict")
        wedge = DatasetType(*names, universe=butler.dimensions, isCalibration=True)
        butler.registry.registerDatasetType(wedge)
        butler.put(Scan(np.zeros((2, 2), np.float32), 1.0), scan, plate=number)
        butler.collections.register("calib", CollectionType.CALIBRATION)
        for index, span in enumerate(spans):
            butler.collections.register(f"wedges/{index}")
            ref = butler.put({"scale": float(index)}, wedge, run=f"wedges/{index}")
            limits = [fraction if fraction is None else begin + (end - begin) * fraction for fraction in span]
            butler.registry.certify("calib", [ref], Timespan(*limits))
    return number


def scales_in_graph(repo: Path, task: type[PipelineTask]) -> list[float]:
    """Return the scales of the wedges that a quantum graph finds."""
    pipeline = PipelineGraph()
    pipeline.add_task("fog", task)
    with Butler.from_config(str(repo)) as butler:
        builder = AllDimensionsQuantumGraphBuilder(
            pipeline, butler, input_collections=["scans", "calib"], output_run="clean"
        )
        graph = builder.finish(attach_datastore_records=False).assemble()
    nodes = graph.bipartite_xgraph.nodes.values()
    runs = [info["run"] for info in nodes if info.get("dataset_type_name") == "wedge"]
    return sorted(float(run.removeprefix("wedges/")) for run in runs)


def scale_in_graph(repo: Path, task: type[PipelineTask]) -> float:
    """Return the scale of the only wedge that a quantum graph finds."""
    (scale,) = scales_in_graph(repo, task)
    return scale


@pytest.mark.parametrize(
    ("spans", "has_times", "found"),
    [
        ([(None, None)], True, 0.0),
        ([(0.75, None)], True, 0.0),
        ([(None, 0.0)], True, "Not enough datasets (0) found"),
        ([(None, None)], False, "Not enough datasets (0) found"),
        ([(None, 0.25), (0.25, None)], True, "Ambiguous calibration validity range match"),
    ],
)
def test_the_stock_lookup_of_calibrations(
    plates: Path, spans: list[tuple[float | None, float | None]], has_times: bool, found: float | str
) -> None:
    from plates.tasks import FogTask

    number = with_wedges(plates, spans, has_times)
    with Butler.from_config(str(plates), collections="calib", observatory="Tautenburg") as butler:
        if isinstance(found, str):
            assert found in PAGE
            with pytest.raises(Exception, match=re.escape(found)):
                scale_in_graph(plates, FogTask)
            with pytest.raises((CalibrationLookupError, DatasetNotFoundError)):
                butler.get("wedge", plate=number)
        else:
            assert scale_in_graph(plates, FogTask) == butler.get("wedge", plate=number)["scale"] == found


LOOKUPS: dict[str, Any] = {}
exec(blocks_of(ROOT / "doc" / "extending.md", "python lookup")[0], LOOKUPS)


def fog_with_lookup() -> type[PipelineTask]:
    """Return the task of the example with a look-up of the page."""
    from plates.tasks import FogConfig, FogConnections, FogTask

    class MiddleConnections(FogConnections, dimensions=("observatory", "plate")):
        wedge = dataclasses.replace(FogConnections.wedge, lookupFunction=LOOKUPS["valid_at_middle"])

    class MiddleConfig(FogConfig, pipelineConnections=MiddleConnections):
        pass

    class MiddleTask(FogTask):
        ConfigClass = MiddleConfig

    return MiddleTask


def combination(
    lookup: Callable[..., Any] | None = None, multiple: bool = False, dimensions: tuple[str, ...] = ("observatory",)
) -> type[PipelineTask]:
    """Return a task that combines the scans of all plates of an observatory, and uses a calibration."""
    quantum = dimensions

    class SumConnections(PipelineTaskConnections, dimensions=quantum):
        scans = connectionTypes.Input(
            doc="Scans.", name="scan", storageClass="Scan", dimensions=("observatory", "plate"), multiple=True
        )
        wedge = connectionTypes.PrerequisiteInput(
            doc="Wedge.",
            name="wedge",
            storageClass="StructuredDataDict",
            dimensions=("observatory",),
            isCalibration=True,
            lookupFunction=lookup,
            multiple=multiple,
        )
        sum = connectionTypes.Output(doc="Sum.", name="sum", storageClass="Scan", dimensions=quantum)

        def getTemporalBoundsConnections(self) -> set[str]:  # noqa: N802
            assert "getTemporalBoundsConnections" in PAGE
            return {"scans"}

    class SumConfig(PipelineTaskConfig, pipelineConnections=SumConnections):
        pass

    class SumTask(PipelineTask):
        ConfigClass = SumConfig
        _DefaultName = "sum"

    return SumTask


def test_the_lookup_of_the_page_takes_the_calibration_of_the_middle(plates: Path) -> None:
    with_wedges(plates, [(None, 0.25), (0.25, None)])
    assert scale_in_graph(plates, fog_with_lookup()) == 1.0


@pytest.mark.parametrize("has_begin", [False, True])
def test_the_lookup_of_the_page_names_a_plate_without_times(plates: Path, has_begin: bool) -> None:
    with_wedges(plates, [(None, None)], has_times=False)
    if has_begin:
        with Butler.from_config(str(plates), writeable=True) as butler:
            span = Timespan(Time("1981-01-01", scale="tai"), None)
            record = {"observatory": "Tautenburg", "id": 9, "timespan": span}
            butler.registry.syncDimensionData("plate", record, update=True)
    for task in (fog_with_lookup(), combination(LOOKUPS["valid_for_plates"])):
        with pytest.raises(ValueError, match="no begin or end of the exposure: {.*plate: 9}"):
            scale_in_graph(plates, task)


def test_the_stock_lookup_ignores_the_validity_for_quanta_without_a_timespan(plates: Path) -> None:
    number = with_wedges(plates, [(None, -100.0)])
    with Butler.from_config(str(plates), collections="calib", observatory="Tautenburg") as butler:
        with pytest.raises(DatasetNotFoundError):
            butler.get("wedge", plate=number)
    assert scale_in_graph(plates, combination()) == 0.0
    with pytest.raises(LookupError, match="no wedge is valid for {.*plate: 7}"):
        scale_in_graph(plates, combination(LOOKUPS["valid_for_plates"]))


def test_the_lookup_of_the_page_for_a_combination_of_plates(plates: Path) -> None:
    # Plate 8 was exposed after plate 7.
    with_wedges(plates, [(None, 1.5), (1.5, None)])
    with pytest.raises(CalibrationLookupError, match="Ambiguous calibration validity range match"):
        scale_in_graph(plates, combination())
    assert scale_in_graph(plates, combination(LOOKUPS["valid_for_plates"])) == 0.0
    with Butler.from_config(str(plates), writeable=True, run="scans", observatory="Tautenburg") as butler:
        butler.put(butler.get("scan", plate=7), "scan", plate=8)
    with pytest.raises(ScalarError):
        scale_in_graph(plates, combination(LOOKUPS["valid_for_plates"]))
    both = combination(LOOKUPS["valid_for_plates"], multiple=True)
    assert scales_in_graph(plates, both) == [0.0, 1.0]


def test_datasets_keep_their_formatter(plates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plates import formatter

    with_scans(plates, tmp_path)
    monkeypatch.setattr(formatter, "PlateFormatter", formatter.ScanFormatter, raising=False)
    config = plates / "butler.yaml"
    config.write_text(config.read_text().replace("ScanFormatter", "PlateFormatter"))
    with Butler.from_config(str(plates), collections="scans", observatory="Tautenburg") as butler:
        butler.get("scan", plate=7)
        monkeypatch.delattr(formatter, "ScanFormatter")
        with pytest.raises(ImportError, match="Could not get attribute 'ScanFormatter'"):
            butler.get("scan", plate=7)


def test_a_template_may_have_fields_of_records(plates: Path, tmp_path: Path) -> None:
    assert "`{plate.emulsion:?}`" in PAGE
    config = plates / "butler.yaml"
    config.write_text(config.read_text().replace("{plate:?}", "{plate:?}_{plate.emulsion:?}"))
    with_scans(plates, tmp_path)
    with Butler.from_config(str(plates), writeable=True, run="mine") as butler:
        ref = butler.put(
            butler.get("scan", plate=7, observatory="Tautenburg", collections="scans"),
            "scan",
            plate=7,
            observatory="Tautenburg",
        )
        assert butler.getURI(ref).basename() == "scan_7_103aO_mine.fits"


def test_the_example_gets_an_instrument(tmp_path: Path) -> None:
    copy = shutil.copytree(UNIVERSE, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    page = ROOT / "doc" / "extending.md"
    (rename,), (field,), (code,) = (blocks_of(page, f"{kind} {name}") for kind, name in NAMES_OF_BLOCKS)
    subprocess.run(rename, shell=True, cwd=copy, check=True)
    package = copy / "python" / "plates"
    universe = yaml.safe_load((package / "dimensions.yaml").read_text())
    # Its own namespace, because this process caches universes.
    universe["namespace"] = "mine"
    universe["elements"]["instrument"] |= yaml.safe_load(field)
    (package / "dimensions.yaml").write_text(yaml.safe_dump(universe, sort_keys=False))
    (package / "instrument.py").write_text(code)
    text = (package / "pipeline.yaml").read_text()
    (package / "pipeline.yaml").write_text(f"instrument: plates.instrument.MyInstrument\n{text}")
    book = copy / "plate_book.ecsv"
    book.write_text(book.read_text().replace("Tautenburg", "Mine"))
    commands = """
        python copy/make_scans.py
        butler create --override --seed-config resource://plates/butler.yaml \
            --dimension-config resource://plates/dimensions.yaml PLATES
        butler register-instrument PLATES plates.instrument.MyInstrument
        butler register-plates PLATES copy/plate_book.ecsv --scans .
        butler register-dataset-type --is-calibration PLATES wedge StructuredDataDict instrument
        sed -i s/Tautenburg/Mine/ wedges.csv
        butler ingest-files PLATES wedge wedges/1981 wedges.csv
        butler certify-calibrations PLATES wedges/1981 calib wedge
        pipetask run -p resource://plates/pipeline.yaml -b PLATES --register-dataset-types -i scans,calib -o clean
        """
    variables = {"PYTHONPATH": str(copy / "python"), "DAF_BUTLER_PLUGINS": str(package / "resources.yaml")}
    printed = run_blocks([textwrap.dedent(commands)], tmp_path, environment(**variables))
    assert "Executed 3 quanta successfully, 0 failed" in printed
    with Butler.from_config(str(tmp_path / "PLATES"), writeable=True) as butler:
        (record,) = butler.query_dimension_records("instrument")
        assert record.class_name == "plates.instrument.MyInstrument"
        with pytest.raises(Exception, match=f"{FOREIGN} plate".replace(" [", r"\s+\[")):
            butler.registry.insertDimensionData("plate", {"instrument": "Other", "id": 1})


NAMES_OF_BLOCKS = (("sh", "rename"), ("yaml", "instrument"), ("python", "instrument"))

FOREIGN = "FOREIGN KEY constraint failed [SQL: INSERT INTO"


def test_dataset_types_are_registered_before_a_transaction(plates: Path) -> None:
    assert f"`{FOREIGN} plate`" in PAGE
    message = "Table creation interrupts transactions"
    assert f"`{message}`" in PAGE
    with Butler.from_config(str(plates), writeable=True) as butler:
        scan = DatasetType("scan", ("observatory", "plate"), "Scan", universe=butler.dimensions)
        with pytest.raises(AssertionError, match=message), butler.transaction():
            butler.registry.registerDatasetType(scan)


def test_messages_about_files_without_a_record(plates: Path, tmp_path: Path) -> None:
    with_scans(plates, tmp_path)
    (tmp_path / "scans.csv").write_text("file,plate\nplate_7.fits,70\n")
    assert "`a dimension row is missing`" in PAGE
    assert "a dimension row is missing" in ingest_scans(plates, tmp_path).output
    assert "`LookupError: Implied value for dimension 'NAME' not found`" in PAGE
    new = new_repository(tmp_path, "implied")
    butler_command("register-dataset-type", new, "scan", "Scan", "observatory", "plate")
    assert "Implied value for dimension 'emulsion' not found" in ingest_scans(new, tmp_path).output


def test_message_about_a_calibration_before_any_record(plates: Path) -> None:
    message = "Could not fetch record for dimension NAME via keys"
    assert f"`DataIdValueError: {message}`" in PAGE
    with Butler.from_config(str(plates), writeable=True, run="wedges/1981") as butler:
        wedge = DatasetType("wedge", ("observatory",), "StructuredDataDict", universe=butler.dimensions)
        butler.registry.registerDatasetType(wedge)
        with pytest.raises(DataIdValueError, match=message.replace("NAME", "observatory")):
            butler.put({}, wedge, observatory="Tautenburg")


@pytest.mark.parametrize("by", ["minimum", "adjustQuantum", "run"])
def test_a_combination_without_all_its_inputs(plates: Path, caplog: pytest.LogCaptureFixture, by: str) -> None:
    with_wedges(plates, [(None, None)])
    graph_of_one = combination()

    class AllConnections(graph_of_one.ConfigClass.ConnectionsClass, dimensions=("observatory",)):  # type: ignore[misc, name-defined]
        if by == "minimum":
            scans = dataclasses.replace(graph_of_one.ConfigClass.ConnectionsClass.scans, minimum=2)

        def adjustQuantum(self, inputs: Any, outputs: Any, label: str, data_id: Any) -> Any:  # noqa: N802
            if by == "adjustQuantum":
                raise NoWorkFound("one of two plates")
            return super().adjustQuantum(inputs, outputs, label, data_id)

    class AllConfig(PipelineTaskConfig, pipelineConnections=AllConnections):
        pass

    class AllTask(PipelineTask):
        ConfigClass = AllConfig
        _DefaultName = "sum"

        def run(self, **_: Any) -> Any:
            raise NoWorkFound("one of two plates")

    assert scales_in_graph(plates, graph_of_one) == [0.0]
    with SimplePipelineExecutor.prep_butler(str(plates), inputs=["scans", "calib"], output="sums") as butler:
        executor = SimplePipelineExecutor.from_task_class(AllTask, butler=butler)
        with caplog.at_level("INFO"):
            quanta = executor.run(register_dataset_types=True)
        assert len(quanta) == (1 if by == "run" else 0)
        assert butler.query_datasets("sum", explain=False) == []
    assert "`exited early with no work found`" in PAGE
    assert ("exited early with no work found" in caplog.text) == (by == "run")


def test_messages_about_a_delegate(plates: Path) -> None:
    from plates.scan import Scan
    from plates.script import register_plates

    register_plates(str(plates), str(UNIVERSE / "plate_book.ecsv"))
    config = yaml.safe_load((plates / "butler.yaml").read_text())
    storage_class = config["storageClasses"]["Scan"]
    # Classes of their own, because this process keeps the first definition of each.
    config["storageClasses"]["Bare"] = {key: value for key, value in storage_class.items() if key != "delegate"}
    config["storageClasses"]["Misspelt"] = storage_class | {"delegate": "plates.formatter.ScnDelegate"}
    formatters = config["datastore"]["formatters"]
    formatters["Bare"] = formatters["Misspelt"] = formatters["Scan"]
    (plates / "butler.yaml").write_text(yaml.safe_dump(config))
    scan = Scan(np.zeros((4, 4), np.float32), 10.0)
    rows = {"rows": (0, 2)}
    with Butler.from_config(str(plates), run="scans", observatory="Tautenburg") as butler:
        for name in ("Scan", "Bare", "Misspelt"):
            dataset_type = DatasetType(name.lower(), ("observatory", "plate"), name, universe=butler.dimensions)
            butler.registry.registerDatasetType(dataset_type)
            butler.put(scan, dataset_type, plate=7)
            # Files do not need the delegate.
            size = butler.get(f"{name.lower()}.size", plate=7, parameters=rows)
            assert size == {"rows": 2, "columns": 4, "step": 10.0}
            assert butler_command("config-validate", plates, "-d", name.lower()).code == 0
    assert InMemoryDatasetHandle(scan, storageClass="Scan").get(component="size", parameters=rows) == size
    for options, error, message in (
        ({"component": "size"}, AttributeError, "Unable to get component NAME"),
        ({"parameters": rows}, ValueError, f"Parameters ({rows}) provided to default implementation."),
    ):
        assert f"`{error.__name__}: {message}`" in PAGE
        with pytest.raises(error, match=re.escape(message.replace("NAME", "size"))):
            InMemoryDatasetHandle(scan, storageClass="Bare").get(**options)
        with pytest.raises(ImportError, match="Could not get attribute 'ScnDelegate'"):
            InMemoryDatasetHandle(scan, storageClass="Misspelt").get(**options)


def test_messages_about_records_that_collide(tmp_path: Path) -> None:
    universe = edited_universe("added")
    name = {"name": "label", "type": "string", "length": 16, "doc": "Label."}
    universe["elements"]["plate"]["keys"].append(name)
    universe["namespace"] = "labels"
    new = repository_of(universe, tmp_path)
    values = {"observatory": "Tautenburg", "id": 7, "label": "a"}
    conflict, colliding = values | {"emulsion": "103aO"}, values | {"id": 8}
    with Butler.from_config(str(new), writeable=True) as butler:
        butler.registry.insertDimensionData("observatory", {"name": "Tautenburg"})
        butler.registry.insertDimensionData("plate", values)
        messages = ["Conflict in sync for table plate on column(s) emulsion", *COLLISION.split(" ... ")]
        assert all(message in PAGE for message in messages)
        with pytest.raises(ConflictingDefinitionError, match=re.escape(messages[0])) as caught:
            butler.registry.syncDimensionData("plate", conflict)
        assert type(caught.value).__name__ == "DatabaseConflictError"
        assert "`DatabaseConflictError`" in PAGE
        for update in (False, True):
            with pytest.raises(ConflictingDefinitionError, match=COLLISION.replace(" ... ", " .* ")):
                butler.registry.syncDimensionData("plate", colliding, update=update)
        for wrong in (values, colliding):
            with pytest.raises(Exception, match="UNIQUE constraint failed"):
                butler.registry.insertDimensionData("plate", wrong)


COLLISION = "Attempted to ensure ... exists by inserting it with ON CONFLICT IGNORE"


@pytest.mark.parametrize("families", [1, 2])
def test_families_of_timespans(plates: Path, tmp_path: Path, families: int) -> None:
    from plates.scan import Scan

    universe = edited_universe("added")
    day = {"name": "day", "type": "int", "doc": "Day."}
    universe["elements"]["night"] = {"doc": "A night.", "requires": ["observatory"], "keys": [day]}
    universe["topology"]["temporal"] = {"plates": ["plate"], "nights": ["night"]}
    if families == 1:
        universe["topology"]["temporal"] = {"times": ["plate", "night"]}
    universe["namespace"] = f"families_{families}"
    new = repository_of(universe, tmp_path)
    times = Time("1981-09-12", scale="tai") + np.arange(3) * units.day
    with Butler.from_config(str(new), writeable=True, run="scans") as butler:
        butler.registry.insertDimensionData("observatory", {"name": "Tautenburg"})
        for name, first in (("plate", {"id": 7}), ("plate", {"id": 8}), ("night", {"day": 7}), ("night", {"day": 8})):
            begin, end = times[first.get("id", first.get("day")) - 7 :][:2]
            record = {"observatory": "Tautenburg", "timespan": Timespan(begin, end), **first}
            butler.registry.insertDimensionData(name, record)
        with butler.query() as query:
            pairs = {(found["plate"], found["night"]) for found in query.data_ids(["plate", "night"])}
        assert pairs == ({(7, 7), (8, 8)} if families == 2 else {(7, 7), (7, 8), (8, 7), (8, 8)})
        wedge = DatasetType("wedge", ("observatory",), "StructuredDataDict", universe=butler.dimensions)
        wedge = DatasetType("wedge", wedge.dimensions, "StructuredDataDict", isCalibration=True)
        scan = DatasetType("scan", ("observatory", "plate"), "Scan", universe=butler.dimensions)
        for dataset_type in (wedge, scan):
            butler.registry.registerDatasetType(dataset_type)
        butler.collections.register("calib", CollectionType.CALIBRATION)
        butler.collections.register("wedges/0")
        ref = butler.put({}, wedge, run="wedges/0", observatory="Tautenburg")
        butler.registry.certify("calib", [ref], Timespan(None, None))
        butler.put(Scan(np.zeros((2, 2)), 10.0), scan, observatory="Tautenburg", plate=7)
    task = combination(dimensions=("observatory", "plate", "night"))
    if families == 1:
        assert scales_in_graph(new, task) == [0.0]
    else:
        assert "`InvalidQueryError: A temporal join is needed`" in PAGE
        with pytest.raises(InvalidQueryError, match="A temporal join is needed"):
            scales_in_graph(new, task)


def test_config_validate_warns_of_a_default_template(plates: Path, caplog: pytest.LogCaptureFixture) -> None:
    warning = "Unchecked keys: 'physical_filter+detector+exposure'"
    assert f"`{warning}`" in PAGE
    butler_command("register-dataset-type", plates, "scan", "Scan", "observatory", "plate")
    assert butler_command("config-validate", plates, "-d", "scan").code == 0
    assert warning in caplog.text


def test_the_graph_leaves_out_dimensions_that_follow_from_others(tmp_path: Path) -> None:
    new = new_repository(tmp_path, "implied")
    variables = {"PYTHONPATH": str(UNIVERSE / "python")}
    command = f"pipetask build -p resource://plates/pipeline.yaml -b {new} --show pipeline-graph"
    assert "scan: {plate} Scan" in run_blocks([command], tmp_path, environment(**variables))


def test_message_about_a_misspelt_storage_class_of_a_component(plates: Path) -> None:
    config = plates / "butler.yaml"
    text = config.read_text()
    config.write_text(text.replace("size: StructuredDataDict", "size: NumpyArry"))
    assert config.read_text() != text
    # In a process of its own, because this leaves the database open.
    program = "from lsst.daf.butler.cli.butler import main; main()"
    command = [sys.executable, "-c", program, "query-collections", str(plates)]
    done = subprocess.run(command, env=environment(), text=True, capture_output=True)
    assert done.returncode == 1
    assert done.stderr.endswith("KeyError: 'NumpyArry'\n")


def ingest_scans(repo: Path, folder: Path, *options: str) -> Outcome:
    options = ("--data-id", "observatory=Tautenburg", "--prefix", str(folder), *options)
    return butler_command("ingest-files", *options, repo, "scan", "scans", folder / "scans.csv")


CHANGES = "added renamed removed retyped independent shorter required implied dimension_renamed namespace".split()


def edited_universe(change: str) -> dict[str, Any]:
    """Return the universe of the example with a change that the page lists."""
    universe = yaml.safe_load((RESOURCES / "dimensions.yaml").read_text())
    # This process caches universes by namespace and version.
    universe["version"] = 2 + CHANGES.index(change)
    elements = universe["elements"]
    plate = elements["plate"]
    name = {"name": "name", "type": "string", "length": 16, "doc": "Name."}
    other = {"doc": "Another dimension.", "requires": ["observatory"], "keys": [name]}
    match change:
        case "added":
            plate["metadata"].append(name | {"name": "filter"})
        case "renamed":
            plate["metadata"][0]["name"] = "coating"
        case "removed":
            del plate["metadata"]
        case "retyped":
            plate["metadata"] = [{"name": "emulsion", "type": "int", "doc": "Number."}]
        case "shorter":
            plate["metadata"][0]["length"] = 2
        case "independent":
            elements["telescope"] = other
        case "required":
            elements["telescope"] = other
            plate["requires"].append("telescope")
        case "implied":
            del plate["metadata"]
            elements["emulsion"] = other
            plate["implies"] = ["emulsion"]
        case "dimension_renamed":
            elements["glass"] = elements.pop("plate")
            universe["topology"] = {"spatial": {"regions": ["glass"]}, "temporal": {"times": ["glass"]}}
        case "namespace":
            universe["namespace"] = "photographs"
    return universe


def new_repository(folder: Path, change: str) -> Path:
    return repository_of(edited_universe(change), folder)


def repository_of(universe: dict[str, Any], folder: Path) -> Path:
    (folder / "new.yaml").write_text(yaml.safe_dump(universe, sort_keys=False))
    options = ("--override", "--seed-config", RESOURCES / "butler.yaml", "--dimension-config", folder / "new.yaml")
    assert butler_command("create", *options, folder / "NEW").code == 0
    return folder / "NEW"


MIGRATION, CHECK = blocks_of(ROOT / "doc" / "extending.md", "python migrate")
(UNKNOWN,) = blocks_of(ROOT / "doc" / "extending.md", "sh emulsion")
(RENAMED,) = re.findall(r"`(sed .* export.yaml)`", PAGE)


def with_calibrations(repo: Path) -> None:
    """Add a calibration with two validity ranges, a TAGGED collection and a chain."""
    with Butler.from_config(str(repo), writeable=True) as butler:
        names = ("fog", ("observatory",), "StructuredDataDict")
        dataset_type = DatasetType(*names, universe=butler.dimensions, isCalibration=True)
        butler.registry.registerDatasetType(dataset_type)
        butler.collections.register("fogs")
        ref = butler.put({}, dataset_type, run="fogs", observatory="Tautenburg")
        butler.collections.register("calib/v1", CollectionType.CALIBRATION)
        begin, end = Time(["1981-01-01", "1982-01-01"], scale="tai")
        butler.registry.certify("calib/v1", [ref], Timespan(None, begin))
        butler.registry.certify("calib/v1", [ref], Timespan(begin, end))
        butler.collections.register("best", CollectionType.TAGGED)
        butler.registry.associate("best", butler.query_datasets("scan", "scans"))
        butler.collections.register("calib", CollectionType.CHAINED)
        butler.collections.redefine_chain("calib", ["calib/v1"])


@pytest.fixture
def export(plates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the export by the program of the page, of a repository OLD in the current directory."""
    with_scans(plates, tmp_path)
    with_calibrations(plates)
    plates.rename(tmp_path / "OLD")
    monkeypatch.chdir(tmp_path)
    (program,) = blocks_of(ROOT / "doc" / "scale_out.md", "python move")
    exec(program.replace("DATA", "OLD"), {})
    return tmp_path / "export.yaml"


def import_into(new: Path) -> None:
    with Butler.from_config(str(new), writeable=True) as butler:
        butler.import_(directory="OLD", filename="export.yaml", transfer="copy")


def checked(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the check of the page prints."""
    capsys.readouterr()
    exec(CHECK, {})
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("added", "filter", None),
        ("retyped", "emulsion", "103aO"),
        ("independent", "emulsion", "103aO"),
        ("namespace", "emulsion", "103aO"),
    ],
)
def test_an_import_into_a_changed_universe_copies_all(
    export: Path, change: str, field: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    new = new_repository(export.parent, change)
    assert checked(capsys) == "False\n"
    import_into(new)
    assert checked(capsys) == "True\n"
    with Butler.from_config(str(new)) as butler:
        assert {getattr(record, field) for record in butler.query_dimension_records("plate")} == {value}
        assert butler.collections.get_info("calib").children == ("calib/v1",)


@pytest.mark.parametrize(
    ("change", "message", "remedy"),
    [
        ("renamed", "Invalid fields for plate dimension record", RENAMED),
        ("removed", "Invalid fields for plate dimension record", "sed -i '/^    emulsion:/d' export.yaml"),
        ("shorter", "CHECK constraint failed", "sed -i 's/^    emulsion: .*/    emulsion: O/' export.yaml"),
        ("implied", "FOREIGN KEY constraint failed", MIGRATION),
        ("required", "'telescope'", "sed -i -E 's/^( *)- observatory: .*/&\\n\\1  telescope: Schmidt/' export.yaml"),
        ("dimension_renamed", "'plate'", "sed -i -E 's/^( *(element: |- |))plate\\b/\\1glass/' export.yaml"),
    ],
)
def test_an_import_into_a_changed_universe_works_after_the_remedy(
    export: Path, change: str, message: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    new = new_repository(export.parent, change)
    assert message in PAGE
    with pytest.raises(Exception, match=message):
        import_into(new)
    assert list(new.rglob("*.fits")) == []
    if change == "required":
        with Butler.from_config(str(new), writeable=True) as butler:
            butler.registry.insertDimensionData("observatory", {"name": "Tautenburg"})
            butler.registry.insertDimensionData("telescope", {"observatory": "Tautenburg", "name": "Schmidt"})
    if remedy is MIGRATION:
        exec(MIGRATION, {})
    else:
        subprocess.run(remedy, shell=True, check=True)
    import_into(new)
    assert checked(capsys) == "True\n"
    if change == "renamed":
        with Butler.from_config(str(new)) as butler:
            assert {record.coating for record in butler.query_dimension_records("plate")} == {"103aO"}


def test_a_field_becomes_a_dimension(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Butler.from_config("OLD", writeable=True) as old:
        empty = {"observatory": "Tautenburg", "id": 9, "timespan": None, "region": None}
        old.registry.insertDimensionData("plate", empty)
    (program,) = blocks_of(ROOT / "doc" / "scale_out.md", "python move")
    exec(program.replace("DATA", "OLD"), {})
    new = new_repository(export.parent, "implied")
    subprocess.run(UNKNOWN, shell=True, check=True)
    exec(MIGRATION, {})
    import_into(new)
    assert checked(capsys) == "True\n"
    with Butler.from_config("NEW", collections="scans") as butler:
        (ref,) = butler.query_datasets("scan", where="emulsion = '103aO' AND observatory = 'Tautenburg'")
        assert butler.get(ref).density.shape == (4, 4)
        (record,) = butler.query_dimension_records("plate", where="plate = 9 AND observatory = 'Tautenburg'")
        assert record.emulsion == "unknown"
    for mode in ("unique", "dataid_type_run"):
        assert ingest_scans(new, export.parent, "--id-generation-mode", mode).code == 1


def test_a_transfer_leaves_out_collections(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = export.parent / "NEW"
    # Of the same universe: the weekly of Python 3.11 refuses any other one.
    options = ("--override", "--seed-config", RESOURCES / "butler.yaml")
    assert butler_command("create", *options, "--dimension-config", RESOURCES / "dimensions.yaml", new).code == 0
    copy = ("transfer-datasets", "OLD", new, "--collections", "*", "--register-dataset-types", "-t", "copy")
    assert butler_command(*copy).code == 0
    with Butler.from_config(str(new)) as butler:
        assert sorted(butler.collections.query("*")) == ["fogs", "scans"]
    assert checked(capsys) == "False\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("requires: [observatory]", "requires: [NAME]", "KeyError: 'NAME'"),
        ("plate_regions: [plate]", "plate_regions: [NAME]", "KeyError: 'NAME'"),
        (
            "topology:\n",
            "  rim:\n    doc: Rim.\n    requires: [plate]\n    populated_by: NAME\n\ntopology:\n",
            "KeyError: 'NAME'",
        ),
        (
            "topology:\n  spatial:\n",
            "  star:\n    doc: A star.\n    requires: [plate]\n    keys: [{name: id, type: int, doc: Id.}]\n\n"
            "topology:\n  spatial:\n    star_regions: [star]\n",
            "assert element1.governor != element2.governor",
        ),
        ("common: htm5", "common: healpix5", "KeyError: 'healpix5'"),
        ("plate_regions: [plate]", "plate: [plate]", "RuntimeError: Cycle or unmet dependency in dimension elements"),
        (
            "    governor: true",
            "    requires: [plate]",
            "RuntimeError: Cycle or unmet dependency in dimension elements",
        ),
        ("version: 1", "", "Mandatory keys (['version']) missing"),
    ],
)
def test_messages_about_a_universe(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert f"`{message}`" in PAGE
    text = (RESOURCES / "dimensions.yaml").read_text()
    assert text.count(old) == 1
    # Its own namespace, because this process caches universes.
    namespace = f"namespace: wrong_{uuid.uuid4().hex}"
    (tmp_path / "new.yaml").write_text(text.replace(old, new).replace("namespace: plates", namespace))
    options = ("--seed-config", str(RESOURCES / "butler.yaml"), "--dimension-config", str(tmp_path / "new.yaml"))
    result = LogCliRunner().invoke(cli, ["create", "--override", *options, str(tmp_path / "WRONG")])
    assert result.exit_code == 1
    # In this process, the name of the exception is not printed.
    assert message.removeprefix("KeyError: ").removeprefix("RuntimeError: ") in result.output
