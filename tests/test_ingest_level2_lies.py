"""Level 2 files that contradict themselves or each other: wavelengths, positions in the frame, units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from lsst.daf.butler import Butler

from spherex.errors import ProductError
from spherex.fits import open_product, read_product, write_product
from spherex.formatters import HDUListFormatter
from spherex.image import Wavelength

from .level2_files import write_level2 as write_archive_file
from .level2_helpers import RUN, SIDE, ingest_level2, level2_datasets, write_level2, write_many

WAVE = {
    "WCSAXESW": 2,
    **{f"CTYPE{axis}W": "WAVE-TAB" for axis in (1, 2)},
    **{f"CUNIT{axis}W": "um" for axis in (1, 2)},
    **{f"CRPIX{axis}W": 1.0 - start for axis, start in ((1, 700), (2, 1400))},
    **{f"CDELT{axis}W": 1 for axis in (1, 2)},
    **{f"CRVAL{axis}W": 1 for axis in (1, 2)},
    **{f"PS{axis}_0W": "WCS-WAVE" for axis in (1, 2)},
    **{f"PS{axis}_1W": "VALUES" for axis in (1, 2)},
    "PS1_2W": "X",
    "PS2_2W": "Y",
    "PV1_3W": 1,
    "PV2_3W": 2,
}


def change_table(path: Path, column: str, value: float) -> None:
    """Set the last number of a column of WCS-WAVE: X and Y have two integers, VALUES eight floats."""
    with fits.open(path) as hdus:
        place = hdus["WCS-WAVE"].fileinfo()["datLoc"] + {"X": 4, "Y": 12, "VALUES": 44}[column]
    with path.open("r+b") as stream:
        stream.seek(place)
        stream.write(np.array(value, ">f4" if column == "VALUES" else ">i4").tobytes())


def wavelength_of(repo: Path, detector: int = 1) -> Wavelength:
    with Butler.from_config(str(repo)) as butler:
        hdus = butler.get(
            "level2_wavelength", instrument="SPHEREx", detector=detector, collections=f"SPHEREx/level2/{RUN}"
        )
    return Wavelength.from_table(hdus["WCS-WAVE"])


SIGNALLING_NAN = np.frombuffer(b"\x7f\x81\x00\x01", ">f4")[0]
"""Number whose conversion warns, as random bits have it."""

DAMAGES = [
    ("X", 1, "the control points in column X of the table WCS-WAVE do not rise"),
    ("Y", -5, "the control points in column Y of the table WCS-WAVE do not rise"),
    ("VALUES", 0.0, "numbers in VALUES that are not wavelengths"),
    ("VALUES", np.nan, "numbers in VALUES that are not wavelengths"),
    ("VALUES", SIGNALLING_NAN, "numbers in VALUES that are not wavelengths"),
]


@pytest.mark.parametrize(("column", "value", "message"), DAMAGES, ids=str)
def test_damaged_table_of_the_first_file(
    repo_root: Path, tmp_path: Path, column: str, value: float, message: str
) -> None:
    paths = write_many(tmp_path / "in", 3, [1])
    change_table(paths[0], column, value)
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert outcome.code == 1
    assert level2_datasets(repo_root).keys() == {(1, 1), (2, 1)}
    (failure,) = outcome.failures
    assert failure.startswith(f"failed: {paths[0]}: ")
    assert message in failure
    assert 0.5 < wavelength_of(repo_root).at(5, 5)[0].value < 2


def test_cards_of_the_table(repo_root: Path, tmp_path: Path) -> None:
    write_level2(tmp_path / "in", 0, 1, change=WAVE)
    bad = write_level2(tmp_path / "in", 1, 1, change=WAVE | {"PS2_2W": "X"})
    other = write_level2(tmp_path / "in", 2, 1, change=WAVE | {"PV2_3W": 7})
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert outcome.counts["ingested"] == 1
    assert {line.split(": ")[1] for line in outcome.failures} == {str(bad), str(other)}


def stored_table(repo: Path) -> Path:
    with Butler.from_config(str(repo)) as butler:
        uri = butler.getURI("level2_wavelength", instrument="SPHEREx", detector=1, collections=f"SPHEREx/level2/{RUN}")
    return Path(uri.ospath)


def remove(path: Path) -> None:
    path.unlink()


def break_table(path: Path) -> None:
    change_table(path, "VALUES", 0.0)


def cut_table(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


@pytest.mark.parametrize("damage", [remove, break_table, cut_table])
def test_the_same_command_again_heals_the_table(repo_root: Path, tmp_path: Path, damage: Any) -> None:
    write_many(tmp_path / "in", 2, [1])
    ingest_level2(repo_root, tmp_path / "in")
    expected = wavelength_of(repo_root).at(5, 5)
    damage(stored_table(repo_root))
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert (outcome.code, outcome.counts["already there"]) == (0, 2)
    assert wavelength_of(repo_root).at(5, 5) == expected
    assert ingest_level2(repo_root, tmp_path / "in").code == 0


def test_table_that_cannot_be_read_for_a_while(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_level2(tmp_path / "a", 0)
    write_level2(tmp_path / "b", 1)
    assert ingest_level2(repo_root, tmp_path / "a").code == 0
    expected = wavelength_of(repo_root).at(5, 5)

    def time_out(self: object, *args: object, **kwargs: object) -> None:
        raise TimeoutError("the server does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(HDUListFormatter, "read_from_uri", time_out)
        outcome = ingest_level2(repo_root, tmp_path / "b")
    assert outcome.code == 1
    (failure,) = outcome.failures
    assert "the level2_wavelength of its run cannot be read" in failure
    assert "try again later" in failure
    assert wavelength_of(repo_root).at(5, 5) == expected
    assert ingest_level2(repo_root, tmp_path / "b").code == 0


def test_a_run_gets_the_table_of_any_file(repo_root: Path, tmp_path: Path) -> None:
    write_level2(tmp_path / "in", 0, 1, grid=None)
    write_level2(tmp_path / "in", 1, 1, grid=(500, 900))
    ingest_level2(repo_root, tmp_path / "in")
    write_level2(tmp_path / "in", 2, 1)
    ingest_level2(repo_root, tmp_path / "in")
    assert wavelength_of(repo_root).at(5, 5)[0].value > 0.5


def test_tables_that_contradict_each_other(repo_root: Path, tmp_path: Path) -> None:
    paths = write_many(tmp_path / "in", 4, [1])
    change_table(paths[2], "VALUES", 2.2)
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert outcome.code == 0
    assert (
        "1 of them: with a table WCS-WAVE that contradicts the level2_wavelength of its run and detector"
        in outcome.output
    )
    again = ingest_level2(repo_root, tmp_path / "in")
    assert "contradicts the level2_wavelength" in again.output


STALE = [
    ({"CRPIX1A": 1.0, "CRPIX2A": 1.0}, "at pixel 700 of the frame by CRPIX1 (320.5), at 0 by CRPIX1A (1)"),
    ({"CRPIX1": 1020.5, "CRPIX2": 1020.5}, "at pixel 0 of the frame by CRPIX1 (1020.5), at 700 by CRPIX1A (-699)"),
    (WAVE | {"CRPIX2W": 1.0}, "at pixel 1400 of the frame, by CRPIX2W at 0"),
    ({"CRPIX1A": None, "CRPIX1": 320.4}, "by WCS A (CRPIX1A is missing) its 6 pixels on axis 1 begin at pixel 700.1"),
]


@pytest.mark.parametrize(("change", "message"), STALE, ids=lambda value: str(value)[:40])
def test_cutout_whose_coordinate_systems_contradict_each_other(
    repo_root: Path, tmp_path: Path, change: dict, message: str
) -> None:
    path = write_level2(tmp_path / "in", 0, 1, change=change)
    write_level2(tmp_path / "in", 0, 2, change=WAVE)
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert level2_datasets(repo_root).keys() == {(0, 2)}
    assert outcome.failures[0].startswith(f"failed: {path}: ")
    assert message in outcome.failures[0]


def test_the_celestial_system_replaces_system_a(repo_root: Path, tmp_path: Path) -> None:
    path = write_level2(tmp_path / "in", change={"CRPIX1A": None, "CRPIX2A": None, "CRVAL1A": None, "CRVAL2A": None})
    assert ingest_level2(repo_root, path).code == 0
    assert read_product(path).bbox == read_product(write_level2(tmp_path / "other")).bbox
    whole = write_level2(tmp_path / "in", 0, 2, shape=(SIDE, SIDE), origin=(0, 0), planes=[], change={"CRPIX1": 320.5})
    assert "contradict each other" in ingest_level2(repo_root, whole).failures[0]


@pytest.mark.parametrize("keyword", ["CRPIX1", "CRPIX1A", "CRPIX1W"])
def test_contradiction_in_a_file_that_is_read(tmp_path: Path, keyword: str) -> None:
    path = write_archive_file(tmp_path / "a.fits").path
    with fits.open(path, mode="update") as hdus:
        hdus["IMAGE"].header[keyword] += 300
    for component in ("wavelength", "psf", "bbox"):
        with open_product(tmp_path / "a.fits") as product:
            if keyword == "CRPIX1W" and component != "wavelength":
                getattr(product, component)()
                continue
            with pytest.raises(ProductError, match="contradict each other.*CRPIX1"):
                getattr(product, component)()


def test_solution_that_was_replaced(tmp_path: Path) -> None:
    image = read_product(write_archive_file(tmp_path / "a.fits").path)
    expected = image.bbox
    image.wcs.wcs.crpix = image.wcs.wcs.crpix + 3
    write_product(image, tmp_path / "b.fits")
    found = read_product(tmp_path / "b.fits")
    assert (found.bbox, found.psf_model.origin) == (expected, image.psf_model.origin)
    assert found.wavelength.at(3, 4) == image.wavelength.at(3, 4)


def test_solution_of_the_user_is_ingested(repo_root: Path, tmp_path: Path) -> None:
    change = {"WCSNAME": "replaced", "CRPIX1": 325.5}
    path = write_level2(tmp_path / "in", change=change)
    assert ingest_level2(repo_root, path).code == 0
    assert read_product(path).bbox == read_product(write_level2(tmp_path / "other")).bbox
    # Its reference pixel says nothing about the place in the frame.
    lost = write_level2(tmp_path / "in", 0, 2, change={**change, "CRPIX1A": None})
    assert "CRPIX1A, its position in the frame, is missing" in ingest_level2(repo_root, lost).failures[0]


@pytest.mark.parametrize("unit", ["MJy / sq", "MJy // sr", "spam"])
def test_unit_that_no_formatter_takes(repo_root: Path, tmp_path: Path, unit: str) -> None:
    path = write_level2(tmp_path / "in", 0, 1, change={"BUNIT": unit})
    write_level2(tmp_path / "in", 0, 2)
    outcome = ingest_level2(repo_root, tmp_path / "in")
    assert level2_datasets(repo_root).keys() == {(0, 2)}
    assert outcome.failures[0].startswith(f"failed: {path}: BUNIT of HDU IMAGE is '{unit}'")


def test_the_relation_holds_in_genuine_and_simulated_files(archive_samples: list[Path]) -> None:
    for sample in archive_samples:
        header = fits.getheader(sample, "IMAGE")
        for axis in (1, 2):
            origin = 1020.5 - header[f"CRPIX{axis}"]
            assert origin == 1 - header[f"CRPIX{axis}A"] == 1 - header[f"CRPIX{axis}W"]
