from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import Butler

from spherex.fits import read_product
from spherex.ingest import SimulatedTranslator

from .damages import cut, dangling, empty, grow, not_fits
from .ingest_helpers import (
    Bare,
    datasets,
    exposure_record,
    header_bytes,
    ingest,
    ingest_bound,
    ingest_darks,
    name_of,
    region,
    snapshot,
    write_file,
    write_files,
)
from .programs import run_program


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "sim_exposure_000000_array_0.fits").write_bytes(b"")


DAMAGES = [
    (not_fits, "not FITS.*intact copy"),
    (empty, "the file is empty.*intact copy"),
    (cut(1000), "cut short.*intact copy"),
    (cut(4000), "cut short or damaged.*intact copy"),
    (cut(12000), "cut short.*intact copy"),
    (cut(7 * 2880 + 500), "cut short.*intact copy"),
    (cut(6 * 2880), "no 2-D image in HDU VARIANCE.*intact copy"),
    (dangling, "does not exist; check its name"),
    (directory, "no detector 0"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_damaged_file(repo_root: Path, tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    paths = write_files(tmp_path / "in", 1)
    damage(paths[2])
    outcome = ingest(repo_root, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 5
    assert len(outcome.failures) == 1
    assert outcome.failures[0].startswith(f"failed: {paths[2]}")
    assert re.search(message, outcome.failures[0]), outcome.failures
    assert datasets(repo_root).keys() == {(0, detector) for detector in (1, 2, 4, 5, 6)}


BAD_CARDS = [
    ({"EXPOSURE": 7}, "EXPOSURE in the header is 7, but the file name has 0"),
    ({"DETECTOR": 6}, "DETECTOR in the header is 6, but the file name has 3"),
    ({"MJD-BEG": Bare("NaN")}, "nan"),
    ({"MJD-END": None}, "MJD-END is missing"),
    ({"CRVAL1": Bare("NaN")}, "CRVAL1 of the WCS is not a number: nan"),
    ({"CRVAL2": None}, "the WCS is incomplete: CRVAL2 is missing"),
    ({"CRVAL1": Bare("1.2.3")}, "the header of HDU 1 (IMAGE) is damaged: CRVAL1 has no valid value, '1.2.3'"),
    ({"MJD-BEG": Bare("6_0.5")}, "the header of HDU 1 (IMAGE) is damaged: MJD-BEG has no valid value, '6_0.5'"),
    ({"IMAGETYP": Bare("SCIENCE")}, "the header of HDU 1 (IMAGE) is damaged: IMAGETYP has no valid value, 'SCIENCE'"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CARDS, ids=str)
def test_bad_header(repo_root: Path, tmp_path: Path, change: dict, message: str) -> None:
    write_files(tmp_path / "in", 1)
    path = write_file(tmp_path / "in", 0, 3, change=change)
    outcome = ingest(repo_root, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 5
    assert outcome.failures[0].startswith(f"failed: {path}: ")
    assert message in outcome.failures[0]
    # A damaged header names its HDU.
    place = "it" if "is damaged" in message else "the header of HDU IMAGE"
    assert outcome.failures[0].endswith(f"; fix {place} or leave the file out")
    with Butler.from_config(str(repo_root)) as butler:
        regions = butler.query_dimension_records("exposure_detector_region", instrument="simulator")
        assert {record.detector for record in regions} == {1, 2, 4, 5, 6}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sim_exposure_000000_array_0.fits", "there is no detector 0, only 1 to 6"),
        ("sim_exposure_000000_array_7.fits", "there is no detector 7, only 1 to 6"),
        ("sim_exposure_1000000_array_1.fits", "exposure 1000000 is beyond the last one, 999999"),
    ],
)
def test_bad_numbers(repo_root: Path, tmp_path: Path, name: str, message: str) -> None:
    write_files(tmp_path / "in", 1)
    path = write_file(tmp_path / "in", name=name)
    outcome = ingest(repo_root, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 6
    assert outcome.failures[0].startswith(f"failed: {path}: {message}")


def test_name_that_does_not_match(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in", name="image.fits")
    write_file(tmp_path / "in")
    assert ingest(repo_root, tmp_path / "in").code == 0
    named = ingest(repo_root, path)
    assert named.code == 1
    assert "it has no name of this kind of file" in named.failures[0]
    searched = ingest(repo_root, "--regex", r"\.fits$", tmp_path / "in")
    assert searched.code == 1
    assert searched.counts["already there"] == 1
    assert "its name is not sim_exposure_<exposure>_array_<detector>.fits" in searched.failures[0]


def test_without_wcs_or_time(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 1, dark=True)
    write_file(tmp_path / "in", 1, 1, dark=True, change={"MJD-BEG": None, "MJD-END": None})
    outcome = ingest_darks(repo_root, tmp_path / "in")
    assert outcome.code == 0
    assert "7 of them without WCS" in outcome.output
    assert "1 of them without time" in outcome.output
    assert region(repo_root, 1, 1) is None
    assert exposure_record(repo_root, 1).timespan is None


def test_the_same_dataset_twice(repo_root: Path, tmp_path: Path) -> None:
    first = write_file(tmp_path / "a")
    second = write_file(tmp_path / "b", seed=5)
    write_file(tmp_path / "b", 0, 2)
    outcome = ingest(repo_root, tmp_path / "a", tmp_path / "b")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 1
    assert {line.split(": ")[1] for line in outcome.failures} == {str(first), str(second)}
    assert all(str(first) in line and str(second) in line for line in outcome.failures)


def test_raws_and_darks_mixed_up(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in")
    write_file(tmp_path / "in", dark=True)
    outcome = ingest(repo_root, "--regex", ".", tmp_path / "in")
    assert outcome.code == 1
    (failure,) = outcome.failures
    assert "dark_current.fits: it is a dark current map" in failure
    assert "--ingest-type dark" in failure
    assert list(datasets_or_none(repo_root)) == [(0, 1)]


def test_the_same_file_by_two_names(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / path.name).symlink_to(path)
    outcome = ingest(repo_root, tmp_path / "a", tmp_path / "b")
    assert outcome.code == 0
    assert outcome.counts["ingested"] == outcome.counts["skipped"] == 1


def other_pixels(path: Path) -> None:
    write_file(path.parent, seed=99)


def other_header(path: Path) -> None:
    write_file(path.parent, change={"XPOSURE": 50.0})


@pytest.mark.parametrize(
    ("mode", "change", "message"),
    [
        ("copy", grow, "the ingested file had"),
        ("copy", other_pixels, "its content is not that of the ingested file"),
        ("copy", other_header, "its content is not that of the ingested file"),
        ("direct", grow, "the ingested file had"),
        ("direct", other_header, "exposure_time of exposure (id 0) is 50.0"),
        ("symlink", grow, "the ingested file had"),
    ],
)
def test_changed_file_under_a_known_name(
    repo_root: Path, tmp_path: Path, mode: str, change: Callable[[Path], None], message: str
) -> None:
    path = write_file(tmp_path / "in")
    write_file(tmp_path / "in", 0, 2)
    ingest(repo_root, "--transfer", mode, tmp_path / "in")
    before = snapshot(repo_root)
    change(path)
    outcome = ingest(repo_root, "--transfer", mode, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["already there"] == 1
    assert outcome.failures[0].startswith(f"failed: {path}: ")
    assert message in outcome.failures[0]
    assert "prune-datasets" in outcome.failures[0] or "--update-records" in outcome.failures[0]
    assert snapshot(repo_root) == before
    assert ingest(repo_root, "--skip-existing", tmp_path / "in").code == 0


@pytest.mark.parametrize("part", ["primary", "IMAGE", "FLAGS", "VARIANCE", "last pixel"])
def test_change_of_a_file_of_real_size(repo_root: Path, tmp_path: Path, part: str) -> None:
    path = write_file(tmp_path / "in", side=1000)
    ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    assert ingest(repo_root, "--transfer", "copy", tmp_path / "in").counts["already there"] == 1
    content = bytearray(path.read_bytes())
    if part == "last pixel":
        at = content.index(b"FLAGS   '") // 2880 * 2880 - 2880 + 4_000_000 % 2880 - 1
        content[at] ^= 1
    else:
        at = 0 if part == "primary" else content.index(f"'{part:8}'".encode()) // 2880 * 2880
        at = content.index(b"END" + b" " * 77, at)
        # A comment at the end of the last card: the header stays valid.
        content[at - 2 : at] = b"/x"
    path.write_bytes(content)
    outcome = ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    assert outcome.code == 1
    assert "its content is not that of the ingested file" in outcome.failures[0]


def test_known_file_and_a_changed_copy(repo_root: Path, tmp_path: Path) -> None:
    known = write_file(tmp_path / "a")
    changed = write_file(tmp_path / "b", seed=4)
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    ingest(repo_root, tmp_path / "a")
    outcome = ingest(repo_root, tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert outcome.counts["already there"] == 2, known
    (failure,) = outcome.failures
    assert failure.startswith(f"failed: {changed}: its content is not that of the ingested file")


@pytest.mark.slow
def test_no_regular_file(repo_root: Path, tmp_path: Path) -> None:
    """A pipe that nobody writes to is not waited for."""
    write_files(tmp_path / "in", 1, [1, 2, 3])
    os.mkfifo(tmp_path / "in" / name_of(0, 4))
    (tmp_path / "in" / name_of(0, 5)).symlink_to("/dev/zero")
    done = run_program("butler", "ingest-simulated", repo_root, tmp_path / "in", timeout=60)
    assert done.returncode == 1
    assert "3 ingested" in done.stdout
    assert done.stderr.count("it is not a regular file but a pipe, a socket or a device") == 2, done.stderr


def test_file_of_the_repository_is_gone(repo_root: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "in")
    ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    os.remove(datasets(repo_root)[0, 1].ospath)
    outcome = ingest(repo_root, tmp_path / "in")
    assert outcome.code == 1
    assert "is missing or cannot be reached" in outcome.failures[0]


def test_two_exposures_of_one_name(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 2, [1])
    path = write_file(tmp_path / "in", 2, 1, change={"OBSID": "sim_000000"})
    outcome = ingest(repo_root, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 2
    assert outcome.failures[0].startswith(f"failed: {path}: another record has the same name")


@pytest.mark.parametrize("location", ["empty", "missing"])
def test_empty_or_missing_directory(repo_root: Path, tmp_path: Path, location: str) -> None:
    (tmp_path / "empty").mkdir()
    write_file(tmp_path / "in")
    outcome = ingest(repo_root, tmp_path / location, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 1
    assert str(tmp_path / location) in outcome.failures[0]


def test_link_loop(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 1)
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    outcome = ingest(repo_root, tmp_path / "in")
    assert outcome.code == 0
    assert outcome.counts["found"] == 6


def test_fail_fast(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 2)
    write_file(tmp_path / "in", 0, 2).write_bytes(b"")
    outcome = ingest(repo_root, "--fail-fast", tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 0
    assert outcome.counts["not tried"] == 11
    assert len(outcome.failures) == 1
    assert datasets_or_none(repo_root) == {}


@pytest.mark.parametrize("damage", ["header", "contradiction", "name", "duplicate"])
def test_fail_fast_writes_what_comes_before(repo_root: Path, tmp_path: Path, damage: str) -> None:
    write_files(tmp_path / "in", 4)
    change = {
        "header": {"XPOSURE": "long"},
        "contradiction": {"XPOSURE": 50.0},
        "name": {"OBSID": "sim_000000"},
        "duplicate": {},
    }
    path = write_file(tmp_path / ("b" if damage == "duplicate" else "in"), 2, 3, seed=9, change=change[damage])
    if damage == "name":
        for detector in range(1, 7):
            write_file(tmp_path / "in", 2, detector, change=change[damage])
    outcome = ingest(repo_root, "--fail-fast", tmp_path / "in", *([path] if damage == "duplicate" else []))
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 12
    assert outcome.counts["not tried"] >= 6
    assert sum(outcome.counts[name] for name in ("ingested", "failed", "not tried")) == outcome.counts["found"]
    assert {exposure for exposure, _ in datasets(repo_root)} == {0, 1}
    assert all("sim_exposure_000002" in line for line in outcome.failures)


def damage_zimage(path: Path) -> None:
    content = path.read_bytes().replace(b"XTENSION= 'IMAGE   '", b"XTENSION= 'BINTABLE'", 1)
    at = content.index(b"TELESCOP")
    path.write_bytes(content[:at] + b"ZIMAGE  =                    T".ljust(80) + content[at + 80 :])


def damage_text(path: Path) -> None:
    content = path.read_bytes()
    at = content.index(b"IMAGETYP")
    path.write_bytes(content[:at] + b"IMAGETYP= 'unterminated".ljust(80) + content[at + 80 :])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_zimage, "a table has 2 axes, BITPIX -32.*intact copy"),
        (damage_text, "IMAGETYP.*fix it or leave the file out"),
    ],
)
def test_damage_of_one_header(repo_root: Path, tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    paths = write_files(tmp_path / "in", 1)
    damage(paths[2])
    outcome = ingest(repo_root, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 5
    (failure,) = outcome.failures
    assert failure.startswith(f"failed: {paths[2]}: ")
    assert re.search(message, failure), failure


def other_shape(path: Path) -> None:
    content = path.read_bytes()
    at = content.rindex(b"NAXIS1  =")
    path.write_bytes(content[:at] + b"NAXIS1  =                   10" + content[at + 30 :])


def two_images(path: Path) -> None:
    content = path.read_bytes()
    first = content.index(b"XTENSION")
    second = content.index(b"XTENSION", first + 8)
    path.write_bytes(content[:second] + content[first:])


def pixels_in_front(path: Path) -> None:
    content = bytearray(path.read_bytes())
    header = header_bytes({"SIMPLE": True, "BITPIX": 8, "NAXIS": 1, "NAXIS1": 4})
    path.write_bytes(header + bytes(2880) + content[2880:])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            other_shape,
            "its HDUs VARIANCE and IMAGE have different shapes: (16, 10) and (16, 16) (rows, columns); replace the "
            "file with an intact copy",
        ),
        (two_images, "it has two HDUs IMAGE; replace the file with an intact copy"),
        (
            pixels_in_front,
            "its primary HDU contains pixels (those of a product are in HDU IMAGE); replace the file with an intact "
            "copy",
        ),
    ],
)
def test_what_our_reader_refuses(repo_root: Path, tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    paths = write_files(tmp_path / "in", 1, [1, 2])
    damage(paths[1])
    with pytest.raises(ValueError, match=re.escape(message.partition(";")[0])):
        read_product(paths[1])
    outcome = ingest(repo_root, tmp_path / "in")
    assert outcome.counts["ingested"] == 1
    assert outcome.failures == [f"failed: {paths[1]}: {message}"]


def test_names_that_cannot_be_printed(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in")
    os.rename(path, f"{path}\n")
    odd = os.path.join(os.fsencode(tmp_path), b"in", b"caf\xe9")
    os.mkdir(odd)
    os.rename(write_file(tmp_path / "more", 0, 2), os.path.join(odd, name_of(0, 2).encode()))
    write_file(tmp_path / "in", 0, 3)
    outcome = ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    assert outcome.counts["ingested"] == 1
    assert outcome.counts["found"] == 3
    first, second = sorted(outcome.failures, reverse=True)
    assert first.startswith(f"failed: {path}\\n: its name is not sim_exposure_")
    assert "caf\\udce9/" in second
    assert "its path is not UTF-8, so no URI can name it; rename the file or directory" in second


@pytest.mark.parametrize("step", ["identify", "describe"])
def test_translator_that_errs(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A case that its author did not think of is no reason to give up all files."""
    paths = write_files(tmp_path / "in", 1)
    original = getattr(SimulatedTranslator, step)

    def err(self: SimulatedTranslator, *args: Any) -> Any:
        result = original(self, *args)
        key = result if step == "identify" else args[0]
        return {}["nothing"] if key.member == 3 else result

    monkeypatch.setattr(SimulatedTranslator, step, err)
    outcome = ingest(repo_root, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 5
    (failure,) = outcome.failures
    assert failure.startswith(f"failed: {paths[2]}: its header cannot be understood (KeyError: 'nothing'); fix it")


def datasets_or_none(repo: Path) -> dict:
    with Butler.from_config(str(repo)) as butler:
        if not list(butler.registry.queryDatasetTypes("rawexp")):
            return {}
    return datasets(repo)


def test_vanishing_file(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file goes between the reading of its header and the transfer."""
    from spherex.ingest import reader

    paths = write_files(tmp_path / "in", 2)
    read = reader.read_many

    def read_and_remove(*args: Any, **choices: Any) -> Any:
        futures = list(read(*args, **choices))
        yield from futures
        if futures:
            paths[3].unlink(missing_ok=True)

    monkeypatch.setattr(reader, "read_many", read_and_remove)
    outcome = ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 11
    assert outcome.failures[0].startswith(f"failed: {paths[3]}: it was removed")
    assert (0, 4) not in datasets(repo_root)


@pytest.mark.slow
def test_without_permission(repo_root: Path, tmp_path: Path) -> None:
    paths = write_files(tmp_path / "in", 1)
    os.chmod(paths[1], 0)
    outcome = ingest_bound(repo_root, tmp_path / "in")
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 5
    (failure,) = outcome.failures
    assert failure.startswith(f"failed: {paths[1]}: no permission to read it; ask its owner or use chmod")


@pytest.mark.slow
def test_directory_without_permission(repo_root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "in", 1)
    write_files(tmp_path / "in" / "closed", 1)
    os.chmod(tmp_path / "in" / "closed", 0)
    outcome = ingest_bound(repo_root, tmp_path / "in")
    os.chmod(tmp_path / "in" / "closed", 0o755)
    assert outcome.code == 1
    assert outcome.counts["ingested"] == 6
    assert f"{tmp_path / 'in' / 'closed'}: the directory cannot be searched (Permission denied)" in outcome.failures[0]
