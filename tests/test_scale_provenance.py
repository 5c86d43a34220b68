"""Provenance of a run in one graph; doc/scale_out.md."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from lsst.daf.butler import Butler

from .scale_helpers import DETECTORS, EXPOSURES, NEWER, Survey, command
from .test_readme import ROOT, blocks_of, environment, run_blocks


def loses_its_position() -> bool:
    """Return whether this Python has the fault of `zipfile` that the page names (CPython 127847)."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("first", b"123")
        archive.writestr("second", b"456")
    with zipfile.ZipFile(content) as archive, archive.open("first") as first, archive.open("second") as second:
        first.read()
        second.seek(1)
        try:
            return second.read(1) != b"5"
        except EOFError:
            return True


@pytest.mark.slow
def test_a_graph_has_the_provenance_of_a_run(survey: Survey, tmp_path: Path) -> None:
    repo = shutil.copytree(survey.repo, tmp_path / "DATA")
    printed = run_blocks(blocks_of(ROOT / "doc" / "scale_out.md", "sh provenance"), tmp_path, environment())
    images = len(DETECTORS) * len(EXPOSURES)
    assert re.search(rf"^ *measureTargets +0 +0 +{images} +{images} +{images}$", printed, re.MULTILINE)
    assert (repo / "batch").is_dir()
    with Butler.from_config(str(repo), collections="batch/1") as butler:
        assert len(butler.query_datasets("measureTargets_log")) == images
        # They have no files of their own.
        uris = {butler.getURI(ref) for ref in butler.query_datasets("measureTargets_log")}
        assert len(uris) == 1
        for name in ("measureTargets_log", "measureTargets_metadata", "gatherSpectra_log"):
            for ref in butler.query_datasets(name):
                # Small graphs can be read by any Python.
                with contextlib.suppress(ValueError) if loses_its_position() else contextlib.nullcontext():
                    assert butler.get(ref) is not None
    # The spectra contain the UUIDs of their inputs: no file of a quantum is needed.
    assert re.search(r"^0 of [1-9]\d* spectra are out of date", command("stale-spectra", repo, "batch/1"), re.MULTILINE)
    command("collection-chain", repo, "SPHEREx/level2", f"SPHEREx/level2/{NEWER}", "--mode", "remove")
    assert f"{len(EXPOSURES)} images superseded" in command("stale-spectra", repo, "batch/1")
