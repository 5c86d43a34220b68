"""Every shipped pipeline, as the stock pipetask takes it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from lsst.daf.butler import Butler
from lsst.pipe.base import Pipeline
from lsst.resources import ResourcePath
from programs import run_well

PIPELINES = [path.basename() for path in ResourcePath.findFileResources(["resource://spherex/pipelines/"], r"\.yaml$")]


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
    return root


def test_there_are_pipelines():
    assert "ExamplePipeline.yaml" in PIPELINES


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_is_documented_and_builds_a_graph(ingested, name, tmp_path):
    uri = f"resource://spherex/pipelines/{name}"
    assert yaml.safe_load(ResourcePath(uri).read())["description"].endswith(".")
    assert Pipeline.from_uri(uri).task_labels
    done = run_well("pipetask", "qgraph", "-p", uri, "-b", ingested, "-i", "rawexpr,darkr", "-o", "u/graph",
                    "--qgraph-dot", tmp_path / "graph.dot")  # fmt: skip
    assert re.search(r"[1-9]\d* quanta", done.stdout + done.stderr)
    assert "digraph" in (tmp_path / "graph.dot").read_text()


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
    run_well("pipetask", "run", "-p", pipeline, "-b", ingested, "--register-dataset-types", "-i", "rawexpr,darkr",
             "-o", "forked", "-j", "2", "--start-method", "forkserver")  # fmt: skip
    with Butler.from_config(str(ingested)) as butler:
        assert len(butler.query_datasets("postDark", collections="forked")) == 12
