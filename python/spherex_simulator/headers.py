"""Headers from templates: the cards of each HDU as text, and the values that differ from file to file.

A template is a file of the folder ``templates``, one card a line, in the order,
spelling and wording of the file that is simulated:

* ``KEYWORD = {} / comment`` is a card whose value is filled in, and
  ``KEYWORD = {:.6f} / comment`` one whose value is written in that form;
* ``HISTORY text {}`` is a line that ends with a value; its keyword is the text;
* ``@name`` includes the lines of another template;
* any other line is a card as it is.
"""

from __future__ import annotations

import datetime
import functools
import importlib.resources
import re
from collections.abc import Mapping

from astropy.io import fits

from .detector import EXPOSURE_TIME, SAMPLE_TIME
from .pointing import Pointing

CardValue = str | int | float | bool

_CARD = 80
_MJD_ZERO = datetime.datetime(1858, 11, 17)
_OPEN_CARD = re.compile(r"(?P<card>(?:HIERARCH )?(?P<keyword>.+?)) *= \{(?P<form>:[^}]*)?\}(?: / (?P<comment>.*))?")
_OPEN_HISTORY = re.compile(r"HISTORY (?P<keyword>.+) \{\}")


@functools.cache
def template_lines(name: str) -> tuple[str, ...]:
    """Return the lines of a template, with the templates that it includes.

    Parameters
    ----------
    name
        Name of the file without its suffix, such as ``qr2_image``.
    """
    file = importlib.resources.files("spherex_simulator") / "templates" / f"{name}.txt"
    lines: list[str] = []
    for line in file.read_text("ascii").splitlines():
        lines += template_lines(line[1:]) if line.startswith("@") else [line]
    return tuple(lines)


@functools.cache
def open_keywords(name: str) -> tuple[str, ...]:
    """Return the keywords of a template whose values are to be filled in, without HIERARCH.

    Parameters
    ----------
    name
        Name of the template.
    """
    return tuple(match["keyword"] for _, match in _parsed(name) if match)


def constant_header(name: str) -> fits.Header:
    """Return the cards of a template that are the same in every file.

    Parameters
    ----------
    name
        Name of the template.
    """
    return fits.Header([fits.Card.fromstring(line) for line, match in _parsed(name) if not match])


def make_header(name: str, values: Mapping[str, CardValue | None]) -> fits.Header:
    """Return the header that a template describes.

    Parameters
    ----------
    name
        Name of the template.
    values
        Values by keyword, without HIERARCH; more than the template needs
        are ignored. A HISTORY line whose value is `None` is left out.

    Raises
    ------
    KeyError
        If a value that the template needs is missing.
    """
    cards = []
    for line, match in _parsed(name):
        if match is None:
            cards.append(fits.Card.fromstring(line))
        elif match.re is _OPEN_CARD:
            cards.append(_card(match, values[match["keyword"]]))
        elif (value := values[match["keyword"]]) is not None:
            cards.append(fits.Card("HISTORY", f"{match['keyword']} {value}"))
    return fits.Header(cards)


@functools.cache
def _parsed(name: str) -> list[tuple[str, re.Match[str] | None]]:
    return [(line, _OPEN_CARD.fullmatch(line) or _OPEN_HISTORY.fullmatch(line)) for line in template_lines(name)]


def _card(match: re.Match[str], value: CardValue | None) -> fits.Card:
    keyword, comment = match["card"], match["comment"] or ""
    if match["form"]:
        return fits.Card.fromstring(f"{keyword:8}= {value:{match['form'][1:]}} / {comment}"[:_CARD])
    # At most: values of up to 20 characters are padded to that length.
    length = max(len(keyword), 8) + max(len(repr(value)), 20) + len(" =   / ") + len(comment)
    if length > _CARD:
        # A comment is cut where the card ends, as in the archive's files.
        comment = comment[: _CARD + 1 - len(str(fits.Card(keyword, value, "x")).rstrip())]
    return fits.Card(keyword, value, comment)


def time_values(pointing: Pointing) -> dict[str, CardValue]:
    """Return the values of the cards with times and length of an exposure.

    Parameters
    ----------
    pointing
        Attitude and time of the exposure.
    """
    values: dict[str, CardValue] = {"TSAMP": SAMPLE_TIME, "XPOSURE": EXPOSURE_TIME}
    times = {"OBS": pointing.begin, "BEG": pointing.begin, "AVG": pointing.middle, "END": pointing.end}
    for suffix, time in times.items():
        values[f"DATE-{suffix}"] = time.isoformat(timespec="milliseconds")
        values[f"MJD-{suffix}"] = round((time - _MJD_ZERO) / datetime.timedelta(days=1), 9)
    return values
