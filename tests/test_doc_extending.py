"""The map of the package in doc/extending.md leads to what there is."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, DatasetType

from . import layout
from .ingest_helpers import butler_command
from .test_readme import ROOT, UNIVERSE, blocks_of

PAGE = (ROOT / "doc" / "extending.md").read_text()
PLACES = re.findall(r"`(\w+)` in\s+\[([\w/]+\.py)\]\(\.\./python/spherex/\2\)", PAGE)


def test_the_map_answers_the_questions() -> None:
    assert len(PLACES) >= 8


@pytest.mark.parametrize(("name", "file"), PLACES)
def test_places_of_the_map_exist(name: str, file: str) -> None:
    tree = ast.parse((ROOT / "python" / "spherex" / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


@pytest.mark.parametrize(("info", "file"), [("toml", "pyproject.toml"), ("python", "python/plates/cmd.py")])
def test_the_page_quotes_the_example(info: str, file: str) -> None:
    (quoted,) = blocks_of(ROOT / "doc" / "extending.md", info)
    assert quoted in (UNIVERSE / file).read_text()


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
