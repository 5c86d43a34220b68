"""Damaged files: headers that go on into data, files cut short while they are read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from spherex.errors import ProductError
from spherex.fits import open_product, read_product

from .level2_files import write_level2

END = b"END".ljust(80)


def end_of(path: Path, name: str) -> int:
    """Return the offset of the END card of an HDU."""
    with fits.open(path) as hdus:
        info = hdus[name].fileinfo()
    return path.read_bytes().rindex(END, info["hdrLoc"], info["datLoc"])


def replace_at(path: Path, at: int, new: bytes) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:at] + new + content[at + len(new) :])


@pytest.mark.parametrize("release", ["qr2", "qr3"])
@pytest.mark.parametrize("name", ["PRIMARY", "IMAGE", "FLAGS", "VARIANCE", "ZODI", "WCS-WAVE"])
@pytest.mark.parametrize("new", [b"EOD", b"\0ND", b"eND", b"END     / comment"])
def test_damaged_end_card(tmp_path: Path, release: str, name: str, new: bytes) -> None:
    path = write_level2(tmp_path / "a.fits", release).path
    replace_at(path, end_of(path, name), new)
    with pytest.raises(ProductError, match="the header of HDU .*(which is not text|END card)") as caught:
        read_product(path)
    assert str(path) in str(caught.value)


def test_blank_data_behind_a_damaged_end_card(tmp_path: Path) -> None:
    path = write_level2(tmp_path / "a.fits").path
    with fits.open(path) as hdus:
        info = hdus["IMAGE"].fileinfo()
    replace_at(path, info["datLoc"], b" " * info["datSpan"])
    replace_at(path, end_of(path, "IMAGE"), b"EOD")
    with pytest.raises(ProductError, match="another one begins within it, so its END card is missing"):
        read_product(path)


def card_at(path: Path, hdu: str, keyword: bytes) -> int:
    with fits.open(path, disable_image_compression=True) as hdus:
        start = hdus[hdus.index_of(hdu)].fileinfo()["hdrLoc"]
    return path.read_bytes().index(keyword.ljust(8) + b"=", start)


CHANGES = [
    ("IMAGE", b"DETECTOR", b"EXTNAME = 'FLAGS   '", "the header contains EXTNAME twice"),
    ("IMAGE", b"NAXIS1", b"NAXIS1  =                  -50", "axes .60, -50. "),
    ("IMAGE", b"NAXIS", b"NAXIS   =                   -2", "NAXIS is -2"),
    ("IMAGE", b"PCOUNT", b"PCOUNT  =                    1", "PCOUNT and GCOUNT of an image are 1 and 1"),
    ("WCS-WAVE", b"BITPIX", b"BITPIX  =                   16", "a table has 2 axes, BITPIX 16"),
    ("WCS-WAVE", b"TFORM1", b"TFORM1  = '12J     '", "NAXIS1 is 1056, but its columns have 1060 bytes"),
    ("WCS-WAVE", b"TFORM1", b"TFORM1  = '11Z     '", "TFORM1 is '11Z'"),
    ("IMAGE", b"OBSID", b"OBSID   = '2025W51_1A_0684_\xb2'", "contains the byte 178, which is not text"),
    ("IMAGE", b"OBSID", b"OBSID   = '2025W51_1A_0684\t2'", "contains the byte 9, which is not text"),
]


@pytest.mark.parametrize(("hdu", "keyword", "card", "message"), CHANGES, ids=lambda value: str(value)[:30])
def test_layout_that_does_not_fit(tmp_path: Path, hdu: str, keyword: bytes, card: bytes, message: str) -> None:
    path = write_level2(tmp_path / "a.fits").path
    replace_at(path, card_at(path, hdu, keyword), card.ljust(80))
    with pytest.raises(ProductError, match=message) as caught:
        read_product(path)
    assert str(path) in str(caught.value)


CUT = """
import os, sys
from spherex.errors import ProductError
from spherex.fits import open_product
from spherex.image import Box
path, method, size = sys.argv[1:]
try:
    with open_product(path) as product:
        product.bbox()
        hdus = product.header()
        os.truncate(path, int(size))
        getattr(product, method)(None if method != "image" else Box(0, 40, 0, 60))
except ProductError as error:
    print(error)
"""


@pytest.mark.parametrize("method", ["image", "read"])
@pytest.mark.parametrize("place", ["within the image", "after the image"])
def test_file_cut_short_while_it_is_read(tmp_path: Path, method: str, place: str) -> None:
    path = write_level2(tmp_path / "a.fits").path
    with fits.open(path) as hdus:
        info = hdus["IMAGE"].fileinfo()
    # A map of a file reaches to the end of its page of 4096 bytes.
    size = info["datLoc"] + 100 if place == "within the image" else info["datLoc"] + info["datSpan"]
    if method == "image" and place == "after the image":
        size -= 2880
    arguments = [sys.executable, "-c", CUT, path, method, str(size)]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result
    assert str(path) in result.stdout
    assert "cut short" in result.stdout


def test_memory_of_a_file_that_is_cut_short_later(tmp_path: Path) -> None:
    path = write_level2(tmp_path / "a.fits").path
    with open_product(path) as product:
        pixels = product.image()
        os.truncate(path, 0)
    assert pixels.shape == (60, 50)
    assert (pixels == pixels).any()


def test_swapped_blocks_of_a_header(tmp_path: Path) -> None:
    path = write_level2(tmp_path / "a.fits").path
    content = path.read_bytes()
    block = -(-end_of(path, "IMAGE") // 2880) * 2880
    swapped = content[block - 2880 : block] + content[block - 5760 : block - 2880]
    replace_at(path, block - 5760, swapped)
    with pytest.raises(ProductError, match="does not begin an HDU"), open_product(path) as product:
        product.image()


def test_header_that_goes_on(tmp_path: Path) -> None:
    path = write_level2(tmp_path / "a.fits").path
    replace_at(path, card_at(path, "IMAGE", b"PS2_2W"), END)
    with pytest.raises(ProductError, match="the header contains text after its END card|does not begin an HDU"):
        read_product(path)


@pytest.mark.parametrize("fill", [b"\0", b" "])
def test_fill_of_a_tape_record(tmp_path: Path, fill: bytes) -> None:
    path = write_level2(tmp_path / "a.fits").path
    with path.open("ab") as stream:
        stream.write(fill * 28800)
    read_product(path)
    with path.open("ab") as stream:
        stream.write(fill)
    with pytest.raises(ProductError, match="it contains only fill, more than the 28800 bytes of a tape record"):
        read_product(path)


def test_text_after_fill(tmp_path: Path) -> None:
    path = write_level2(tmp_path / "a.fits").path
    with path.open("ab") as stream:
        stream.write(bytes(20000) + b"x")
    with pytest.raises(ProductError, match="does not begin an HDU"):
        read_product(path)


def test_preallocated_file_that_was_not_completed(tmp_path: Path) -> None:
    path = write_level2(tmp_path / "a.fits", shape=(300, 300)).path
    with fits.open(path) as hdus:
        begin = hdus["IMAGE"].fileinfo()["datLoc"] + 2880
    replace_at(path, begin, bytes(path.stat().st_size - begin))
    with pytest.raises(ProductError, match="incomplete: from byte"), open_product(path) as product:
        product.image()


@pytest.mark.parametrize(
    ("values", "message"),
    [(np.float32(1.5), "Flags are integers, not float32"), (np.int64(2**40), "Flags have 32 bits")],
)
def test_other_numbers_than_flags(tmp_path: Path, values: np.generic, message: str) -> None:
    path = write_level2(tmp_path / "a.fits").path
    with fits.open(path, memmap=False) as hdus:
        hdus["FLAGS"].data = np.full(hdus["IMAGE"].shape, values)
        hdus.writeto(path, overwrite=True)
    with pytest.raises(ProductError, match=f"a.fits.*its HDU FLAGS does not contain flags: {message}"):
        read_product(path)
