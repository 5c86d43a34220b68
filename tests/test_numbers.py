"""Numbers and angles as users write them, in texts and on every command line."""

from __future__ import annotations

import click
import pytest

from spherex.cli import commands
from spherex.errors import SearchError
from spherex.numbers import is_number, is_sexagesimal, number_of_text, sexagesimal
from spherex.search import degrees_of
from spherex_simulator.command import simulate

NUMBERS = {"10": 10.0, " -1.5e2 ": -150.0, "+.5": 0.5, "7.": 7.0, "1E-3": 0.001}
NO_NUMBERS = ["1_0", "1_0.5", "１0", "٣", "nan", "inf", "0x10", "", "-", ".", "1e", "1,5", "1 0", "1d3"]
ANGLES = {
    "20:32:06.5": 20.535138889,
    "-00 30 00": -0.5,
    "+ 1:2:3": 1.034166667,
    "-0:0:36": -0.01,
    "359 59 59.": 359.9997222,
}
NO_ANGLES = ["20:32", "1:2:3:4", "1:60:00", "1:00:60", "1 2:3", "1_0:0:0", "１:0:0", "1:-2:3", "1.5:2:3", "1h2m3s"]


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers(text: str) -> None:
    assert is_number(text)
    assert number_of_text(text) == NUMBERS[text]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_texts_that_are_not_numbers(text: str) -> None:
    assert not is_number(text)
    with pytest.raises(ValueError, match="is not a decimal number"):
        number_of_text(text)


@pytest.mark.parametrize("text", ANGLES)
def test_sexagesimal_texts(text: str) -> None:
    assert is_sexagesimal(text)
    assert sexagesimal(text) == pytest.approx(ANGLES[text], abs=1e-7)


@pytest.mark.parametrize("text", NO_ANGLES)
def test_texts_that_are_not_sexagesimal(text: str) -> None:
    assert not is_sexagesimal(text)
    with pytest.raises(ValueError, match="is not hours or degrees"):
        sexagesimal(text)


def numeric_parameters() -> list[tuple[str, click.Parameter]]:
    """Return all parameters of our commands that are numbers."""
    found = [getattr(commands, name) for name in commands.__all__]
    types = (click.types.IntParamType, click.types.FloatParamType)
    return [
        (f"{command.name} {parameter.name}", parameter)
        for command in (*found, simulate)
        for parameter in command.params
        if isinstance(parameter.type, types)
    ]


@pytest.mark.parametrize(("name", "parameter"), numeric_parameters(), ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("text", ["1_0", "１0", "nan"])
def test_options_read_plain_numbers(name: str, parameter: click.Parameter, text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a"):
        parameter.type.convert(text, parameter, None)


def test_many_options_are_numbers() -> None:
    assert len(numeric_parameters()) >= 12


@pytest.mark.parametrize("text", ["1_0", "１0", "1_0arcmin"])
def test_radius(text: str) -> None:
    with pytest.raises(SearchError, match="is not an angle"):
        degrees_of(text)
