"""Header cards as bytes: values of single cards, and changes, without an `astropy.io.fits.Header`.

A header of 240 cards is indexed here in a fraction of the time that
`astropy.io.fits.Header.fromstring` takes, and its cards are parsed one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from astropy.io import fits

from spherex.errors import ProductError

CARD = fits.Card.length
"""Bytes of a header card (FITS standard 4.0, section 4.1)."""

_KEYWORD = 8
_VALUE = 10
_FIXED = 20
_AFTER_FIXED = b" /"
_HIERARCH = b"HIERARCH "
_SPACE = ord(" ")
_BLANK = b" " * _KEYWORD
_COLUMNS = np.dtype([("keyword", f"S{_KEYWORD}"), ("rest", f"S{CARD - _KEYWORD}")])
_LOGICAL = {b"T": True, b"F": False}
_UNREAD: Any = object()

CardValue = str | int | float | bool


class Cards(Mapping[str, CardValue]):
    """Mapping from the keywords of a header to their values, each parsed at its first access.

    Of several cards with one keyword the first counts, as in astropy. Cards
    without a value are absent. Access to a damaged card raises `ProductError`
    with the HDU and the keyword.

    Parameters
    ----------
    header
        Bytes of the cards, without END.
    index
        Position of the HDU in its file, `None` for cards outside of a file.
    """

    def __init__(self, header: bytes, index: int | None = None) -> None:
        self.header = header
        self._index = index
        # The whole header is indexed once: that costs less than searching it
        # for more than a handful of keywords.
        self._keywords = np.frombuffer(header, _COLUMNS, len(header) // CARD)["keyword"].tolist()
        places = range(CARD * len(self._keywords) - CARD, -1, -CARD)
        self._places: dict[bytes, int] = dict(zip(reversed(self._keywords), places, strict=True))
        self._is_continued = b"CONTINUE" in self._places
        self._values: dict[str, CardValue | None] = {}
        self._unusual: dict[bytes, tuple[int, int]] | None = None

    # The methods that Mapping derives raise and catch an exception for every
    # absent card; ingest asks for many of these.
    def get(self, keyword: str, default: Any = None) -> Any:
        """Return the value of a card, or the default if it is absent."""
        value = self._values.get(keyword, _UNREAD)
        if value is _UNREAD:
            value = self._values[keyword] = self._read(keyword)
        return default if value is None else value

    def __getitem__(self, keyword: str) -> CardValue:
        value = self.get(keyword)
        if value is None:
            raise KeyError(keyword)
        return value

    def __contains__(self, keyword: object) -> bool:
        return isinstance(keyword, str) and self.get(keyword) is not None

    def __iter__(self) -> Iterator[str]:
        return (key.decode("ascii", "replace").rstrip() for key in self._places)

    def __len__(self) -> int:
        return len(self._places)

    def integer(self, keyword: str, default: int | None = None) -> int:
        """Return the value of a card that must be an integer.

        Parameters
        ----------
        keyword
            Header keyword.
        default
            Value if the card is absent; `None` if the card is required.

        Raises
        ------
        ProductError
            If the card is absent without a default, or not an integer.
        """
        value = self.get(keyword, default)
        if type(value) is int:
            return value
        raise self.damage(f"{keyword} is missing" if value is None else f"{keyword} is not an integer: {value!r}")

    def damage(self, what: str) -> ProductError:
        """Return the error for a damaged header, with its HDU.

        Parameters
        ----------
        what
            What is wrong, with the keyword.
        """
        if self._index is None:
            return ProductError(f"the header is damaged: {what}")
        at = self.place_of("EXTNAME")
        card = b"" if at is None else self.header[at : at + CARD]
        # The card of the name may be the damaged one.
        name = card[_VALUE:].partition(b"/")[0].strip(b"' ").decode("ascii", "replace")
        return ProductError(f"the header of HDU {self._index}{f' ({name})' if name else ''} is damaged: {what}")

    def lacks(self, keywords: frozenset[str]) -> bool:
        """Return whether all of these keywords are absent."""
        return self._places.keys().isdisjoint(_all_padded(keywords))

    def place_of(self, keyword: str) -> int | None:
        """Return the offset of the card of a keyword of up to eight characters, `None` if it is absent."""
        return self._places.get(_padded(keyword))

    def readable(self) -> dict[str, CardValue]:
        """Return the values of all cards that have one, and the text of a damaged card behind its keyword."""
        found = {}
        for keyword in self:
            try:
                value = self.get(keyword)
            except ProductError:
                at = self._places[_padded(keyword)]
                value = self.header[at + _KEYWORD : at + CARD].decode("ascii", "replace").strip("= ")
            if value is not None:
                found[keyword] = value
        return found

    def is_repeated(self, keyword: str) -> bool:
        """Return whether two cards have a keyword of up to eight characters."""
        if self._keywords.count(_padded(keyword)) < 2:
            return False
        at, card = self.place_of(keyword), _padded(keyword) + b"="
        while at is not None and (at := self.header.find(card, at + 1)) >= 0:
            if at % CARD == 0:
                return True
        return False

    def _read(self, keyword: str) -> CardValue | None:
        key = _padded(keyword)
        at = self._places.get(key)
        if self._unusual is None:
            self._unusual = self._find_unusual()
        try:
            if key in self._unusual:
                place, start = self._unusual[key]
                if at is None or place < at:
                    return self._parse(place, start)
            if at is None:
                return None
            sign = self.header[at + _KEYWORD : at + _VALUE]
            if sign == b"= ":
                if self._is_continued:
                    return self._parse(at, _VALUE)
                return _parse_card(self.header[at : at + CARD], _VALUE)
            if sign.startswith(b"="):
                raise ValueError("there is no blank after its equals sign")
            return None
        except ValueError as error:
            raise self.damage(f"{keyword} has no valid value, {error}") from None

    def _find_unusual(self) -> dict[bytes, tuple[int, int]]:
        """Return places and values of the cards whose keyword is not plain text in the first eight bytes.

        They are the HIERARCH cards and, as in astropy, keywords in lower case,
        behind blanks, or with an early equals sign.
        """
        header = self.header
        keywords = b"\n".join([b"", *self._places])
        if keywords == keywords.upper() and b"=" not in keywords and b"\n " not in keywords.replace(_BLANK, b""):
            cards = [number * CARD for number, keyword in enumerate(self._keywords) if keyword == b"HIERARCH"]
            # Of several cards with one keyword the first is set last.
            return {
                header[at + len(_HIERARCH) : equals].strip().upper().ljust(_KEYWORD): (at, equals + 1 - at)
                for at in reversed(cards)
                if header[at + _KEYWORD] == _SPACE and (equals := header.find(b"=", at, at + CARD)) >= 0
            }
        found: dict[bytes, tuple[int, int]] = {}
        for at in range(0, len(header), CARD):
            card = header[at : at + CARD]
            is_hierarch = card[: len(_HIERARCH)].upper() == _HIERARCH
            equals = card.find(b"=" if is_hierarch else b"= ")
            if equals < 0 or not (is_hierarch or equals <= _KEYWORD):
                continue
            keyword = card[len(_HIERARCH) if is_hierarch else 0 : equals].strip().upper().ljust(_KEYWORD)
            found.setdefault(keyword, (at, equals + (1 if is_hierarch else 2)))
        return found

    def _parse(self, at: int, start: int) -> CardValue | None:
        """Return the value of the card at an offset; the value begins at byte ``start`` of the card."""
        header = self.header
        stop = at + CARD
        if header.startswith(b"CONTINUE", stop) and header[at + start : stop].lstrip().startswith(b"'"):
            while header.startswith(b"CONTINUE", stop):
                stop += CARD
            return _parse_by_astropy(header[at:stop])
        return _parse_card(header[at:stop], start)


def card_images(cards: bytes) -> list[bytes]:
    """Return the cards of a header as a list, each with its CONTINUE cards."""
    if not cards:
        return []
    starts = [at for at in range(0, len(cards), CARD) if cards[at : at + _KEYWORD] != b"CONTINUE"]
    return [cards[at:stop] for at, stop in zip(starts, [*starts[1:], len(cards)], strict=True)]


def header_bytes(header: fits.Header) -> bytes:
    """Return the cards of an astropy header, without END."""
    return "".join([str(card) for card in header.cards]).encode("ascii")


def with_card(cards: bytes, keyword: str, value: CardValue, comment: str = "") -> bytes:
    """Return the cards of a header with a keyword set to a value.

    Parameters
    ----------
    cards
        Cards of a header, without END. If the keyword already has the value
        they are returned unchanged.
    keyword
        Keyword of at most eight characters.
    value
        Its value.
    comment
        Comment of the card, if it is new.
    """
    known = Cards(cards)
    if known.get(keyword) == value:
        return cards
    at = known.place_of(keyword)
    if at is None:
        return cards + fits.Card(keyword, value, comment).image.encode("ascii")
    stop = at + CARD
    while cards[stop : stop + _KEYWORD] == b"CONTINUE":
        stop += CARD
    card = fits.Card.fromstring(cards[at:stop])
    card.value = value
    return cards[:at] + card.image.encode("ascii") + cards[stop:]


@functools.cache
def _padded(keyword: str) -> bytes:
    return keyword.encode("ascii").ljust(_KEYWORD)


@functools.cache
def _all_padded(keywords: frozenset[str]) -> frozenset[bytes]:
    return frozenset(map(_padded, keywords))


# Consecutive files have most cards in common.
@functools.lru_cache(4096)
def _parse_card(card: bytes, start: int) -> CardValue | None:
    """Return the value of a card without CONTINUE; the value begins at byte ``start``."""
    rest = start + _FIXED
    if rest < CARD and card[rest] in _AFTER_FIXED and b"_" not in card[start:] and _is_comment(card[rest:]):
        # Nearly all numbers are in columns 11 to 30 (section 4.2).
        token = card[start:rest]
        try:
            return float(token) if b"." in token else int(token)
        except ValueError:
            pass
    text = card[start:].lstrip()
    if text.startswith(b"'"):
        end = text.find(b"'", 1)
        if end > 0 and text[end + 1 : end + 2] != b"'" and _is_comment(text[end + 1 :]):
            return text[1:end].decode("ascii").rstrip()
        return _parse_by_astropy(card)
    token = text.partition(b"/")[0].rstrip()
    if not token:
        return None
    if token in _LOGICAL:
        return _LOGICAL[token]
    # 1_000 is a number in Python, not in FITS.
    if b"_" not in token:
        try:
            return int(token)
        except ValueError:
            pass
        try:
            return float(token.replace(b"D", b"E").replace(b"d", b"e"))
        except ValueError:
            pass
    return _parse_by_astropy(card)


def _is_comment(rest: bytes) -> bool:
    """Return whether what follows a value is blank or a comment."""
    return rest.lstrip()[:1] in (b"", b"/")


def _parse_by_astropy(cards: bytes) -> CardValue | None:
    """Return the value of a card with doubled quotes, CONTINUE cards or blanks in a number; these are rare."""
    try:
        value = fits.Card.fromstring(cards).value
    except fits.VerifyError:
        value = None
    if not isinstance(value, str | int | float):
        raise _damaged(cards[:CARD].partition(b"=")[2].lstrip())
    return value


def _damaged(text: bytes) -> ValueError:
    return ValueError(repr(text.decode("ascii", "replace").rstrip()))


_HISTORY = b"HISTORY "


def history_of(cards: bytes) -> list[str]:
    """Return the texts of the HISTORY cards.

    Parameters
    ----------
    cards
        Cards of a header, without END.
    """
    texts = (cards[at : at + CARD] for at in range(0, len(cards), CARD))
    return [text[len(_HISTORY) :].decode("ascii", "replace").rstrip() for text in texts if text.startswith(_HISTORY)]
