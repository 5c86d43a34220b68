"""Values of single header cards, without a header object."""

from __future__ import annotations

__all__ = ["CARD", "CardValue", "Cards", "card_values"]

from collections.abc import Iterable, Iterator, Mapping

CARD = 80
"""Bytes of a header card (FITS standard 4.0, section 4.1)."""

_STANDARD_KEYWORD = 8
_LOGICAL = {b"T": True, b"F": False}

CardValue = str | int | float | bool


class Cards(Mapping[str, CardValue]):
    """Values of the cards of a header, each parsed when it is asked for.

    If a keyword stands more than once its first card counts, as in astropy.
    Cards without a value are not there. Asking for a damaged card raises
    `ValueError`.

    Parameters
    ----------
    header
        Bytes of the cards, without END.
    """

    def __init__(self, header: bytes) -> None:
        self._header = header
        # The whole header is indexed once: that costs less than searching it
        # for more than a handful of keywords.
        self._places = {header[at : at + 8]: at for at in range(len(header) - CARD, -1, -CARD)}

    def __getitem__(self, keyword: str) -> CardValue:
        if len(keyword) > _STANDARD_KEYWORD:
            return self._long(keyword)
        at = self._places[keyword.encode("ascii").ljust(_STANDARD_KEYWORD)]
        if self._header[at + 8 : at + 10] != b"= ":
            raise KeyError(keyword)
        value = _parse(self._header, at)
        if value is None:
            raise KeyError(keyword)
        return value

    def _long(self, keyword: str) -> CardValue:
        """Return the value of a HIERARCH card, which astropy parses: few are asked for."""
        from astropy.io import fits

        start = f"HIERARCH {keyword}".encode("ascii")
        at = self._header.find(start)
        while at >= 0:
            card = self._header[at : at + CARD]
            if at % CARD == 0 and card[len(start) :].lstrip().startswith(b"="):
                return fits.Card.fromstring(card).value
            at = self._header.find(start, at + 1)
        raise KeyError(keyword)

    def __iter__(self) -> Iterator[str]:
        return (key.decode("ascii", "replace").rstrip() for key in self._places)

    def __len__(self) -> int:
        return len(self._places)


def card_values(header: bytes, keywords: Iterable[str]) -> dict[str, CardValue]:
    """Read the values of some cards of a header.

    Parameters
    ----------
    header
        Bytes of the cards, without END.
    keywords
        Keywords wanted; longer than eight characters those of HIERARCH cards.

    Returns
    -------
    values : `dict`
        Values of those keywords that are there and have one.

    Raises
    ------
    ValueError
        If a card is damaged.
    """
    cards = Cards(header)
    values = ((keyword, cards.get(keyword)) for keyword in keywords)
    return {keyword: value for keyword, value in values if value is not None}


def _parse(header: bytes, at: int) -> CardValue | None:
    text = header[at + 10 : at + CARD]
    stripped = text.lstrip()
    if stripped.startswith(b"'"):
        return _parse_string(header, at)
    token = text.partition(b"/")[0].strip()
    if not token:
        return None
    if token in _LOGICAL:
        return _LOGICAL[token]
    try:
        return int(token)
    except ValueError:
        return float(token.replace(b"D", b"E").replace(b"d", b"e"))


def _parse_string(header: bytes, at: int) -> str:
    following = header[at + CARD : at + CARD + 8]
    text = header[at + 10 : at + CARD].lstrip()
    end = text.find(b"'", 1)
    if following != b"CONTINUE" and end > 0 and text[end + 1 : end + 2] != b"'":
        return text[1:end].decode("ascii").rstrip()
    # Doubled quotes and strings that go on in the next card are rare enough
    # to leave them to astropy.
    from astropy.io import fits

    stop = at + CARD
    while header[stop : stop + 8] == b"CONTINUE":
        stop += CARD
    value = fits.Card.fromstring(header[at:stop]).value
    if not isinstance(value, str):
        raise ValueError(f"the card {header[at : at + CARD].decode('ascii', 'replace').strip()!r} is damaged")
    return value
