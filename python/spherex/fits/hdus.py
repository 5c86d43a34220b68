"""FITS header scanner: names, positions and layout of the HDUs of a file.

Opening a file with astropy parses every card of every header. Ingest needs
one header of a file and a cutout a few rows, so only the cards with the layout
are parsed here; astropy parses a header when its other cards are needed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.io import fits

from spherex.errors import ProductError
from spherex.headers import bunit_of
from spherex.image import PSF_PLANES, WCS_WAVE, ZODI_PLANE, WavelengthAxes

from .byte_sources import REMOTE_READ, ByteSource
from .cards import CARD, Cards

PRIMARY = "PRIMARY"
IMAGE = "IMAGE"
FLAGS = "FLAGS"
VARIANCE = "VARIANCE"
MASK = "MASK"
"""Boolean mask of a `~astropy.nddata.CCDData`, if one is set."""

PROVENANCE_PREFIX = "LSST BUTLER"
"""Prefix of the HIERARCH cards with the Butler's provenance, the same as in lsst.images."""

PROVENANCE_STARTS = (f"{PROVENANCE_PREFIX} ", f"{PROVENANCE_PREFIX} ".replace(" ", "."))
"""Starts of all keys of the Butler's provenance: of headers, and of tables that were put as parquet."""


BLOCK = 2880
"""Bytes of a FITS block (FITS standard 4.0, section 3.1)."""

_MOST_FILL = 10 * BLOCK
"""Bytes that may follow the last HDU: the longest record of a tape. A download that
stopped in a preallocated file leaves more."""

_END = b"END".ljust(CARD)
_FILL = b" " * BLOCK
# From a local file the primary header and that of the image (240 cards) are
# read together, the others in small reads.
_LOCAL_FIRST_READ = 10 * BLOCK
_LOCAL_READ = 2 * BLOCK
_BITPIX = (8, 16, 32, 64, -32, -64)
_TEXT = bytes(range(32, 127))
"""Bytes that a header may contain (section 3.2)."""

_ONCE = ("EXTNAME", "BITPIX", "NAXIS")
_COLUMN = re.compile(r" *(\d*)([LXBIJKAEDCMPQ])")
_COLUMN_BITS = {"L": 8, "X": 1, "B": 8, "I": 16, "J": 32, "K": 64, "A": 8, "E": 32, "D": 64, "C": 64, "M": 128} | {
    "P": 64,
    "Q": 128,
}
"""Bits of an element of a binary table (section 7.3.1)."""
_SCALING = frozenset({"BSCALE", "BZERO", "BLANK"})
_LONGEST_HEADER = 2000 * BLOCK
_HDUS_BEFORE_TABLE = 6
"""HDUs of a Level 2 image before the table of wavelengths: PRIMARY, IMAGE, FLAGS, VARIANCE, ZODI, PSF."""

_GUESSED_BLOCKS, _MORE_BLOCKS = 10, 6
"""Blocks that are read for the next header, and how many more for each further one.

In a file of Quick Release 2 the headers of FLAGS to PSF have 5, 4, 4 and 15
blocks, and it is not known beforehand where the later ones begin.
"""
_MOST_AXES = 999
_LARGEST_TABLE = 2**20


@dataclasses.dataclass(eq=False)
class HDUInfo:
    """Position and kind of one HDU.

    Parameters
    ----------
    index
        Position in the file, 0 for the primary HDU.
    name
        EXTNAME in upper case; ``PRIMARY`` for the primary HDU, else empty if
        the card is missing.
    kind
        ``image``, ``table`` or ``compressed`` (an image in a table).
    shape
        Shape of the array, slowest axis first; of the table's bytes if it is
        a table.
    bitpix
        BITPIX of the array.
    scaled
        Whether BSCALE, BZERO or BLANK change the values.
    cards
        Values of single cards.
    header_offset
        Where the header begins.
    data_offset
        Where the data begin.
    data_size
        Length of the data in bytes, without the fill to a whole block.
    data
        The data, of a table of wavelengths only: it is read with its header.
    """

    index: int
    name: str
    kind: str
    shape: tuple[int, ...]
    bitpix: int
    scaled: bool
    cards: Cards
    header_offset: int
    data_offset: int
    data_size: int
    data: bytes | None = None

    @property
    def end(self) -> int:
        """Where the next HDU begins."""
        return self.data_offset + -(-self.data_size // BLOCK) * BLOCK

    @property
    def header_bytes(self) -> bytes:
        """Cards up to and without END, a multiple of 80 bytes."""
        return self.cards.header

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of the pixels, slowest axis first; empty if there are none.

        Raises
        ------
        ProductError
            If the header of a compressed image has no valid ZNAXIS cards.
        """
        if self.kind == "table":
            return ()
        if self.kind == "image":
            return self.shape
        return _shape(self.cards, "ZNAXIS")

    @functools.cached_property
    def wavelength_axes(self) -> WavelengthAxes | None:
        """Coordinate system W of the header, checked, `None` if it has none with a table.

        Raises
        ------
        HeaderError
            If its cards are damaged.
        """
        return WavelengthAxes.of_cards(self.cards)

    @functools.cached_property
    def header(self) -> fits.Header:
        """The header, parsed by astropy."""
        return fits.Header.fromstring(self.header_bytes)


def scan_hdus(source: ByteSource, *, last: str | None = None) -> list[HDUInfo]:
    """Find the HDUs of a file.

    Parameters
    ----------
    source
        The file.
    last
        Stop after the HDU of this name; by default all are found.

    Returns
    -------
    hdus : `list` [`HDUInfo`]
        In the order of the file.

    Raises
    ------
    ProductError
        If the file is empty, not FITS, damaged, or ends before its last HDU does.
    """
    if source.size == 0:
        raise ProductError("the file is empty")
    hdus: list[HDUInfo] = []
    offset = 0
    first = source.read_at(0, _LOCAL_FIRST_READ if source.is_local else REMOTE_READ)
    while source.size is None or offset < source.size:
        chunk = first[offset:] if offset < len(first) else b""
        if not chunk and source.is_local:
            chunk = source.read_at(offset, _LOCAL_READ)
        elif not chunk:
            if not source.prefetched(offset):
                source.prefetch(_likely_headers(hdus, last, source.size))
            chunk = source.read_at(offset, source.prefetched(offset) or REMOTE_READ)
        if hdus and not _is_begin(source, offset, chunk):
            break
        hdu = _read_hdu(source, offset, chunk, len(hdus))
        hdus.append(hdu)
        # The fill after the data counts: where it ends early, HDUs behind it may be lost.
        if source.size is not None and hdu.end > source.size:
            raise ProductError(
                f"the file is cut short: it ends at byte {source.size}, HDU {hdu.index} "
                f"({hdu.name or 'unnamed'}) at byte {hdu.end}"
            )
        offset = hdu.end
        if last is not None and hdu.name == last:
            if source.is_local and source.size is not None and offset < source.size:
                # A header that seems to end early puts its own cards among the pixels.
                _is_begin(source, offset, source.read_at(offset, CARD))
            break
    else:
        if not source.is_local:
            if len(_followers) > _MOST_FOLLOWERS:
                _followers.clear()
            _followers.update({_kind_of(hdu): hdus[number + 1 :] for number, hdu in enumerate(hdus)})
    return hdus


_MOST_FOLLOWERS = 100
_followers: dict[tuple[Any, ...], list[HDUInfo]] = {}
"""HDUs that came after an HDU in the last remote file that had an HDU of its kind."""


def _kind_of(hdu: HDUInfo) -> tuple[Any, ...]:
    return hdu.index, hdu.name, hdu.kind, hdu.shape, hdu.bitpix, hdu.data_offset - hdu.header_offset


def _likely_headers(hdus: Sequence[HDUInfo], last: str | None, size: int | None) -> list[tuple[int, int]]:
    """Return where the headers after those of some HDUs probably are.

    Most files are like the file before. The scan reads each header at the
    place that follows from the HDU before it: where this is another place, the
    guess costs bytes, and saves no round trip.

    Parameters
    ----------
    hdus
        The HDUs before, at least one.
    last
        HDU at which the scan ends.
    size
        Size of the file in bytes.

    Returns
    -------
    ranges
        For `ByteSource.prefetch`.
    """
    previous = hdus[-1]
    offset = previous.end
    ranges = []
    followers = _followers.get(_kind_of(previous))
    if followers is not None:
        for hdu in followers:
            ranges.append((offset, hdu.data_offset - hdu.header_offset + _table_size(hdu)))
            # Its tiles have another length in each file.
            if hdu.name == last or hdu.kind == "compressed":
                break
            offset += hdu.end - hdu.header_offset
        return ranges
    planes = [hdu for hdu in hdus if hdu.kind == "image" and len(hdu.shape) == 2]
    if last is not None or size is None or previous.kind == "table" or not planes:
        return [(offset, REMOTE_READ)]
    if previous.kind == "compressed":
        ranges.append((previous.data_offset, _table_size(previous)))
    # Planes of the size of the image follow it, each after a header of at least a block. Where they do not fit
    # into the file, the next HDU is compressed, or is none of them.
    step = planes[0].end - planes[0].data_offset + BLOCK
    guesses = max(_HDUS_BEFORE_TABLE - len(hdus), 1)
    guesses = guesses if (guesses - 1) * step <= size - offset else 1
    return ranges + [
        (offset + number * step, (_GUESSED_BLOCKS + number * _MORE_BLOCKS) * BLOCK) for number in range(guesses)
    ]


def _table_size(hdu: HDUInfo) -> int:
    """Return the bytes of a table that is read with its header, 0 of another HDU.

    By that of a compressed image its tiles are found; that of wavelengths is all of its data.
    """
    return math.prod(hdu.shape) if hdu.kind == "compressed" or hdu.data is not None else 0


def _is_begin(source: ByteSource, offset: int, chunk: bytes) -> bool:
    """Return whether an extension begins with these bytes, or only fill follows.

    Raises
    ------
    ProductError
        If it is neither.
    """
    if chunk.startswith(b"XTENSION"):
        return True
    if source.size is not None and not chunk:
        raise ProductError(f"the file is cut short: it ends at byte {offset}, and had {source.size} bytes")
    rest = source.read_at(offset, _MOST_FILL + 1) if chunk else b""
    if rest.strip(b"\0 "):
        raise ProductError(f"the file is damaged: byte {offset} does not begin an HDU")
    if len(rest) > _MOST_FILL:
        raise ProductError(
            f"the file is incomplete: from byte {offset} on it contains only fill, more than "
            f"the {_MOST_FILL} bytes of a tape record"
        )
    # Fill of a tape or of a copy, not an HDU.
    return False


def find_hdu(source: ByteSource, name: str) -> HDUInfo | None:
    """Return the first HDU with a name, reading no headers after it; `None` if the file has none.

    Raises
    ------
    ProductError
        As for `scan_hdus`.
    """
    return next((hdu for hdu in scan_hdus(source, last=name) if hdu.name == name), None)


def _read_hdu(source: ByteSource, offset: int, chunk: bytes, index: int) -> HDUInfo:
    if index == 0 and not chunk.startswith(b"SIMPLE  ="):
        raise ProductError("the file is not FITS: it does not begin with a SIMPLE card")
    length = _find_end(chunk)
    while length is None:
        size = len(chunk) if source.is_local else max(len(chunk), REMOTE_READ)
        more = source.read_at(offset + len(chunk), size) if len(chunk) < _LONGEST_HEADER else b""
        if not more:
            raise ProductError(f"the file is cut short or damaged: the header of HDU {index} has no END card")
        chunk += more
        length = _find_end(chunk)
    layout = _layout_of(chunk[:length], index)
    fill = chunk[length + CARD : (length // BLOCK + 1) * BLOCK]
    if not _FILL.startswith(fill) and fill.strip(b" \0"):
        raise layout.cards.damage("the header contains text after its END card")
    name = layout.name or (PRIMARY if index == 0 else "")
    begin = (length // BLOCK + 1) * BLOCK
    data_offset = offset + begin
    data = None
    if name == WCS_WAVE and layout.kind == "table" and layout.data_size <= _LARGEST_TABLE:
        data = chunk[begin : begin + layout.data_size]
        if len(data) < layout.data_size:
            data = source.read_at(data_offset, layout.data_size)
        data = data if len(data) == layout.data_size else None
    return HDUInfo(
        index,
        name,
        layout.kind,
        layout.shape,
        layout.bitpix,
        layout.scaled,
        layout.cards,
        offset,
        data_offset,
        layout.data_size,
        data,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Layout:
    """Fields of `HDUInfo` that do not depend on the HDU's position."""

    name: str
    kind: str
    shape: tuple[int, ...]
    bitpix: int
    scaled: bool
    cards: Cards
    data_size: int


# The headers of some HDUs are the same in file after file.
@functools.lru_cache(32)
def _layout_of(header: bytes, index: int) -> _Layout:
    cards = Cards(header, index)
    _check_text(cards)
    shape = _shape(cards, "NAXIS")
    bitpix = cards.integer("BITPIX")
    if bitpix not in _BITPIX:
        raise cards.damage(f"BITPIX is {bitpix}")
    heap, groups = cards.integer("PCOUNT", 0), cards.integer("GCOUNT", 1)
    size = groups * (heap + (math.prod(shape) if shape else 0)) * abs(bitpix) // 8
    if size < 0 or heap < 0 or any(length < 0 for length in shape):
        raise cards.damage(f"its data would have {size} bytes, axes {shape} and PCOUNT {heap}")
    scaled = not cards.lacks(_SCALING) and (
        cards.get("BSCALE", 1) != 1 or cards.get("BZERO", 0) != 0 or "BLANK" in cards
    )
    kind = "image"
    if index > 0 and str(cards.get("XTENSION")).strip() != "IMAGE":
        kind = "compressed" if cards.get("ZIMAGE") is True else "table"
    if kind == "image" and index > 0 and (heap, groups) != (0, 1):
        raise cards.damage(f"PCOUNT and GCOUNT of an image are {heap} and {groups}")
    if str(cards.get("XTENSION")).strip() == "BINTABLE":
        _check_table(cards, shape, bitpix, groups)
    return _Layout(str(cards.get("EXTNAME", "")).strip().upper(), kind, shape, bitpix, scaled, cards, size)


def _check_text(cards: Cards) -> None:
    """Check that the bytes of a header are those of one header.

    Where an END card is damaged, the data that follow and the header of the
    next HDU seem to belong to the header.
    """
    header = cards.header
    # Bytes below the first one of text wrap around.
    if header and (np.frombuffer(header, np.uint8) - np.uint8(_TEXT[0])).max() >= len(_TEXT):
        rest = header.translate(None, _TEXT)
        place = header.index(rest[:1])
        raise cards.damage(f"its card {place // CARD + 1} contains the byte {rest[0]}, which is not text")
    place = header.find(b"XTENSION", CARD)
    while place >= 0:
        if place % BLOCK == 0:
            raise cards.damage("another one begins within it, so its END card is missing")
        place = header.find(b"XTENSION", place + 1)
    for keyword in _ONCE:
        if cards.is_repeated(keyword):
            raise cards.damage(f"the header contains {keyword} twice")


def _check_table(cards: Cards, shape: tuple[int, ...], bitpix: int, groups: int) -> None:
    """Check that the rows of a binary table have the length of its columns."""
    if len(shape) != 2 or bitpix != 8 or groups != 1:
        raise cards.damage(f"a table has {len(shape)} axes, BITPIX {bitpix} and GCOUNT {groups}")
    size = 0
    for number in range(1, cards.integer("TFIELDS") + 1):
        form = _COLUMN.match(str(cards.get(f"TFORM{number}")))
        if form is None:
            raise cards.damage(f"TFORM{number} is {cards.get(f'TFORM{number}')!r}")
        size += -(-int(form[1] or 1) * _COLUMN_BITS[form[2]] // 8)
    if size != shape[1]:
        raise cards.damage(f"NAXIS1 is {shape[1]}, but its columns have {size} bytes")


def _shape(cards: Cards, keyword: str) -> tuple[int, ...]:
    """Return the lengths of the axes, slowest first."""
    axes = cards.integer(keyword)
    if not 0 <= axes <= _MOST_AXES:
        raise cards.damage(f"{keyword} is {axes}")
    return tuple([cards.integer(f"{keyword}{axis}") for axis in range(axes, 0, -1)])


def _find_end(chunk: bytes) -> int | None:
    """Return the offset of the END card, `None` if it is not in the chunk."""
    place = chunk.find(_END)
    while place >= 0 and place % CARD:
        place = chunk.find(_END, place + 1)
    return place if place >= 0 else None


def issue_digest(hdus: Sequence[HDUInfo]) -> str:
    """Return the SHA-256 of headers, which shows one issue of a file from another.

    Parameters
    ----------
    hdus
        PRIMARY and IMAGE of a Level 2 image.
    """
    digest = hashlib.sha256()
    for hdu in hdus:
        digest.update(hdu.header_bytes)
        digest.update(_END)
    return digest.hexdigest()


OWN_HDUS = (IMAGE, FLAGS, VARIANCE, MASK)
"""HDUs of the shape of the image."""

_SINGLE = frozenset({*OWN_HDUS, ZODI_PLANE, *PSF_PLANES, WCS_WAVE})
"""HDUs that a product has at most once."""


def check_layout(hdus: Sequence[HDUInfo]) -> None:
    """Check the HDUs of a product, all or the first ones.

    Parameters
    ----------
    hdus
        In the order of the file.

    Raises
    ------
    ProductError
        If they do not make an image: the primary HDU contains pixels, two
        HDUs have one name, shapes differ, or astropy does not know the unit
        of the image or its variance.
    """
    if hdus[0].shape:
        raise ProductError("its primary HDU contains pixels (those of a product are in HDU IMAGE)")
    own: dict[str, HDUInfo] = {}
    single: dict[str, HDUInfo] = {}
    for hdu in hdus[1:]:
        if hdu.name in _SINGLE and single.setdefault(hdu.name, hdu) is not hdu:
            raise ProductError(f"it has two HDUs {hdu.name}")
        if hdu.name in OWN_HDUS:
            own[hdu.name] = hdu
    image = own.get(IMAGE)
    if image is None:
        return
    for name, hdu in own.items():
        if hdu.image_shape != image.image_shape:
            raise ProductError(
                f"its HDUs {name} and {IMAGE} have different shapes: {hdu.image_shape} and {image.image_shape} "
                "(rows, columns)"
            )
    for name in (IMAGE, VARIANCE):
        if name in own:
            bunit_of(own[name].cards, f"of HDU {name}")
