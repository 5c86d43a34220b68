"""The map of the package in doc/extending.md leads to what there is."""

from __future__ import annotations

import ast
import re

import pytest

from . import layout
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
