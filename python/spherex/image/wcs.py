"""World coordinate systems of an image: read from its header, shifted for a cut, and written back."""

from __future__ import annotations

import functools
import itertools
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.wcs import WCS, FITSFixedWarning, Sip, Wcsprm

from spherex.detectors import FRAME_SIDE
from spherex.errors import FrameError
from spherex.headers import number_of

from .box import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PIXEL = r"(?:CRPIX[12][A-Z]?|NAXIS[12])"
_PIXEL_CARD = re.compile(_PIXEL + "$")
_PIXEL_BYTES = re.compile(_PIXEL.encode("ascii") + rb" *$")
_CARD = fits.Card.length
_VALUE = 10
_NUMBER = re.compile(r" *[+-]?(?:\d+\.?\d*|\.\d+)(?:[ED][+-]?\d+)? *(?:/|$)")
_NUMBERS = (
    r"WCSAXES|EQUINOX|LONPOLE|LATPOLE|MJDREF|(?:CRPIX|CDELT|CRVAL|CROTA)[12]"
    r"|(?:PC|CD|PV)[12]_\d+|(?:A|B|AP|BP)_(?:ORDER|DMAX|\d_\d)"
)
_ALTERNATIVE = (
    r"(?:WCSAXES|WCSNAME|RADESYS|EQUINOX|LONPOLE|LATPOLE|SPECSYS|RESTFRQ|RESTWAV"
    r"|(?:CRPIX|CDELT|CUNIT|CTYPE|CRVAL|CNAME|CROTA)\d+|(?:PC|CD|PV|PS)\d+_\d+)"
)
_CELESTIAL = rf"(?:{_NUMBERS}|WCSNAME|RADESYS|(?:CUNIT|CTYPE|CNAME)[12]|PS[12]_\d+)"
_SIP_CARD = re.compile(r"[AB]P?_(?:ORDER|\d+_\d+)$")
_HIGHEST_ORDER = 9
_REFERENCE = ("CRPIX1", "CRPIX2")
_CELESTIAL_CARD = re.compile(_CELESTIAL + "$")
_CELESTIAL_BYTES = re.compile(_CELESTIAL.encode("ascii") + rb" *$")


def celestial_wcs(header: fits.Header) -> WCS | None:
    """Return the celestial coordinate system of a header.

    Parameters
    ----------
    header
        Header of the image.

    Returns
    -------
    wcs : `astropy.wcs.WCS` or `None`
        `None` if the header has no celestial coordinate system.

    Raises
    ------
    ValueError
        If the value of a card is not a number, as it must be.
    """
    if "CTYPE1" not in header:
        return None
    # astropy gets the cards of this coordinate system only: with the whole
    # header it takes three times as long, and logs a message on the SIP
    # polynomial for each of the alternative systems.
    cards = _celestial(header)
    _check_numbers(cards)
    _refuse_tables(header)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        # astropy parses and deletes each card of the polynomials several times,
        # which takes four fifths of its time.
        core = [card for card in cards if not _SIP_CARD.match(card.keyword)]
        if any(card.keyword.startswith("PV") for card in core):
            # astropy knows what SCAMP means by these parameters.
            wcs = WCS(fits.Header(core), naxis=2)
        else:
            # It would parse the cards twice more, which takes ten times as long.
            wcs = WCS(naxis=2)
            wcs.wcs = Wcsprm("".join(map(str, core)).encode("ascii"), relax=True).sub(2)
        if (sip := _sip_in(cards)) is not None:
            wcs.sip = sip
        # Parameters PV of SCAMP are removed only beside polynomials.
        wcs.fix()
        wcs.wcs.set()
    return wcs if wcs.has_celestial else None


def _sip_in(cards: Iterable[fits.Card]) -> Sip | None:
    """Return the SIP polynomials of the celestial cards, whose numbers were checked."""
    numbers: dict[str, float] = {}
    for card in cards:
        if not (_SIP_CARD.match(card.keyword) or card.keyword in _REFERENCE):
            continue
        text = str(card)
        if _NUMBER.match(text, _VALUE):
            number: float | None = float(text[_VALUE:].partition("/")[0].replace("D", "E"))
        else:
            number = number_of(fits.Header([card]), card.keyword)
        if number is not None:
            # Of repeated keywords the first counts.
            numbers.setdefault(card.keyword, number)
    planes: dict[str, NDArray[np.float64] | None] = {}
    for names in (("A", "B"), ("AP", "BP")):
        orders = {name: int(numbers.get(f"{name}_ORDER", 0)) for name in names}
        if max(orders.values()) <= 1:
            planes |= dict.fromkeys(names)
            continue
        for name, order in orders.items():
            # Powers in the keywords have one digit. A damaged order would take all memory.
            if not 1 < order <= _HIGHEST_ORDER:
                raise ValueError(f"{name}_ORDER is {order}, but SIP polynomials have the orders 2 to {_HIGHEST_ORDER}")
            planes[name] = plane = np.zeros((order + 1, order + 1))
            for i, j in itertools.product(range(order + 1), repeat=2):
                if i + j <= order:
                    plane[i, j] = numbers.get(f"{name}_{i}_{j}", 0.0)
    if not any(plane is not None for plane in planes.values()):
        return None
    if any(keyword not in numbers for keyword in _REFERENCE):
        raise ValueError("SIP polynomials without CRPIX1 and CRPIX2")
    return Sip(*planes.values(), tuple(numbers[keyword] for keyword in _REFERENCE))


def celestial_text(header: fits.Header) -> str:
    """Return the cards of the celestial coordinate system as a text, to detect changes."""
    return "".join([str(card) for card in _celestial(header)])


def _celestial(header: fits.Header) -> list[fits.Card]:
    return [card for card in header.cards if _CELESTIAL_CARD.match(card.keyword)]


def alternative_wcs(header: fits.Header, key: str) -> WCS:
    """Return an alternative coordinate system of a header, without look-up tables.

    Parameters
    ----------
    header
        Header of the image.
    key
        Letter of the system, such as A (pixels of the whole frame).

    Raises
    ------
    KeyError
        If the header has no such system.
    ValueError
        If the value of a card is not a number, as it must be.
    """
    if f"CTYPE1{key}" not in header:
        raise KeyError(f"The header has no coordinate system {key!r} (no card CTYPE1{key}).")
    header = alternative_cards(header, key)
    _check_numbers(header.cards, key)
    _refuse_tables(header, key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        return WCS(header, key=key)


def alternative_cards(header: fits.Header, key: str) -> fits.Header:
    """Return the cards of an alternative coordinate system.

    The SIP polynomial is left out. It belongs to the celestial system alone:
    otherwise it shifts the wavelengths (astropy issue 13105), and astropy logs
    a message each time.
    """
    belongs = re.compile(f"{_ALTERNATIVE}{key}$")
    return fits.Header([card for card in header.cards if belongs.match(card.keyword)])


FRAME_CENTRE = (FRAME_SIDE + 1) / 2
"""CRPIX1 and CRPIX2 of a whole frame of the archive."""

_SAME_PIXEL = 0.01


def frame_origin(header: Mapping[str, Any]) -> tuple[float, float]:
    """Return the position of an image in the whole frame of its detector.

    Parameters
    ----------
    header
        Header of the image. Its coordinate system A counts the pixels of the
        whole frame. In images of the archive, with EXPIDN, the reference pixel
        of the celestial system is the centre of the frame: it must agree, and
        replaces a missing system A. A celestial system with a WCSNAME is not
        that of the archive. An axis without both is that of a whole frame.

    Returns
    -------
    x, y : `float`
        Column and row of the whole frame, from 0, of the first pixel.

    Raises
    ------
    FrameError
        If the two coordinate systems contradict each other.
    """
    origin = []
    celestial: list[float | None] = [None, None]
    if header.get("EXPIDN") is not None and header.get("WCSNAME") is None:
        celestial = [number_of(header, f"CRPIX{axis}") for axis in (1, 2)]
    for axis, centre in zip((1, 2), celestial, strict=True):
        pixel, value, step = (number_of(header, f"{name}{axis}A") for name in ("CRPIX", "CRVAL", "CDELT"))
        if pixel is None:
            origin.append(0.0 if centre is None else FRAME_CENTRE - centre)
            continue
        start = (value or 0.0) + (1 - pixel) * (1.0 if step is None else step)
        if centre is not None and not abs(FRAME_CENTRE - centre - start) <= _SAME_PIXEL:
            raise FrameError(
                f"its coordinate systems contradict each other: on axis {axis} the image begins at pixel "
                f"{FRAME_CENTRE - centre:g} of the frame by CRPIX{axis} ({centre:g}), at {start:g} by "
                f"CRPIX{axis}A ({pixel:g})"
            )
        origin.append(start)
    return origin[0], origin[1]


def check_same_origin(found: tuple[float, float], expected: tuple[float, float], key: str) -> None:
    """Check that an alternative coordinate system has the pixels of system A.

    Parameters
    ----------
    found
        First pixel of the image in the whole frame by the system, (x, y) from 0.
    expected
        The same by system A.
    key
        Letter of the system.

    Raises
    ------
    FrameError
        If they differ.
    """
    for axis, (start, wanted) in enumerate(zip(found, expected, strict=True), start=1):
        if not abs(start - wanted) <= _SAME_PIXEL:
            raise FrameError(
                f"its coordinate systems contradict each other: on axis {axis} the image begins at pixel {wanted:g} of "
                f"the frame, by CRPIX{axis}{key} at {start:g}"
            )


def frame_box(header: Mapping[str, Any], shape: Sequence[int]) -> Box:
    """Return the pixels of the whole frame that an image covers.

    Parameters
    ----------
    header
        Header of the image.
    shape
        Shape of the image (rows, columns).
    """
    x, y = map(round, frame_origin(header))
    return Box(x, x + shape[-1], y, y + shape[-2])


def _check_numbers(cards: Iterable[fits.Card], key: str = "") -> None:
    """Check numbers: for a damaged card astropy uses zero and only warns."""
    keywords = _number_keywords(key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerifyWarning)
        for card in cards:
            # To parse the values of all cards would take a third of the time
            # of the coordinate system; astropy needs their texts anyway.
            if keywords.match(card.keyword) and not _NUMBER.match(str(card), _VALUE):
                number_of(fits.Header([card]), card.keyword)


def _refuse_tables(header: fits.Header, key: str = "") -> None:
    """Refuse look-up tables: wcslib does not check that they agree with their cards."""
    for keyword in (f"CTYPE1{key}", f"CTYPE2{key}"):
        if str(header.get(keyword)).rstrip().endswith("-TAB"):
            raise ValueError(f"{keyword} is {header[keyword]!r}, which needs a look-up table")


@functools.cache
def _number_keywords(key: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{_NUMBERS}){key}$")


def celestial_cards(cards: bytes) -> bytes:
    """Return the cards of the celestial coordinate system of a header."""
    places = range(0, len(cards), _CARD)
    return b"".join(cards[at : at + _CARD] for at in places if _CELESTIAL_BYTES.match(cards, at, at + 8))


def shifted_header(header: fits.Header, box: Box) -> fits.Header:
    """Return a copy of a header for the cut of an image; see `shift_header`."""
    header = header.copy()
    shift_header(header, box)
    return header


def shifted_cards(cards: bytes, box: Box) -> bytes:
    """Return the cards of a header for the cut of an image; see `shift_header`."""
    if b"CRPIX" not in cards:
        return cards
    # A few of some hundred cards change. To parse all would take longer than
    # all the rest of a small cut.
    shifted = bytearray(cards)
    for at in range(0, len(cards), _CARD):
        if _PIXEL_BYTES.match(cards, at, at + 8):
            shifted[at : at + _CARD] = _shifted_card(cards[at : at + _CARD], box)
    return bytes(shifted)


# Image, flags and variance of a file have most of these cards in common.
@functools.lru_cache(256)
def _shifted_card(image: bytes, box: Box) -> bytes:
    card = fits.Card.fromstring(image)
    _shift_card(card, box)
    return str(card).encode("ascii")


def shift_header(header: fits.Header, box: Box) -> None:
    """Change the header of an image to that of a cut, in place.

    Each pixel keeps its coordinates in all coordinate systems of the header.

    Parameters
    ----------
    header
        Header of the whole image.
    box
        Pixels of the cut.

    Raises
    ------
    ValueError
        If a reference pixel is not a number.
    """
    for card in header.cards:
        if _PIXEL_CARD.match(card.keyword):
            _shift_card(card, box)


def _shift_card(card: fits.Card, box: Box) -> None:
    """Change a card with the length of an axis, or with a reference pixel."""
    is_first = card.keyword[5] == "1"
    if card.keyword.startswith("NAXIS"):
        card.value = box.shape[1 if is_first else 0]
    elif number_of(fits.Header([card]), card.keyword) is not None:
        card.value -= box.x0 if is_first else box.y0


def shifted_wcs(wcs: WCS, box: Box) -> WCS:
    """Return the coordinate system of a cut of an image."""
    # WCS.slice would count a negative begin from the end.
    begin = np.array([box.x0, box.y0])
    shifted = wcs.deepcopy()
    shifted.wcs.crpix = wcs.wcs.crpix - begin
    if wcs.sip is not None:
        shifted.sip = Sip(wcs.sip.a, wcs.sip.b, wcs.sip.ap, wcs.sip.bp, wcs.sip.crpix - begin)
    shifted.array_shape = box.shape
    return shifted


def is_same_wcs(first: WCS, second: WCS) -> bool:
    """Return whether two coordinate systems are equal, SIP polynomials included."""
    if not first.wcs.compare(second.wcs) or (first.sip is None) != (second.sip is None):
        return False
    return first.sip is None or all(
        np.array_equal(getattr(first.sip, name), getattr(second.sip, name)) for name in ("a", "b", "crpix")
    )


def replace_celestial_wcs(header: fits.Header, wcs: WCS | None) -> None:
    """Write a celestial coordinate system into a header, in place.

    Parameters
    ----------
    header
        Header; its celestial coordinate system, if any, is removed.
    wcs
        New system, `None` for none.

    Raises
    ------
    ValueError
        If ``wcs`` cannot be written as cards (look-up tables, tables of the
        distortion paper).
    """
    for keyword in {keyword for keyword in header if _CELESTIAL_CARD.match(keyword)}:
        header.remove(keyword, remove_all=True)
    if wcs is None:
        return
    if wcs.wcs.tab or wcs.cpdis1 or wcs.cpdis2 or wcs.det2im1 or wcs.det2im2:
        raise ValueError(
            "The WCS of the image has look-up tables, which cannot be written as cards; use TAN or TAN-SIP."
        )
    if wcs.naxis != 2 or not wcs.has_celestial:
        raise ValueError("The WCS of an image must have two celestial axes.")
    for card in wcs.to_header(relax=True, key=" ").cards:
        # Times belong to the exposure; wcslib repeats them.
        if _CELESTIAL_CARD.match(card.keyword):
            header[card.keyword] = (card.value, card.comment)
    try:
        frame_origin(header)
    except FrameError:
        # A solution with another reference pixel says so.
        header["WCSNAME"] = ("replaced", "not the solution of the archive")
