"""Ids of datasets that stand for the content of their file: calibrations and issues of images."""

from __future__ import annotations

import concurrent.futures
import hashlib
import re
import shlex
import shutil
import uuid
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, DatasetIdGenEnum, DatasetRef, FileDataset
from lsst.resources import ResourcePath

from .calibrations_helpers import ID, ingest, rows_of, wavelength_at, write_maps, write_others, write_wcs
from .ingest_helpers import BLOCK, Bare, Outcome, butler_command, header_bytes, snapshot
from .level2_helpers import RUN, ingest_level2, write_level2
from .programs import run_program

CALIB = "019b2942-3cad-7a1a-911e-7beac6326a2c"
REISSUE = {"DATE": "2026-02-03T04:05:06.789"}


def refs_of(repo: Path, name: str) -> list[DatasetRef]:
    """Return the datasets of a type."""
    with Butler.from_config(str(repo)) as butler:
        return butler.query_datasets(name, collections="*", find_first=False, explain=False)


def by_data_id(ref: DatasetRef) -> uuid.UUID:
    """Return the id that earlier versions of the package gave to a dataset."""
    return DatasetRef(ref.datasetType, ref.dataId, ref.run, id_generation_mode=DatasetIdGenEnum.DATAID_TYPE_RUN).id


def by_content(ref: DatasetRef, content: bytes) -> uuid.UUID:
    return uuid.uuid5(by_data_id(ref), hashlib.sha256(content).hexdigest())


def make_old(repo: Path, name: str) -> DatasetRef:
    """Give the datasets of a type the ids that earlier versions gave; return the first one."""
    with Butler.from_config(str(repo), writeable=True) as butler:
        refs = butler.query_datasets(name, collections="*", find_first=False)
        files = [ResourcePath(butler.getURI(ref)).read() for ref in refs]
        butler.pruneDatasets(refs, unstore=True, purge=True)
        old = []
        for number, (ref, content) in enumerate(zip(refs, files, strict=True)):
            path = repo.parent / f"old_{number}.fits"
            path.write_bytes(content)
            old.append(DatasetRef(ref.datasetType, ref.dataId, ref.run, id=by_data_id(ref)))
            butler.ingest(FileDataset(str(path), [old[-1]]), transfer="copy")
        return old[0]


def remove_as_told(repo: Path, outcome: Outcome) -> None:
    """Give the command of a message."""
    (failure,) = outcome.failures
    command = re.search(r"remove the dataset first \(butler (.*?--where \".*?\")\)", failure)
    assert command is not None, failure
    words = [str(repo) if word == "REPO" else word for word in shlex.split(command[1])]
    assert butler_command(*words, "--no-confirm").code == 0


def change_one_byte(path: Path) -> None:
    """Change one pixel of the first map, where a comparison of samples does not look."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    # The repository may have a hard link to it.
    path.unlink()
    path.write_bytes(content)


def test_the_id_of_a_calibration_is_that_of_its_bytes(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    path = write_wcs(tmp_path / "in")
    write_others(tmp_path / "in")
    assert ingest(repo_root, "--dry-run", tmp_path / "in").code == 0
    assert ingest(repo_root, tmp_path / "in").code == 0
    (ref,) = refs_of(repo_root, "spectral_wcs")
    assert ref.id == by_content(ref, path.read_bytes())
    (gains,) = refs_of(repo_root, "gain_factors")
    assert gains.id == by_content(gains, (tmp_path / "in" / "gain_factors_spx_base-2025-158.yaml").read_bytes())
    before = snapshot(repo_root)
    for options in ([], ["--dry-run"], ["--transfer", "direct"]):
        assert ingest(repo_root, tmp_path / "in", *options).counts["already there"] == 4
    assert ingest(repo_root, tmp_path / "in", "--skip-existing").counts["skipped"] == 4
    # A copy on a server is the same dataset, here and in another repository.
    for file in (tmp_path / "in").glob("*_spx_*"):
        ResourcePath(f"{bucket}/{file.name}").write(file.read_bytes())
    assert ingest(repo_root, f"{bucket}/").counts["already there"] == 4
    assert snapshot(repo_root) == before


def test_the_id_of_a_remote_calibration(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    path = write_wcs(tmp_path)
    ResourcePath(f"{bucket}/{path.name}").write(path.read_bytes())
    assert ingest(repo_root, f"{bucket}/{path.name}").code == 0
    (ref,) = refs_of(repo_root, "spectral_wcs")
    assert ref.id == by_content(ref, path.read_bytes())
    assert ingest(repo_root, path).counts["already there"] == 1


@pytest.mark.parametrize("transfer", ["copy", "direct"])
def test_another_calibration_under_the_old_name(repo_root: Path, tmp_path: Path, transfer: str) -> None:
    path = write_wcs(tmp_path)
    assert ingest(repo_root, "--transfer", transfer, path).code == 0
    (old,) = refs_of(repo_root, "spectral_wcs")
    assert wavelength_at(repo_root, "2026-01-01") == 4.0
    write_maps(path, {"CWAVE": 5.0, "CBAND": 0.1}, {"DETECTOR": 4, "DATE": "2026-02-03"})
    for options in (["--dry-run"], []):
        outcome = ingest(repo_root, path, *options)
        assert outcome.code == 1
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert ("DATE missing -> 2026-02-03" if transfer == "copy" else "DATE 2026-02-03") in outcome.failures[0]
        assert digest in outcome.failures[0]
    assert ingest(repo_root, path, "--skip-existing").code == 0
    remove_as_told(repo_root, outcome)
    assert ingest(repo_root, "--transfer", transfer, path).counts["ingested"] == 1
    (new,) = refs_of(repo_root, "spectral_wcs")
    assert (new.run, new.dataId) == (old.run, old.dataId)
    assert new.id == by_content(new, path.read_bytes()) != old.id
    assert rows_of(repo_root) == [["4", "-", "-"]]
    assert wavelength_at(repo_root, "2026-01-01") == 5.0


@pytest.mark.parametrize("given", [False, True])
def test_calibrations_with_other_ids_are_compared_as_a_whole(repo_root: Path, tmp_path: Path, given: bool) -> None:
    """Earlier versions made ids of the data ID alone, and users may give ids."""
    path = write_wcs(tmp_path / "in")
    assert ingest(repo_root, path, *(["--id", f"{path.name}={ID}"] if given else [])).code == 0
    old = refs_of(repo_root, "spectral_wcs")[0] if given else make_old(repo_root, "spectral_wcs")
    assert old.id == (uuid.UUID(ID) if given else by_data_id(old))
    for options in ([], ["--dry-run"], ["--begin-date", "2026-01-01"]):
        outcome = ingest(repo_root, path, *options)
        assert (outcome.code, outcome.counts["already there"]) == (0, 1), outcome
    (tmp_path / "far").mkdir()
    assert ingest(repo_root, shutil.copy(path, tmp_path / "far")).counts["already there"] == 1
    change_one_byte(path)
    outcome = ingest(repo_root, path)
    assert outcome.code == 1
    assert "its content is not that of the ingested file" in outcome.failures[0]
    remove_as_told(repo_root, outcome)
    assert ingest(repo_root, path).counts["ingested"] == 1
    (new,) = refs_of(repo_root, "spectral_wcs")
    assert new.id == by_content(new, path.read_bytes())


def test_file_of_a_calibration_that_was_removed_comes_back(repo_root: Path, tmp_path: Path) -> None:
    path = write_wcs(tmp_path)
    assert ingest(repo_root, path).code == 0
    (ref,) = refs_of(repo_root, "spectral_wcs")
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        butler.pruneDatasets([ref], disassociate=False, unstore=True)
    other = write_maps(tmp_path / "other" / path.name, {"CWAVE": 5.0, "CBAND": 0.1})
    (failure,) = ingest(repo_root, other).failures
    assert "its dataset, whose file was removed, was made from a file of another content" in failure
    assert ingest(repo_root, path).counts["ingested"] == 1
    assert [again.id for again in refs_of(repo_root, "spectral_wcs")] == [ref.id]


def test_an_id_of_unknown_content_gets_no_other_content(repo_root: Path, tmp_path: Path) -> None:
    path = write_wcs(tmp_path)
    given = ["--id", f"{path.name}={ID}"]
    assert ingest(repo_root, path, *given).code == 0
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        butler.pruneDatasets(refs_of(repo_root, "spectral_wcs"), disassociate=False, unstore=True)
    change_one_byte(path)
    (failure,) = ingest(repo_root, path).failures
    assert f"the file of dataset {ID} was removed, and its content is not known" in failure
    assert "remove the dataset first (butler prune-datasets" in failure
    # Who gives the id says what its content is.
    assert ingest(repo_root, path, *given).counts["ingested"] == 1


def test_given_ids_may_be_those_of_another_repository(repo_root: Path, tmp_path: Path, make_repo) -> None:
    path = write_wcs(tmp_path)
    assert ingest(make_repo(tmp_path / "other"), path).code == 0
    (ref,) = refs_of(tmp_path / "other", "spectral_wcs")
    assert ref.id.version == 5
    change_one_byte(path)
    options = ["--id", f"{path.name}={ref.id}", "--transfer", "copy"]
    assert ingest(repo_root, path, *options).counts["ingested"] == 1
    assert ingest(repo_root, path, *options).counts["already there"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False])
def test_two_processes_ingest_a_calibration(repo_root: Path, tmp_path: Path, same: bool) -> None:
    one = write_wcs(tmp_path / "a")
    other = write_maps(tmp_path / "b" / one.name, {"CWAVE": 4.0 if same else 5.0, "CBAND": 0.1})
    assert (one.read_bytes() == other.read_bytes()) is False
    if same:
        shutil.copy(one, other)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda path: run_program("butler", "ingest-calibrations", repo_root, path), (one, other)))
    assert sorted(process.returncode for process in done) == [0, int(not same)], done
    (ref,) = refs_of(repo_root, "spectral_wcs")
    assert ref.id in {by_content(ref, one.read_bytes()), by_content(ref, other.read_bytes())}
    assert rows_of(repo_root) == [["4", "-", "-"]]


def reissue(directory: Path, **change: object) -> Path:
    """Write an image as it is issued for the second time."""
    path = write_level2(directory, change={**REISSUE, **change})
    content = path.read_bytes().replace(b"'6.5.4   '", b"'6.5.6   '")
    history = f"HISTORY [CALIB] nonfunc {CALIB}".ljust(80).encode()
    end = content.index(b"END".ljust(80), content.index(b"EXTNAME = 'IMAGE   '"))
    path.write_bytes(content[:end] + history + content[end : end + 80] + content[end + 160 :])
    return path


@pytest.mark.parametrize("transfer", ["copy", "direct"])
def test_another_issue_of_an_image(repo_root: Path, tmp_path: Path, transfer: str) -> None:
    first = write_level2(tmp_path / "first", change={"DATE": "2025-12-01T00:00:00"})
    write_level2(tmp_path / "first", detector=2)
    assert ingest_level2(repo_root, "--transfer", transfer, tmp_path / "first").code == 0
    old = refs_of(repo_root, "level2")
    before = snapshot(repo_root)
    second = reissue(tmp_path / "second", XPOSURE=113.5826)
    for options in (["--dry-run"], []):
        outcome = ingest_level2(repo_root, *options, second)
        assert outcome.code == 1
        (failure,) = outcome.failures
        assert "VERSION 6.5.4 -> 6.5.6, DATE 2025-12-01T00:00:00 -> 2026-02-03T04:05:06.789" in failure
        assert f"nonfunc missing -> {CALIB}" in failure
        assert snapshot(repo_root) == before
    assert ingest_level2(repo_root, "--skip-existing", second).counts["skipped"] == 1
    remove_as_told(repo_root, outcome)
    assert ingest_level2(repo_root, second).counts["ingested"] == 1
    new = refs_of(repo_root, "level2")
    places = [{(ref.run, ref.dataId): ref.id for ref in refs} for refs in (old, new)]
    assert places[0].keys() == places[1].keys()
    assert len(set(places[0].values()) - set(places[1].values())) == 1
    # The issue before is another one now.
    assert ingest_level2(repo_root, first).code == 1


def test_an_issue_has_one_id_everywhere(make_repo, tmp_path: Path, bucket: str) -> None:
    path = write_level2(tmp_path / "in")
    ResourcePath(f"{bucket}/{path.name}").write(path.read_bytes())
    ids = set()
    for number, location in enumerate((path, f"{bucket}/{path.name}")):
        repo = make_repo(tmp_path / f"repo_{number}")
        assert ingest_level2(repo, location).code == 0
        assert ingest_level2(repo, path, f"{bucket}/{path.name}").counts["already there"] == 2
        (ref,) = refs_of(repo, "level2")
        ids.add(ref.id)
        assert ref.id != by_data_id(ref)
    assert len(ids) == 1


@pytest.mark.parametrize("transfer", ["direct", "symlink"])
def test_an_image_that_was_replaced_in_place(repo_root: Path, tmp_path: Path, transfer: str) -> None:
    path = write_level2(tmp_path / "in")
    assert ingest_level2(repo_root, "--transfer", transfer, path).code == 0
    (old,) = refs_of(repo_root, "level2")
    reissue(tmp_path / "in")
    checked = butler_command("check-provenance", repo_root)
    assert checked.code == 1
    assert "\nchanged: level2 {'instrument': 'SPHEREx'" in checked.output
    # The file that the repository points to, and a copy of it.
    (tmp_path / "copy").mkdir()
    for location in (path, shutil.copy(path, tmp_path / "copy")):
        outcome = ingest_level2(repo_root, "--transfer", transfer, location)
        assert outcome.code == 1
        (failure,) = outcome.failures
        assert "was replaced in place since, by another content; if it is the better one, remove the dataset" in failure
        assert ". It has VERSION 6.5.6, DATE 2026-" in failure
    remove_as_told(repo_root, outcome)
    assert ingest_level2(repo_root, "--transfer", transfer, path).counts["ingested"] == 1
    (new,) = refs_of(repo_root, "level2")
    assert new.id != old.id
    assert "changed:" not in butler_command("check-provenance", repo_root).output
    assert ingest_level2(repo_root, "--transfer", transfer, path).counts["already there"] == 1


@pytest.mark.parametrize("transfer", ["direct", "copy"])
def test_a_refusal_names_what_differs_and_nothing_that_is_equal(repo_root: Path, tmp_path: Path, transfer: str) -> None:
    dated = {"DATE": "2025-12-01T00:00:00"}
    path = write_level2(tmp_path / "in", change=dated)
    assert ingest_level2(repo_root, "--transfer", transfer, path).code == 0
    # For the repository both files are one if it points to it.
    write_level2(tmp_path / "in", change=dated | {"CRVAL2": 40.02})
    (failure,) = ingest_level2(repo_root, path).failures
    if transfer == "copy":
        assert failure.endswith(". Differences: CRVAL2 40.0 -> 40.02")
    else:
        assert ". It differs in region from the records of the exposure. It has VERSION 6.5.4, DATE 2025-" in failure
    write_level2(tmp_path / "in", change=dated, seed=7)
    outcome = ingest_level2(repo_root, path)
    if transfer == "copy":
        assert outcome.failures[0].endswith(". It has the same VERSION, DATE, size, but other pixels or comments")
    assert len(failure.replace(str(tmp_path), "")) < 600


def test_a_damaged_card_does_not_hide_why_a_file_is_refused(repo_root: Path, tmp_path: Path) -> None:
    path = write_level2(tmp_path / "in", change={"ZZZ": Bare("1 2 X")})
    assert ingest_level2(repo_root, "--transfer", "copy", path).code == 0
    write_level2(tmp_path / "in", change={"ZZZ": Bare("1 2 X"), "CRVAL2": 40.02})
    (failure,) = ingest_level2(repo_root, path).failures
    assert "its content is not that of the ingested file" in failure
    assert failure.endswith(". Differences: CRVAL2 40.0 -> 40.02")
    write_level2(tmp_path / "in", change={"ZZZ": Bare("1 2 Y")})
    (failure,) = ingest_level2(repo_root, path).failures
    assert failure.endswith(". Differences: ZZZ 1 2 X -> 1 2 Y")


def test_a_refusal_names_another_sequence_of_hdus(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    path = write_level2(tmp_path / "in")
    assert ingest_level2(repo_root, "--transfer", "copy", path).code == 0
    content = path.read_bytes()
    # In place of the last plane, whose size it has, an HDU before the image.
    layout = {"XTENSION": "IMAGE", "BITPIX": 8, "NAXIS": 1, "NAXIS1": BLOCK, "PCOUNT": 0, "GCOUNT": 1}
    extra = header_bytes(layout | {"EXTNAME": "EXTRA"}) + bytes(BLOCK)
    changed = content[:BLOCK] + extra + content[BLOCK : -len(extra)]
    assert len(changed) == len(content)
    path.write_bytes(changed)
    (failure,) = ingest_level2(repo_root, path).failures
    assert failure.endswith(
        ". Differences: HDUs PRIMARY, IMAGE, FLAGS, VARIANCE, WCS-WAVE -> PRIMARY, EXTRA, IMAGE, FLAGS, VARIANCE"
    )
    # Of a remote file the HDUs behind the image are not read.
    write_level2(tmp_path / "in", change={"CRVAL2": 40.02})
    ResourcePath(f"{bucket}/{path.name}").write(path.read_bytes())
    (failure,) = ingest_level2(repo_root, f"{bucket}/{path.name}").failures
    assert failure.endswith(". Differences: CRVAL2 40.0 -> 40.02")


def test_images_of_an_older_repository_stay_as_they_are(repo_root: Path, tmp_path: Path) -> None:
    path = write_level2(tmp_path / "in")
    write_level2(tmp_path / "in", detector=2)
    assert ingest_level2(repo_root, tmp_path / "in").code == 0
    old = make_old(repo_root, "level2")
    before = snapshot(repo_root)
    for options in ([], ["--dry-run"], ["--update-records"]):
        outcome = ingest_level2(repo_root, *options, tmp_path / "in")
        assert (outcome.code, outcome.counts["already there"]) == (0, 2), outcome
    assert ingest_level2(repo_root, "--skip-existing", tmp_path / "in").counts["skipped"] == 2
    outcome = ingest_level2(repo_root, reissue(tmp_path / "second"))
    assert outcome.code == 1
    assert "VERSION 6.5.4 -> 6.5.6" in outcome.failures[0]
    assert snapshot(repo_root) == before
    remove_as_told(repo_root, outcome)
    assert ingest_level2(repo_root, tmp_path / "second").counts["ingested"] == 1
    assert old.run == f"SPHEREx/level2/{RUN}"
    assert old.id not in {ref.id for ref in refs_of(repo_root, "level2")}
    assert path.exists()
