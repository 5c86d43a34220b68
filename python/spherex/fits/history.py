"""HISTORY of a header, without parsing the rest of it."""

from __future__ import annotations

__all__ = ["history_of"]

from .cards import CARD

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
