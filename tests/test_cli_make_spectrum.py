"""Make-spectrum: from files to a spectrum in one command, and again only what is new."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.coordinates.name_resolve import sesame_url
from astropy.io import fits
from astropy.modeling.models import BlackBody
from astropy.table import QTable, Table
from click.testing import CliRunner
from lsst.daf.butler import Butler, CollectionType

import spherex
from spherex.errors import SearchError, UserError
from spherex.making import update_spectra
from spherex.spectra import QUALITY_BITS, UNREAD
from spherex_simulator.command import simulate

from .archive_server import TREE, Archive, Entry, serving_archive
from .ingest_helpers import Outcome, butler_command

PLACE = (305.75, 38.83)
FLUX = 20000.0
"""Flux of the star ``warm`` at 1.6 um (uJy)."""
FIRST = "6"
"""Exposures from this one on contain the star."""


def simulate_images(folder: Path, *options: str, exposures: int = 4) -> None:
    sources = folder.parent / "sources.ecsv"
    table = Table({"name": ["warm", "cool"], "ra": [305.75, 305.77], "dec": [38.83, 38.84]})
    table["flux"], table["temperature"], table["slope"] = [FLUX, 3000.0], [5000.0, 900.0], 0.0
    table.write(sources, overwrite=True)
    words = [folder, "--product", "level2", "--release", "qr3", "--exposures", exposures, "--first-exposure", FIRST]
    words += ["--center", "305.75,38.83", "--shape", 64, "--sources", sources, "--no-stars", "--quiet", *options]
    result = CliRunner().invoke(simulate, [str(word) for word in words])
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of simulated images of two detectors; not to be changed."""
    folder = tmp_path_factory.mktemp("made") / "files"
    simulate_images(folder)
    return folder


@pytest.fixture(scope="module")
def made(files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """Return a repository with the spectrum of ``warm``, and what the command has printed; not to be changed."""
    folder = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert butler_command("create-spherex", "REPO").code == 0
        outcome = make("warm", *PLACE, "--files", files)
    assert outcome.code == 0, outcome
    return folder, outcome


@pytest.fixture
def folder(made: tuple[Path, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that repository's folder, which is the current one."""
    shutil.copytree(made[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with an empty repository REPO, which is the current one."""
    monkeypatch.chdir(tmp_path)
    assert butler_command("create-spherex", "REPO").code == 0
    return tmp_path


def make(*words: object) -> Outcome:
    return butler_command("make-spectrum", "REPO", *words)


def spectrum_of(target: str, catalog: str = "warm") -> QTable:
    with Butler.from_config("REPO", collections=f"spectra/{catalog}") as butler:
        return spherex.get_spectrum(butler, catalog, target)


def runs(catalog: str = "warm") -> tuple[str, ...]:
    with Butler.from_config("REPO") as butler:
        return butler.collections.get_info(f"spectra/{catalog}").children


def assert_equal(one: QTable, other: QTable, *ignored: str) -> None:
    """Compare spectra to the last bit."""
    assert one.colnames == other.colnames
    for name in set(one.colnames) - set(ignored):
        values, others = (np.asarray(table[name]) for table in (one, other))
        assert np.array_equal(values, others, equal_nan=values.dtype.kind == "f"), name


def assert_is_the_star(spectrum: QTable) -> None:
    """Compare fluxes with the black body that was simulated, to 5 errors and 1 %."""
    light = BlackBody(5000 * u.K)
    truth = FLUX * (light(spectrum["wavelength"]) / light(1.6 * u.um)).value
    tolerance = 5 * spectrum["flux_error"].value + 0.01 * truth
    assert np.all(np.abs(spectrum["flux"].value - truth) < tolerance)


def test_the_spectrum_is_the_simulated_one(folder: Path) -> None:
    spectrum = spectrum_of("warm")
    assert len(spectrum) == 8
    assert bool(np.all(spectrum["good"]))
    assert_is_the_star(spectrum)


def test_the_summary_names_what_is_there(made: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, outcome = made
    lines = dict(line.split(": ", 1) for line in outcome.output.splitlines() if ": " in line)
    with Butler.from_config(str(folder / "REPO"), collections="spectra/warm") as butler:
        spectrum = spherex.get_spectrum(butler, "warm", "warm")
    signal = np.median(spectrum["flux"] / spectrum["flux_error"])
    assert lines["warm"] == f"8 measurements, 8 of them good, median S/N {signal:.0f}, in 8 channels"
    assert (folder / lines["Picture"]).read_bytes().startswith(b"\x89PNG")
    assert len(pyarrow.parquet.read_table(folder / lines["Table"])) == 8
    assert "measureTargets" in (folder / lines["Log"]).read_text()
    assert len(outcome.output.splitlines()) <= 12
    # The log is not on the terminal.
    assert "quantum" not in outcome.output
    monkeypatch.chdir(folder)
    names: dict[str, QTable] = {}
    exec(lines["In Python"], names)
    assert len(names["spectrum"]) == 8


def test_nothing_is_made_again(folder: Path) -> None:
    before = runs()
    for words in (["warm"], ["warm", *PLACE]):
        outcome = make(*words)
        assert outcome.code == 0, outcome
        assert "Nothing to do: the spectra are up to date." in outcome.output
        assert "Measuring" not in outcome.output
    assert runs() == before


def test_new_versions_of_images_are_measured_and_no_others(folder: Path, files: Path) -> None:
    before = spectrum_of("warm")
    simulate_images(folder / "again", "--run", "l2b-v28-2026-240", "--detectors", "2", exposures=2)
    outcome = make("warm", "--files", "again")
    assert outcome.code == 0, outcome
    assert "Measuring 2 images" in outcome.output
    after = spectrum_of("warm")
    is_new = np.char.endswith(np.asarray(after["image_run"], dtype=str), "l2b-v28-2026-240")
    assert (len(after), np.count_nonzero(is_new)) == (8, 2)
    assert_equal(after[~is_new], before[np.isin(before["image_id"], after["image_id"])])
    # The same as in a repository that has had all from the beginning.
    assert butler_command("create-spherex", "FRESH").code == 0
    for source in (files, "again"):
        assert butler_command("ingest-level2", "FRESH", source, "--transfer", "direct").code == 0
    fresh = spherex.spectrum("FRESH", SkyCoord(*PLACE, unit="deg"))
    assert_equal(after, fresh, "target", "catalog_id")
    assert "Nothing to do" in make("warm").output


def test_a_removed_image_leaves_the_spectrum(folder: Path) -> None:
    gone = spectrum_of("warm")["image_id"][0]
    with Butler.from_config("REPO", writeable=True) as butler:
        butler.pruneDatasets([butler.get_dataset(str(gone))], purge=True, unstore=True, disassociate=True)
    assert make("warm").code == 0
    spectrum = spectrum_of("warm")
    assert len(spectrum) == 7
    assert gone not in spectrum["image_id"]
    assert "Nothing to do" in make("warm").output


def remove_run(name: str) -> None:
    assert butler_command("remove-runs", "REPO", name, "--no-confirm", "--force").code == 0


def test_measurements_of_a_removed_run_are_made_again_before_spectra_are_gathered(folder: Path) -> None:
    simulate_images(folder / "again", "--run", "l2b-v28-2026-240", "--detectors", "2", exposures=2)
    assert make("warm", "--files", "again").code == 0
    newest, first = runs()
    assert butler_command("remove-runs", "REPO", first, "--no-confirm", "--force").code == 0
    # The spectrum is the one of today.
    assert "Nothing to do" in make("warm").output
    assert "0 of 1 spectra are out of date" in butler_command("stale-spectra", "REPO", "spectra/warm").output
    before = spectrum_of("warm")
    simulate_images(folder / "third", "--run", "l2b-v29-2026-260", "--detectors", "2", exposures=1)
    assert butler_command("ingest-level2", "REPO", "third").code == 0
    listed = butler_command("stale-spectra", "REPO", "spectra/warm").output
    assert "1 image superseded, 6 images of the patch without their measurements" in listed
    outcome = make("warm")
    assert outcome.code == 0, outcome
    assert "Measuring 7 images" in outcome.output
    assert "out of date" not in outcome.output
    after = spectrum_of("warm")
    is_same = np.isin(after["image_id"], before["image_id"])
    assert (len(after), np.count_nonzero(is_same)) == (8, 7)
    assert_equal(after[is_same], before[np.isin(before["image_id"], after["image_id"])])
    with Butler.from_config("REPO") as butler:
        refs = butler.query_datasets("spectra", "*", find_first=False)
        assert {ref.run: len(butler.get(ref)) for ref in refs} == {newest: 8, runs()[0]: 8}


def test_older_measurements_behind_a_removed_run_are_not_left_in_the_spectrum(folder: Path) -> None:
    simulate_images(folder / "again", "--run", "l2b-v28-2026-240", "--detectors", "2", exposures=2)
    assert make("warm", "--files", "again").code == 0
    with Butler.from_config("REPO", writeable=True) as butler:
        refs = butler.query_datasets("target_measurements", runs()[0])
        butler.pruneDatasets(refs, purge=True, unstore=True, disassociate=True)
    simulate_images(folder / "third", "--run", "l2b-v29-2026-260", "--detectors", "2", exposures=1)
    outcome = make("warm", "--files", "third")
    assert outcome.code == 0, outcome
    spectrum = spectrum_of("warm")
    assert [sum(name in run for run in spectrum["image_run"]) for name in ("v28", "v29")] == [1, 1]
    assert "Nothing to do" in make("warm").output


def test_the_log_has_the_reasons_of_spectra_that_are_still_out_of_date(folder: Path) -> None:
    simulate_images(folder / "again", "--run", "l2b-v28-2026-240", "--detectors", "2", exposures=1)
    with Butler.from_config("REPO") as butler:
        assert butler_command("ingest-level2", "REPO", "again").code == 0
        # Patches are not gathered.
        (targets,) = butler.query_datasets("patch_targets", "catalogs/warm")
        Path(butler.getURI(targets).ospath).write_bytes(b"damaged")
    outcome = make("warm")
    assert outcome.code == 1
    assert "1 target still out of date" in outcome.output
    assert outcome.output.index("Measuring 1 image") < outcome.output.index("still out of date")
    reason = "Still out of date: warm of catalogue warm: 1 image superseded."
    assert reason in Path("spectra-warm.log").read_text()


def test_a_target_that_is_added_to_a_catalogue(folder: Path) -> None:
    rows = ["name,ra,dec", f"warm,{PLACE[0]},{PLACE[1]}", "cool,305.77,38.84", "far,120.5,-45.25"]
    Path("mine.csv").write_text("\n".join(rows[:2]) + "\n")
    assert make("mine.csv").code == 0
    alone = spectrum_of("warm", "mine")
    assert_equal(alone, spectrum_of("warm"), "catalog_id")
    Path("mine.csv").write_text("\n".join(rows) + "\n")
    outcome = make("mine.csv")
    assert outcome.code == 1
    assert "replace them by: butler register-targets REPO mine FILE --update" in outcome.output
    assert butler_command("register-targets", "REPO", "mine", "mine.csv", "--update").code == 0
    outcome = make("mine")
    assert outcome.code == 0
    assert "1 target without a measurement (outside the pixels of all images): far" in outcome.output
    assert len(spectrum_of("cool", "mine")) == 8
    assert "Nothing to do" in make("mine").output


def test_a_picture_that_is_missing_is_drawn(folder: Path) -> None:
    with Butler.from_config("REPO", writeable=True) as butler:
        refs = butler.query_datasets("spectrum_plot", "spectra/warm")
        butler.pruneDatasets(refs, purge=True, unstore=True, disassociate=True)
    outcome = make("warm")
    assert outcome.code == 0, outcome
    assert "Picture: " in outcome.output
    assert "Measuring" not in outcome.output


def write_catalog(*rows: str) -> None:
    Path("mine.csv").write_text("\n".join(["name,ra,dec", *rows]) + "\n")


WARM, COOL, NEAR = f"warm,{PLACE[0]},{PLACE[1]}", "cool,305.77,38.84", "near,305.80,38.82"
"""Rows of a catalogue; ``near`` is in another patch."""


@contextlib.contextmanager
def interrupted(images: int) -> Iterator[None]:
    """Stop when all images are measured."""
    yield
    raise KeyboardInterrupt


def test_new_targets_after_an_interruption_are_measured_in_all_images(folder: Path) -> None:
    write_catalog(WARM)
    assert butler_command("register-targets", "REPO", "mine", "mine.csv").code == 0
    with Butler.from_config("REPO", writeable=True) as butler, pytest.raises(KeyboardInterrupt):
        update_spectra(butler, "mine", "spectra/mine", measuring=interrupted)
    write_catalog(WARM, COOL)
    assert butler_command("register-targets", "REPO", "mine", "mine.csv", "--update").code == 0
    outcome = make("mine")
    assert outcome.code == 0
    assert len(spectrum_of("cool", "mine")) == 8


def test_an_interrupted_update_is_not_measured_again(folder: Path) -> None:
    with Butler.from_config("REPO", writeable=True) as butler:
        with pytest.raises(KeyboardInterrupt):
            update_spectra(butler, "warm", "spectra/other", measuring=interrupted)
        assert update_spectra(butler, "warm", "spectra/other").images == 0
    with Butler.from_config("REPO", collections="spectra/other") as butler:
        assert_equal(spherex.get_spectrum(butler, "warm", "warm"), spectrum_of("warm"))


def test_targets_in_new_and_old_patches_that_are_added_and_removed(folder: Path) -> None:
    write_catalog(WARM)
    assert make("mine.csv").code == 0
    write_catalog(WARM, COOL, NEAR)
    assert butler_command("register-targets", "REPO", "mine", "mine.csv", "--update").code == 0
    outcome = make("mine")
    assert outcome.code == 0, outcome
    assert [len(spectrum_of(name, "mine")) for name in ("warm", "cool", "near")] == [8, 8, 8]
    assert_equal(spectrum_of("near", "mine"), near_alone("near"), "target", "catalog_id")
    write_catalog(WARM, COOL)
    assert butler_command("register-targets", "REPO", "mine", "mine.csv", "--update").code == 0
    outcome = make("mine")
    assert "near" not in outcome.output
    assert "Nothing to do" in outcome.output
    assert "Nothing to do" in make("mine").output


def near_alone(name: str) -> QTable:
    """Return a spectrum in which all targets are fitted, measured in memory."""
    table = Table.read("mine.csv")
    order = np.argsort(table["name"] != name, kind="stable")
    return spherex.spectrum("REPO", table[order])


@pytest.mark.parametrize(("length", "reason"), [(300_000, "no wavelength"), (60_000, "no pixels")])
def test_an_image_that_cannot_be_read_is_reported_and_repeated_on_request(
    folder: Path, length: int, reason: str
) -> None:
    if reason == "no pixels":
        # The wavelengths are those of the calibration.
        simulate_images(folder / "calibrated", "--calibrations", exposures=1)
        assert butler_command("ingest-calibrations", "REPO", "calibrated").code == 0
        assert make("warm").code == 0
    path = sorted((folder / "REPO" / "SPHEREx" / "level2").rglob("*.fits"))[0]
    content = path.resolve().read_bytes()
    path.unlink()
    path.write_bytes(content[:length])
    for _ in range(2):
        outcome = make("warm", *PLACE, "--output", "spectra/other")
        assert outcome.code == 1
        assert f"1 image could not be read ({path.absolute()})" in outcome.output
        assert f"warm without a flux: 1 × {reason}: the file is cut short" in outcome.output
    path.write_bytes(content)
    outcome = make("warm", "--output", "spectra/other", "--failed")
    assert outcome.code == 0, outcome
    with Butler.from_config("REPO", collections="spectra/other") as butler:
        assert_equal(spherex.get_spectrum(butler, "warm", "warm"), spectrum_of("warm"))


def test_an_image_whose_file_is_gone_is_reported_and_not_tried_each_time(folder: Path) -> None:
    path = sorted((folder / "REPO" / "SPHEREx" / "level2").rglob("*.fits"))[0]
    path.rename(folder / "aside.fits")
    for log in ("Log: spectra-warm.log", "Nothing to do"):
        outcome = make("warm", "--output", "spectra/other")
        assert outcome.code == 1
        assert log in outcome.output
        assert "warm without a flux: 1 × its file is gone" in outcome.output
        assert f"1 image could not be read ({path.absolute()})" in outcome.output
    (folder / "aside.fits").rename(path)
    assert make("warm", "--output", "spectra/other", "--failed").code == 0
    with Butler.from_config("REPO", collections="spectra/other") as butler:
        assert_equal(spherex.get_spectrum(butler, "warm", "warm"), spectrum_of("warm"))


def test_calibrations_that_come_later_are_used(folder: Path) -> None:
    assert set(spectrum_of("warm")["spectral_wcs_id"]) == {""}
    simulate_images(folder / "calibrated", "--calibrations", exposures=1)
    assert butler_command("ingest-calibrations", "REPO", "calibrated").code == 0
    path = sorted((folder / "REPO" / "SPHEREx" / "level2").rglob("*.fits"))[0]
    content = path.resolve().read_bytes()
    path.unlink()
    path.write_bytes(content[:20_000])
    outcome = make("warm")
    assert (outcome.code, len(runs())) == (1, 2), outcome
    spectrum = spectrum_of("warm")
    assert len(spectrum) == 7
    assert "" not in {*spectrum["spectral_wcs_id"], *spectrum["solid_angle_id"]}
    # The images have a PSF of their own; the one that cannot be read stays without calibrations.
    assert set(spectrum["psf_id"]) == {""}
    outcome = make("warm")
    assert "Nothing to do" in outcome.output
    assert len(runs()) == 2


def test_images_without_a_valid_calibration_are_counted_on_the_screen(folder: Path) -> None:
    simulate_images(folder / "calibrated", "--calibrations", exposures=1)
    assert butler_command("ingest-calibrations", "REPO", "calibrated").code == 0
    assert "is valid for" not in make("warm").output
    detectors = np.asarray(spectrum_of("warm")["detector"])
    words = ["decertify-calibrations", "REPO", "spectral_wcs", "--detector", "2"]
    assert butler_command(*words).code == 0
    missing = int(np.count_nonzero(detectors == 2))
    assert 0 < missing < 8
    listed = butler_command("stale-spectra", "REPO", "spectra/warm").output
    assert f"{missing} images without a valid spectral_wcs" in listed
    line = f"No spectral_wcs is valid for {missing} of 8 images: the wavelengths of the images are used.\n"
    for _ in range(2):
        outcome = make("warm")
        assert outcome.code == 0, outcome
        assert line in outcome.output
    log = Path("spectra-warm.log").read_text()
    assert f"No spectral_wcs is valid for {missing} of {missing} images" in log


def test_an_image_that_could_not_be_measured_is_not_one_without_a_calibration(empty: Path, files: Path) -> None:
    shutil.copytree(files, "images")
    simulate_images(empty / "calibrated", "--calibrations", exposures=1)
    assert butler_command("ingest-calibrations", "REPO", "calibrated").code == 0
    assert butler_command("ingest-level2", "REPO", "images", "--transfer", "direct").code == 0
    path = sorted(Path("images").rglob("level2*.fits"))[0]
    path.write_bytes(re.sub(rb"(MJD|DATE)-(?=AVG|BEG|END|OBS)", rb"\1X", path.read_bytes()))
    outcome = make("warm", *PLACE)
    assert "warm without a flux: 1 × the header has no time" in outcome.output
    assert "is valid for" not in outcome.output
    words = ["decertify-calibrations", "REPO", "spectral_wcs"]
    assert butler_command(*words).code == 0
    assert "No spectral_wcs is valid for 7 of 7 images" in make("warm").output


def test_a_psf_that_comes_later_is_used(empty: Path, files: Path) -> None:
    name = sorted(files.rglob("level2*2D2*.fits"))[0]
    with fits.open(name) as hdus:
        del hdus["EPSF"]
        hdus.writeto(name.name)
    for _ in range(2):
        outcome = make("warm", *PLACE, "--files", name.name)
        assert "warm without a flux: 1 × no PSF: " in outcome.output
        assert "epsf serves instead: butler ingest-calibrations REPO LOCATIONS" in outcome.output
    simulate_images(empty / "calibrated", "--calibrations", "--detectors", "2", exposures=1)
    assert butler_command("ingest-calibrations", "REPO", "calibrated").code == 0
    assert make("warm").code == 0
    assert_is_the_star(spectrum_of("warm"))


def test_the_summary_says_why_measurements_are_not_good(folder: Path) -> None:
    # Three pixels from the star, whose light is nobody's.
    outcome = make("blank", PLACE[0], PLACE[1] + 3 * 6.15 / 3600, "--output", "spectra/blank")
    assert outcome.code == 0, outcome
    spectrum = spherex.get_spectrum("REPO", "blank", "blank", collections="spectra/blank")
    (line,) = (line for line in outcome.output.splitlines() if line.startswith("blank: 8 "))
    marks = Counter(mark for names in spectrum["quality_names"][~spectrum["good"]] for mark in names.split())
    bad = {bit.name: marks[bit.name] for bit in QUALITY_BITS if bit.is_bad and bit.name in marks}
    assert bad
    said = line.partition("; not good: ")[2].split(", ")
    assert {mark: int(number) for number, mark in map(str.split, said)} == bad


def test_the_worst_spectra_of_a_catalogue_come_first(folder: Path) -> None:
    empty = f"empty,{PLACE[0] + 0.03},{PLACE[1] - 0.03}"
    write_catalog(COOL, NEAR, WARM, f"zz,{PLACE[0]},{PLACE[1] + 3 * 6.15 / 3600}", empty, "far,120.5,-45.25")
    outcome = make("mine.csv")
    assert outcome.code == 0, outcome
    spectra = {name: spectrum_of(name, "mine") for name in ("cool", "near", "warm", "zz", "empty")}
    good = {name: np.count_nonzero(spectrum["good"]) for name, spectrum in spectra.items()}
    number = sum(map(len, spectra.values()))
    lines = outcome.output.splitlines()
    (total,) = (line for line in lines if line.startswith("5 targets: "))
    assert total.startswith(f"5 targets: {sum(good.values())} of {number} measurements good")
    shown = [line.partition(":")[0] for line in lines if " of them good" in line]
    order = sorted(spectra, key=lambda name: (good[name] / len(spectra[name]), name))
    assert shown == order[:3]
    assert "... and 2 more targets; 5 pictures in all. The end of spectra-mine.log lists all targets." in lines
    listed = Path("spectra-mine.log").read_text().splitlines()[-5:]
    assert [line.partition(":")[0] for line in listed] == order
    # Of an empty place all measurements may be good: the signal shows that nothing is there.
    signal = np.median(spectra["empty"]["flux"] / spectra["empty"]["flux_error"])
    assert abs(signal) < 3
    assert f", median S/N {signal:.1f}, in " in next(line for line in listed if line.startswith("empty: "))
    assert len(lines) <= 16


def test_a_table_of_measurements_that_is_gone_is_made_again(folder: Path) -> None:
    simulate_images(folder / "more", "--detectors", "2", exposures=5)
    (path,) = list((folder / "REPO").rglob("target_measurements*.parq"))[:1]
    path.unlink()
    make("warm", "--files", "more")
    outcome = make("warm")
    assert outcome.code == 0, outcome
    # Of detector 2 there is one more.
    assert len(spectrum_of("warm")) == 9


def test_an_intact_file_is_not_called_unreadable() -> None:
    for reason in (
        "no pixels: the image is in Jy, not in MJy/sr",
        "no wavelength at this pixel",
        "no PSF: it has none",
    ):
        assert not re.search(UNREAD, reason)
    for reason in ("no PSF: HDU 5 (EPSF) is damaged", "the file is cut short", "its file is gone", "the file is empty"):
        assert re.search(UNREAD, reason)


def test_names_do_not_get_the_spectra_of_others(folder: Path) -> None:
    assert make("SDSS J1.78+1", *PLACE).code == 0
    for words in (["SDSS J1.99+2"], ["VB 10", "--catalog", "warm"], ["SDSS_J1.78+1 "]):
        with sesame_url.set(["http://127.0.0.1:1/"]):
            outcome = make(*words)
        assert outcome.code == 1
        assert "without" in outcome.output or "is not known" in outcome.output
    assert "Nothing to do" in make("SDSS J1.78+1").output
    assert make("αCen", *PLACE).code == 0
    assert len(spectrum_of("αCen", "Cen")) == 8


def test_a_chain_of_chains_as_the_collection(folder: Path) -> None:
    assert butler_command("collection-chain", "REPO", "chain", "spectra/warm").code == 0
    assert "Nothing to do" in make("warm", "--output", "chain").output


def test_a_chain_with_an_older_table_of_targets(folder: Path) -> None:
    """The chain that `pipetask run -o` makes contains the inputs of that time."""
    write_catalog(f"one,{PLACE[0]},{PLACE[1]}")
    assert make("mine.csv").code == 0
    with Butler.from_config("REPO", writeable=True) as butler:
        butler.collections.extend_chain("spectra/mine", butler.collections.get_info("catalogs/mine").children[0])
    write_catalog(f"one,{PLACE[0]},{PLACE[1]}", f"two,{PLACE[0] + 0.01},{PLACE[1]}")
    assert butler_command("register-targets", "REPO", "mine", "mine.csv", "--update").code == 0
    assert make("mine").code == 0
    assert len(spectrum_of("two", "mine")) == len(spectrum_of("one", "mine"))


def test_nothing_is_registered_or_removed_where_nothing_is_measured(folder: Path) -> None:
    with Butler.from_config("REPO", writeable=True) as butler:
        for name in ("mine", "all", "spectra/other"):
            butler.collections.register(name, CollectionType.CHAINED)
        butler.collections.prepend_chain("all", "mine")
        before = set(butler.collections.query("*"))
    outcome = make("far", 10.0, 20.0, "--output", "mine")
    assert outcome.code == 1
    assert "no image of REPO contains a target of far" in outcome.output
    assert make("far", "--output", "spectra/other").code == 1
    with Butler.from_config("REPO") as butler:
        assert before <= set(butler.collections.query("*"))
        assert set(butler.collections.query("*")) - before == set(
            butler.collections.query("catalogs/far*", include_chains=True)
        )


def test_a_mistyped_position_is_corrected_by_the_right_one(folder: Path) -> None:
    assert make("far", 10.0, 20.0).code == 1
    outcome = make("far", *PLACE)
    assert outcome.code == 0, outcome
    assert_equal(spectrum_of("far", "far"), spectrum_of("warm"), "target", "catalog_id")
    # Once there is a spectrum, its name stays with its position.
    assert "another target or position" in make("far", 10.0, 20.0).output


def test_options_of_another_command(folder: Path) -> None:
    Path("mine.csv").write_text("Star,ra,dec\na,1,2\n")
    outcome = make("mine.csv")
    assert outcome.code == 1
    assert "with --name-column. These are options of register-targets: butler register-targets REPO mine mine.csv" in (
        outcome.output
    )


def test_reading_without_naming_a_collection(folder: Path) -> None:
    assert_equal(spherex.get_spectrum("REPO", "warm", "warm"), spectrum_of("warm"))
    for words in ({"dataset_type": "spektra"}, {"collections": "other"}):
        with pytest.raises(UserError, match="spektra|other"):
            spherex.get_spectrum("REPO", "warm", "warm", **words)
        with Butler.from_config("REPO") as butler, pytest.raises(UserError, match="spektra|other"):
            spherex.get_spectrum(butler, "warm", "warm", **words)


@pytest.mark.slow
def test_after_a_kill_the_command_goes_on(empty: Path, files: Path) -> None:
    assert butler_command("ingest-level2", "REPO", files, "--transfer", "direct").code == 0
    words = ["make-spectrum", "REPO", "warm", *map(str, PLACE)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from lsst.daf.butler.cli.butler import main; main()", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    log = Path("spectra-warm.log")
    while process.poll() is None and not (log.exists() and "Executed 3 quanta" in log.read_text()):
        time.sleep(0.02)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    outcome = make("warm")
    assert outcome.code == 0, outcome
    measured = int(outcome.output.partition("Measuring ")[2].split()[0])
    assert 0 < measured <= 5
    assert_equal(spectrum_of("warm"), spherex.spectrum("REPO", SkyCoord(*PLACE, unit="deg")), "target", "catalog_id")


def test_a_name_is_looked_up_with_its_motion_and_images_are_found(empty: Path, files: Path) -> None:
    pytest.importorskip("pyvo")
    # In July 2026 the star is at PLACE.
    years, motion = 26.55, 500.0
    position = (PLACE[0], PLACE[1] - years * motion / 3.6e6, 0.0, motion)
    archive = Archive(empty / "web", names={"Warm's star": position})
    for file in sorted(files.rglob("level2_*.fits")):
        path = file.relative_to(files)
        (archive.root / TREE / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, archive.root / TREE / path)
        archive.entries.append(Entry(str(path), *PLACE, 61000.0, collection="spherex_qr3", bucket=""))
    with serving_archive(archive), sesame_url.set([f"{archive.uri}/sesame/"]):
        outcome = make("Warm's star", "--find", "--access", "https", "--service", f"{archive.uri}/SIA")
        assert outcome.code == 0, outcome
        assert " in 2000.0, with proper motion; catalogue Warm_s_star" in outcome.output
        assert "8 images at RA 305.75" in outcome.output
        spectrum = spectrum_of("Warm's star", "Warm_s_star")
    assert len(spectrum) == 8
    assert_is_the_star(spectrum)
    # Registered, so that the name is not looked up again.
    with sesame_url.set(["http://127.0.0.1:1/"]):
        assert "Sesame" not in make("Warm's star").output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("warm", 10.0, 20.0), "has a catalogue warm with another target or position"),
        (("star", "305.75"), "Missing argument 'DEC'"),
        (("star", 305.75, 95), "the declination is not between -90 and 90 degrees: 95."),
        (("star", *PLACE, "--catalog", "a/b"), "the name of a catalogue consists of"),
        (("absent.csv",), "there is no file absent.csv"),
        (("star.csv",), "Did you mean 'stars.csv'?"),
        (("stars.csv", "--fnd"), "--find"),
        (("warm", "--file", "files"), "--files"),
        (("stars.csv", 10.0, 20.0), "stars.csv is the file of a catalogue, which has positions: leave out 10.0."),
        (("wram",), "Error: REPO has no catalogue wram. Did you mean 'warm'? As a name: the position of 'wram'"),
        (("satrs",), "Error: REPO has no catalogue satrs. Did you mean 'stars.csv'? As a name: the position of"),
        (("cool",), "Error: cool is a target of: butler make-spectrum REPO mine. As a name of its own: the position"),
        (("stars.csvv",), "Error: there is no file stars.csvv. Did you mean 'stars.csv'?\n"),
        (("list.dat",), "Error: list.dat does not have the extension of a catalogue; there are readers for .csv"),
        (("SDSS_J1.78+1.5e3",), "is not known, because Sesame does not answer"),
        (("warm", "--output", "SPHEREx/level2"), "choose another name for spectra"),
        (("warm", "--log", "absent/log"), "the log absent/log cannot be written"),
        (("warm", "--output", "taken"), "is not a CHAINED"),
        (("far", 10.0, 20.0), "no image of REPO contains a target of far"),
        (("warm", "--service", "http://127.0.0.1:1/SIA"), "--service is for --find"),
        (("REPO", *PLACE), "REPO is a directory: name the source, and ingest images by --files REPO."),
        (("warm", "--find", "--service", "http://127.0.0.1:1/SIA"), "does not answer"),
        (("warm", "--files", "nothing"), "failed: nothing: it contains no file; check its name"),
    ],
)
def test_bad_input(folder: Path, words: tuple[object, ...], message: str) -> None:
    with Butler.from_config("REPO", writeable=True) as butler:
        butler.collections.register("taken")
    Path("stars.csv").touch()
    Path("list.dat").touch()
    Path("nothing").mkdir()
    write_catalog(COOL)
    assert butler_command("register-targets", "REPO", "mine", "mine.csv").code == 0
    with sesame_url.set(["http://127.0.0.1:1/"]):
        outcome = make(*words)
    assert outcome.code != 0
    assert message in outcome.output
    assert "Traceback" not in outcome.output
    with Butler.from_config("REPO") as butler:
        assert butler.collections.query("spectra/*", collection_types=CollectionType.CHAINED) == ["spectra/warm"]


def test_a_repository_without_images(empty: Path) -> None:
    outcome = make("warm", *PLACE)
    assert outcome.code == 1
    assert "the repository has no images. Add some by: butler ingest-level2 REPO LOCATIONS" in outcome.output


@pytest.mark.parametrize(
    ("dataset_type", "message"),
    [
        ("patch_targets", "gatherSpectra failed 1 time: see spectra-warm.log"),
        ("target_catalog", "the table of catalogue warm cannot be read"),
    ],
)
def test_a_step_that_fails_is_not_a_success(folder: Path, dataset_type: str, message: str) -> None:
    with Butler.from_config("REPO") as butler:
        (ref,) = butler.query_datasets(dataset_type, "catalogs/warm")
        Path(butler.getURI(ref).ospath).write_bytes(b"damaged")
    outcome = make("warm", "--output", "spectra/other")
    assert outcome.code == 1
    assert message in outcome.output
    assert "Traceback" not in outcome.output


def test_in_memory_neighbours_are_fitted(folder: Path) -> None:
    table = Table({"name": ["warm", "beside"], "ra": [PLACE[0], PLACE[0]], "dec": [PLACE[1], PLACE[1] + 0.002]})
    alone, both = (spherex.spectrum("REPO", table[:number]) for number in (1, 2))
    assert set(both["target"]) == {"warm"}
    assert np.any(alone["flux"] != both["flux"])
    assert set(both["neighbours"].tolist()) == {1}


def test_in_memory_bad_input(folder: Path) -> None:
    with pytest.raises(SearchError, match=r"^no image of SPHEREx/level2 is at RA 10\.0"):
        spherex.spectrum("REPO", SkyCoord(10, 20, unit="deg"))
    with pytest.raises(SearchError, match="no image of absent is at"):
        spherex.spectrum("REPO", SkyCoord(*PLACE, unit="deg"), collections="absent")
    with pytest.raises(UserError, match="needs one position, not 2"):
        spherex.spectrum("REPO", SkyCoord([1, 2], [1, 2], unit="deg"))
