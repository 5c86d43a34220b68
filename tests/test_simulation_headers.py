"""Headers from templates: what the files of the simulator say, card by card."""

import ast
import re
from importlib.resources import files
from pathlib import Path

import pytest
from astropy.io import fits

from spherex_simulator.headers import constant_header, make_header, open_keywords, template_lines
from spherex_simulator.level2 import RELEASES

PYTHON = Path(__file__).parents[1] / "python"
TEMPLATES = sorted(path.name.removesuffix(".txt") for path in (files("spherex_simulator") / "templates").iterdir())


@pytest.mark.parametrize("name", TEMPLATES)
def test_cards_of_templates_are_valid(name: str) -> None:
    header = make_header(name, dict.fromkeys(open_keywords(name), 1.5))
    assert len(header) == len(template_lines(name))
    for card in header.cards:
        card.verify("exception")
        assert len(str(card)) == 80


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_value_is_needed(name: str) -> None:
    keywords = open_keywords(name)
    values = dict.fromkeys(keywords, 0)
    for keyword in keywords:
        with pytest.raises(KeyError, match=re.escape(repr(keyword))):
            make_header(name, {key: value for key, value in values.items() if key != keyword})


def test_values_stand_where_the_template_has_them() -> None:
    values = dict.fromkeys(open_keywords("qr2_image"), 0) | {"OBSID": "2026W07_1A_0001_1", "SPS_ELON": 22.5}
    header = make_header("qr2_image", values | {"[CALIB] dark": None, "[CALIB] sip": "some-id", "UNUSED": 1})
    assert str(header.cards["OBSID"]).rstrip() == "OBSID   = '2026W07_1A_0001_1'  / Observation ID"
    assert str(header.cards["SPS_ELON"]).startswith("SPS_ELON= 22.500000 / [deg] Ecliptic longitude")
    assert "[CALIB] sip some-id" in list(header["HISTORY"])
    assert not any("dark" in line for line in header["HISTORY"])
    # The whole comment, of pixels due to low efficiency of dichroic, does not fit.
    count = make_header("qr2_image", values | {"L2 N_DICHROIC": 123456}).cards["L2 N_DICHROIC"]
    assert str(count) == "HIERARCH L2 N_DICHROIC = 123456 / number of flagged pixels due to low efficiency"
    assert len(str(count)) == 80


@pytest.mark.parametrize("release", sorted(RELEASES))
def test_flags_are_those_of_the_template(release: str) -> None:
    flags = RELEASES[release].flags
    assert {"HOT": 10, "SOURCE": 21, "SNOWBALL": 27}.items() <= flags.items()
    assert ("PHANTOM" in flags, "SATELLITE_HALO" in flags) == ((True, False) if release == "qr2" else (False, True))
    header = constant_header(RELEASES[release].flags_template)
    assert isinstance(header, fits.Header)
    assert header["EXTNAME"] == "FLAGS"


def test_spherex_does_not_import_its_simulator() -> None:
    for path in (PYTHON / "spherex").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "spherex_simulator" for name in names), path
