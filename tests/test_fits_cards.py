"""Header cards: every form that astropy reads has the same value here, or is an error."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits

from spherex.errors import ProductError
from spherex.fits.cards import Cards

from .level2_helpers import RUN, ingest_level2, level2_record, write_level2

FORMS = [
    (b"KEY     = 5", 5),
    (b"KEY     = +7 / comment", 7),
    (b"KEY     = 007", 7),
    (b"KEY     = - 5", -5),
    (b"KEY     = 1.5D+03", 1500.0),
    (b"KEY     =   1.5d3/comment", 1500.0),
    (b"KEY     = 1.5 E 3 / comment", 1500.0),
    (b"KEY     = .5", 0.5),
    (b"KEY     = T/comment", True),
    (b"KEY     =                    5 /6", 5),
    (b"KEY= 5", 5),
    (b"key     = 5", 5),
    (b"  KEY   = 5", 5),
    (b"KEY     = ''", ""),
    (b"KEY     = '   '", ""),
    (b"KEY     = ' a '", " a"),
    (b"KEY     = 'abc'/comment", "abc"),
    (b"KEY     = 'abc' / it's 'quoted'", "abc"),
    (b"KEY     = 'it''s'", "it's"),
    (b"KEY     = 'a' 'b'", "a' 'b"),
    (b"KEY     = 'long &'".ljust(80) + b"CONTINUE  'text' / comment", "long text"),
    (b"KEY     =", None),
    (b"KEY     = / no value", None),
    (b"HIERARCH KEY = 5", 5),
    (b"HIERARCH  KEY   =   5 / two blanks", 5),
    (b"HIERARCH key = 5", 5),
    (b"HIERARCH KEY=5", 5),
    (b"HIERARCH KEY ='a'/comment", "a"),
    (b"HIERARCH KEY 5", None),
]


def read(card: bytes, keyword: str = "KEY") -> Any:
    return Cards(card.ljust(-(-len(card) // 80) * 80)).get(keyword)


def read_by_astropy(card: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = fits.Header.fromstring(card.ljust(-(-len(card) // 80) * 80)).get("KEY")
    return None if isinstance(value, fits.card.Undefined) else value


@pytest.mark.parametrize(("card", "value"), FORMS, ids=str)
def test_form(card: bytes, value: Any) -> None:
    assert read_by_astropy(card) == value
    assert read(card) == value
    assert type(read(card)) is type(value)


@pytest.mark.parametrize(
    "text",
    [b" 'abc' def / c", b" 'abc", b" TRUE", b" 1_000", b" 0x10", b" (1,2)", b"5", b"'abc'", b"                    5 6"],
    ids=str,
)
def test_form_without_a_meaning(text: bytes) -> None:
    with pytest.raises(ProductError, match="KEY has no valid value"):
        read(b"KEY     =" + text)


def test_of_several_cards_the_first_counts() -> None:
    cards = [b"key     = 1", b"KEY     = 2", b"HIERARCH KEY = 3", b"HIERARCH LONG  KEY = 4", b"HIERARCH long  key = 5"]
    for first in range(3):
        block = b"".join(card.ljust(80) for card in cards[first:])
        assert read(block) == read_by_astropy(block) == first + 1
    assert read(block, "LONG  KEY") == 4


def test_changed_cards_are_read_as_by_astropy_or_not_at_all() -> None:
    generator = random.Random(20261127)
    cards = [card for card, _ in FORMS if len(card) <= 80]
    for _ in range(20_000):
        card = bytearray(generator.choice(cards).ljust(80))
        for _ in range(generator.randint(1, 3)):
            card[generator.randrange(60)] = generator.choice(b" '/=+-.0159DEdeKTky_(HIERARCH")
        changed = bytes(card)
        try:
            found = read(changed)
        except ProductError:
            continue
        try:
            expected = read_by_astropy(changed)
        except (fits.VerifyError, ValueError):
            # A value that Python calls a number, such as NaN or Infinity, is refused by whoever asks for a number.
            assert found is None or found != found or abs(found) == float("inf"), changed
            continue
        # Without "= " astropy returns the rest of the card as a text.
        has_value = b"= " in changed[:10] or changed[:8].upper() == b"HIERARCH"
        assert found == expected or not has_value, changed


@pytest.mark.parametrize(
    "card",
    [
        b"HIERARCH SPS_FLAGS = 'deep_north' / one blank",
        b"HIERARCH  SPS_FLAGS   =   'deep_north' / two blanks",
        b"HIERARCH sps_flags = 'deep_north' / lower case",
    ],
    ids=["one", "two", "lower"],
)
def test_the_survey_in_other_words(repo_root: Path, tmp_path: Path, card: bytes) -> None:
    path = write_level2(tmp_path / "in")
    content = path.read_bytes()
    at = content.index(b"HIERARCH SPS_FLAGS") if b"HIERARCH SPS_FLAGS" in content else content.index(b"SPS_FLAGS=")
    path.write_bytes(content[:at] + card.ljust(80) + content[at + 80 :])
    assert ingest_level2(repo_root, "--processing-run", RUN, path).code == 0
    assert level2_record(repo_root).survey == "deep_north"
