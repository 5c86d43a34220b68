"""The house: sizes, the order of the rooms, and what an import brings with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from . import layout

LIGHT_MODULES = ("spherex", "spherex.image", "spherex.photometry")
PACKAGES = ("spherex", "spherex_simulator")


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """Let the rules look at files made up by the test."""

    def write(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / "spherex" / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            (path.parent / "__init__.py").touch()

    monkeypatch.setattr(layout, "SOURCE", tmp_path)
    layout.modules_of.cache_clear()
    yield write
    layout.modules_of.cache_clear()


def test_the_package_has_few_modules_of_a_readable_size():
    figures = layout.figures_of("spherex")
    assert figures.modules <= layout.MOST_MODULES
    assert figures.median >= layout.LEAST_MEDIAN


@pytest.mark.parametrize("package", PACKAGES)
def test_long_modules_give_the_reason(package):
    assert layout.too_long(package) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other(package):
    assert layout.circles(package) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_are_relative_in_a_room_and_stop_at_the_package_of_another(package):
    assert layout.wrong_style(package) == []


def test_imports_go_down_the_rooms():
    assert layout.wrong_order() == []


def test_every_room_is_in_the_order():
    rooms = {module.room for module in layout.modules_of("spherex")} - {None}
    assert rooms - {"version"} == set(layout.ROOMS)


@pytest.mark.parametrize("package", PACKAGES)
def test_names_of_modules_are_plain(package):
    names = [part for module in layout.modules_of(package) for part in module.name.split(".")]
    assert [name for name in names if name.startswith("_") and name != "__main__"] == []


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_the_middleware_is_not_imported(module):
    code = f"import {module}, sys; print([name for name in sys.modules if name.partition('.')[0] == 'lsst'])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_figures_are_printed(capsys):
    assert layout.main() == 0
    assert "| spherex | " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("room", "text"),
    [
        ("image", "from spherex.search import Criteria"),
        ("image", "def late():\n    import spherex.tasks"),
        ("image", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from spherex.cli import commands"),
        ("image", "import lsst.daf.butler"),
        ("search", "from spherex.ingest import ingest"),
        ("cli", "from spherex_simulator import Survey"),
        ("cli", "from spherex import read"),
        ("cli", "from spherex.cellar import wine"),
    ],
)
def test_an_import_against_the_order_is_found(made_up, room, text):
    made_up(**{f"{room}__module": text})
    assert len(layout.wrong_order()) == 1


def test_an_import_down_the_rooms_is_fine(made_up):
    made_up(cli__commands="from spherex.search import find_images\nfrom spherex import detectors", search__engine="")
    assert layout.wrong_order() == []


@pytest.mark.parametrize(
    "text",
    [
        "from spherex.search.engine import find_images",
        "from spherex.image.box import Box",
        "from ..search import find_images",
        "import spherex.search.engine",
    ],
)
def test_an_import_in_another_style_is_found(made_up, text):
    made_up(image__flags=text, image__box="", search__engine="")
    assert layout.wrong_style("spherex") != []


def test_an_import_of_a_sibling_is_fine(made_up):
    made_up(image__flags="from .box import Box\nfrom spherex.errors import UserError", image__box="")
    assert layout.wrong_style("spherex") == []


def test_a_circle_is_found(made_up):
    made_up(image__flags="from .box import Box", image__box="def late():\n    from . import flags")
    assert layout.circles("spherex") == ["spherex.image.box <-> spherex.image.flags"]


def test_a_long_module_is_found(made_up):
    text = "\n" * (layout.MOST_LINES + 1)
    made_up(long=text, explained=f'"""{layout.LONG_MODULE} of its table."""{text}')
    assert layout.too_long("spherex") == [f"spherex.long: {layout.MOST_LINES + 1} lines"]


def test_lines_and_helpers_are_counted(made_up):
    made_up(
        one='"""Text\nof two lines."""\n\n# A comment.\nx = 1\n\n\ndef _once():\n    """Text."""\n    return x\n'
        "\n\ny = _once()\n",
        two="def _never():\n    pass\n",
    )
    figures = layout.figures_of("spherex")
    assert (figures.modules, figures.lines, figures.code_lines) == (2, 15, 6)
    assert (figures.helpers, figures.used_once) == (2, 1)
    assert figures.longest_name == "spherex.one"
