"""Headers and cards that are kept, because many files have them, are never taken for others."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from spherex.fits import HDUInfo, open_source, scan_hdus
from spherex.fits.cards import Cards


def write(path: Path, rows: int, history: int = 0, name: str = "FLAGS") -> Path:
    image = fits.ImageHDU(np.zeros((rows, 5), "f4"), name="IMAGE")
    for _ in range(history):
        image.header.add_history("something happened")
    flags = fits.ImageHDU(np.zeros((4, 3), "i4"), name=name)
    fits.HDUList([fits.PrimaryHDU(), image, flags]).writeto(path)
    return path


def scan(path: Path) -> list[HDUInfo]:
    with open_source(path) as source:
        return scan_hdus(source)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [
        write(tmp_path / "small.fits", 2),
        write(tmp_path / "large.fits", 700),
        write(tmp_path / "long.fits", 2, history=100),
        write(tmp_path / "other.fits", 2, name="FLAGT"),
    ]


def test_each_file_has_its_own_structure(paths: list[Path]) -> None:
    for path in [*paths, *paths[::-1]]:
        with fits.open(path) as hdus:
            for ours, theirs in zip(scan(path), hdus, strict=True):
                where = theirs.fileinfo()
                assert (ours.header_offset, ours.data_offset, ours.end) == (
                    where["hdrLoc"],
                    where["datLoc"],
                    where["datLoc"] + where["datSpan"],
                )
                assert ours.name == theirs.name
                assert ours.shape == (() if theirs.data is None else theirs.data.shape)
                assert ours.header == theirs.header


def test_a_header_of_one_file_can_be_changed(paths: list[Path]) -> None:
    first, second = scan(paths[0]), scan(paths[1])
    assert first[2].header_bytes == second[2].header_bytes
    first[2].header["EXTNAME"] = "CHANGED"
    first[2].name = "CHANGED"
    assert second[2].header["EXTNAME"] == second[2].name == "FLAGS"
    assert scan(paths[0])[2].header["EXTNAME"] == scan(paths[0])[2].name == "FLAGS"


def test_the_same_header_is_another_hdu_at_the_begin_of_a_file(tmp_path: Path) -> None:
    card = "{:8}= {:>20}".format
    cards = [card("SIMPLE", "T"), card("BITPIX", "8"), card("NAXIS", "0"), "END"]
    block = "".join(one.ljust(80) for one in cards).ljust(2880).encode()
    path = tmp_path / "primary.fits"
    path.write_bytes(block)
    assert [hdu.name for hdu in scan(path)] == ["PRIMARY"]
    path.write_bytes(block + block.replace(card("SIMPLE", "T").encode(), b"XTENSION= 'IMAGE   '".ljust(30)))
    assert [hdu.name for hdu in scan(path)] == ["PRIMARY", ""]


def test_a_card_goes_on_only_where_it_does() -> None:
    begin, more = b"TEXT    = 'one &'".ljust(80), b"CONTINUE  'and two'".ljust(80)
    for _ in range(2):
        assert Cards(begin)["TEXT"] == "one &"
        assert Cards(begin + more)["TEXT"] == "one and two"


def test_values_of_equal_size_keep_their_types() -> None:
    cards = (b"A       =                    1", b"B       =                  1.0", b"C       =                    T")
    header = b"".join(card.ljust(80) for card in cards)
    for _ in range(2):
        values = [Cards(header)[key] for key in "ABC"]
        assert [(type(value), value) for value in values] == [(int, 1), (float, 1.0), (bool, True)]


def test_a_damaged_card_is_an_error_each_time() -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="is damaged"):
            Cards(b"TEXT    = 'one".ljust(80))["TEXT"]
