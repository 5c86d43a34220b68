"""Every shipped pipeline, as the stock pipetask takes it."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from lsst.daf.butler import Butler
from lsst.pex.config import Config
from lsst.pipe.base import Pipeline
from lsst.pipe.base.pipelineIR import ContractError
from lsst.resources import ResourcePath
from scipy.ndimage import median_filter

import spherex.tasks
from spherex.fits import read_product

from .programs import run_well

ROOT = ResourcePath("resource://spherex/pipelines/")
FILES = [path.relative_to(ROOT) for path in ResourcePath.findFileResources([ROOT], r"\.yaml$")]
# Ingredients are parts of pipelines; alone they lack their inputs. Those of
# spectra, injection and errors need Level 2 images: test_tasks_measure_targets.py,
# test_tasks_inject_sources.py and test_tasks_measure_error_scale.py run them.
LEVEL2 = ("SpectrumPipeline", "SpectrumPlotPipeline", "InjectionPipeline", "ErrorScalePipeline")
PIPELINES = [name for name in FILES if not name.startswith(("ingredients/", *LEVEL2))]
INPUTS = {"CalibratedPipeline.yaml": "rawexpr,calib", "DarkPipeline.yaml": "darkr"}
"""Collections that a pipeline needs, if not raw images and the darks of their exposures."""

COMBINED = 16
"""Exposures of which darks are combined."""


@pytest.fixture(scope="module")
def ingested(tmp_path_factory, simulated_files) -> Path:
    root = tmp_path_factory.mktemp("pipelines") / "repo"
    seed = "resource://spherex/configs/butler.yaml"
    dimensions = "resource://spherex/configs/dimensions.yaml"
    run_well("butler", "create", "--override", "--seed-config", seed, "--dimension-config", dimensions, root)
    run_well("butler", "ingest-simulated", "--transfer", "direct", root, simulated_files)
    run_well(
        "butler", "ingest-simulated", "--transfer", "direct", "--regex", "dark_current.fits", "--ingest-type", "dark",
        root, simulated_files,
    )  # fmt: skip
    run_well("pipetask", "run", "-p", "resource://spherex/pipelines/DarkPipeline.yaml", "-b", root, "-i", "darkr",
        "--register-dataset-types", "-o", "darks")  # fmt: skip
    run_well("butler", "certify-calibrations", root, "darks", "calib", "combined_dark")
    return root


def test_there_are_pipelines():
    assert {"ExamplePipeline.yaml", *INPUTS} <= set(PIPELINES)


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_documented_and_loads(name):
    uri = ROOT.join(name)
    assert yaml.safe_load(uri.read())["description"].endswith(".")
    assert Pipeline.from_uri(uri).to_graph().tasks


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_builds_a_graph(ingested, name, tmp_path):
    inputs = INPUTS.get(name, "rawexpr,darkr")
    done = run_well("pipetask", "qgraph", "-p", ROOT.join(name), "-b", ingested, "-i", inputs, "-o", "u/graph",
               "--qgraph-dot", tmp_path / "graph.dot")  # fmt: skip
    assert re.search(r"[1-9]\d* quanta", done.stdout + done.stderr)
    assert "digraph" in (tmp_path / "graph.dot").read_text()


@pytest.mark.parametrize("name", ["QuickLookPipeline.yaml", "CalibratedPipeline.yaml"])
def test_pictures_must_be_of_what_is_made(name):
    pipeline = Pipeline.from_uri(ROOT.join(name))
    pipeline.addConfigOverride("quickLookPostDark", "connections.image", "another")
    with pytest.raises(ContractError, match="shows another image"):
        pipeline.to_graph()


def test_names_are_parameters():
    pipeline = Pipeline.from_uri(ROOT.join("CalibratedPipeline.yaml"))
    for name, value in {"rawImage": "raw", "combinedDark": "master", "calibratedImage": "clean"}.items():
        pipeline.addConfigOverride("parameters", name, value)
    graph = pipeline.to_graph()
    task = graph.tasks["subtractDark"]
    assert task.inputs["inputImage"].dataset_type_name == "raw"
    assert task.prerequisite_inputs["subtractImage"].dataset_type_name == "master"
    assert task.outputs["outputImage"].dataset_type_name == "clean"
    assert graph.tasks["quickLookPostDark"].inputs["image"].dataset_type_name == "clean"


@pytest.fixture(scope="module")
def many_darks(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("darks") / "files"
    run_well("spherex-simulate", folder, "--exposures", COMBINED, "--shape", "64", "--detectors", "1,4")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("source", ["inputs", "spread"])
def test_the_combined_dark_is_the_simulated_one(many_darks, make_repo, tmp_path, source):
    root = make_repo(tmp_path / "repo")
    kind = ["--regex", "dark_current.fits", "--ingest-type", "dark"]
    run_well("butler", "ingest-simulated", "--transfer", "direct", *kind, root, many_darks)
    pipeline = ["-p", ROOT.join("DarkPipeline.yaml"), "-b", root, "--register-dataset-types"]
    run_well("pipetask", "run", *pipeline, "-i", "darkr", "-o", "darks", "-c", f"combineDark:varianceFrom={source}")
    with Butler.from_config(str(root), collections="darks") as butler:
        refs = butler.query_datasets("combined_dark")
        assert len(refs) == 2
        for ref in refs:
            combined = butler.get(ref)
            truth = read_product(many_darks / f"sim_truth_dark_array_{ref.dataId['detector']}.fits").data
            lost = np.isnan(truth)
            np.testing.assert_array_equal(np.isnan(combined.data), lost)
            np.testing.assert_array_equal(combined.flag_plane.has("MISSING_DATA"), lost)
            assert combined.flag_plane.has("NONFUNC")[lost].all()
            pull = ((combined.data - truth) / np.sqrt(combined.variance))[~lost]
            assert abs(pull.mean()) < 4 * pull.std() / np.sqrt(pull.size)
            width = 1.4826 * np.median(np.abs(pull - np.median(pull)))
            assert width == pytest.approx(1, abs=0.06 if source == "inputs" else 0.15)
            local = truth - median_filter(np.nan_to_num(truth), (9, 1))
            assert combined.flag_plane.has("HOT")[local > 0.2].all()
            assert combined.header["LSST BUTLER N_INPUTS"] == combined.header["NCOMBINE"] == COMBINED


def test_the_example_pipeline_subtracts_what_was_ingested(ingested):
    pipeline = "resource://spherex/pipelines/QuickLookPipeline.yaml"
    run_well("pipetask", "run", "-p", pipeline, "-b", ingested, "--register-dataset-types", "-i", "rawexpr,darkr",
             "-o", "subtractr")  # fmt: skip
    with Butler.from_config(str(ingested), collections="subtractr") as butler:
        refs = butler.query_datasets("postDark")
        assert len(refs) == 12
        for ref in refs:
            raw, dark, output = (butler.get(name, ref.dataId) for name in ("rawexp", "dark", "postDark"))
            np.testing.assert_array_equal(output.data, raw.data - dark.data)
            np.testing.assert_array_equal(output.variance, raw.variance + dark.variance)
            np.testing.assert_array_equal(output.flags, raw.flags | dark.flags)
            assert output.header["LSST BUTLER N_INPUTS"] == 2
            assert raw.wcs.wcs.compare(output.wcs.wcs)
            used = butler.find_dataset("dark", ref.dataId)
            assert f"[CALIB] dark {used.id}" in list(output.header["HISTORY"])
        assert len(butler.query_datasets("postDark_plot")) == 12
        metadata = butler.get("subtractDark_metadata", refs[0].dataId)
        assert metadata["subtractDark"]["pixels"] == raw.data.size


@pytest.mark.slow
def test_a_run_is_replaced(ingested):
    pipeline = "resource://spherex/pipelines/ExamplePipeline.yaml"
    run_well("pipetask", "run", "-p", pipeline, "-b", ingested, "--register-dataset-types", "-i", "rawexpr,darkr",
             "-o", "again")  # fmt: skip
    with Butler.from_config(str(ingested)) as butler:
        before = butler.collections.get_info("again").children
    run_well("pipetask", "run", "-p", pipeline, "-b", ingested, "-o", "again", "--replace-run",
             "--prune-replaced=purge")  # fmt: skip
    with Butler.from_config(str(ingested)) as butler:
        after = butler.collections.get_info("again").children
        assert before[0] != after[0]
        assert before[0] not in butler.collections.query("*")
        assert len(butler.query_datasets("postDark", collections="again")) == 12


@pytest.mark.slow
def test_children_of_the_fork_server_do_the_same(ingested):
    pipeline = "resource://spherex/pipelines/ExamplePipeline.yaml"
    command = [sys.executable, "-m", "spherex.tasks.fork_server", "run", "-p", pipeline, "-b", ingested,
               "--register-dataset-types", "-i", "rawexpr,darkr", "-o", "forked", "-j", "2",
               "--start-method", "forkserver"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with Butler.from_config(str(ingested)) as butler:
        assert len(butler.query_datasets("postDark", collections="forked")) == 12


@pytest.mark.parametrize("name", [name for name in spherex.tasks.__all__ if name.endswith("Config")])
def test_repositories_record_configurations_by_their_public_name(name: str) -> None:
    text = io.StringIO()
    getattr(spherex.tasks, name)().saveToStream(text)
    assert text.getvalue().startswith(f"import spherex.tasks\nassert type(config) is spherex.tasks.{name},")
    assert type(Config._fromPython(text.getvalue())) is getattr(spherex.tasks, name)
