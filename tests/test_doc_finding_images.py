"""The commands of doc/finding_images.md, as they stand there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from astropy.table import Table

from .ingest_helpers import Outcome, butler_command
from .search_helpers import NEW, OLD, Image, add_images
from .test_readme import ROOT, blocks_of

PAGE = ROOT / "doc" / "finding_images.md"
COMMANDS = "".join(blocks_of(PAGE, "sh finding")).splitlines()
IMAGES = [
    *(Image(detector=d, obsid="2025W20_1C_0082_1", mjd=60807.5) for d in (1, 2, 4, 5)),
    Image(detector=2, obsid="2025W20_1C_0082_1", mjd=60807.5, run=OLD),
    *(Image(detector=d, obsid="2025W43_1A_0516_1", mjd=60970.0, roll=100.0) for d in (1, 4)),
]
FOUND = {
    "find-images REPO 308.027 38.350": 6,
    "find-images REPO J203206.48+382100.0": 2,
    "find-images REPO 308.027 38.350 --wavelength-range": 1,
    "find-images REPO 308.027 38.350 --where": 4,
    "query-datasets REPO level2 --collections SPHEREx/level2 --find-first --where instrument = 'SPHEREx' AND "
    "exposure_detector_region.region OVERLAPS POINT": 3,
    "query-datasets REPO level2 --collections SPHEREx/level2 --find-first --where instrument = 'SPHEREx' AND "
    "exposure_detector_region.region OVERLAPS CIRCLE": 6,
    "query-datasets REPO level2 --collections SPHEREx/level2 --find-first --where instrument = 'SPHEREx' AND "
    "exposure.timespan": 1,
    "query-datasets REPO level2 --collections SPHEREx/level2 --find-first --where instrument = 'SPHEREx' AND "
    "exposure.group_name": 4,
    "query-dimension-records": 1,
    "query-datasets REPO level2 --collections SPHEREx/level2/*": 2,
}
"""Begins of commands, and how many rows they print."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the repository REPO, of images at the position of the page."""
    folder = tmp_path_factory.mktemp("finding")
    seed = "resource://spherex/configs/butler.yaml"
    dimensions = "resource://spherex/configs/dimensions.yaml"
    butler_command("create", "--override", "--seed-config", seed, "--dimension-config", dimensions, folder / "REPO")
    images = [Image(**{**vars(image), "ra": 308.027, "dec": 38.35}) for image in IMAGES]
    add_images(folder / "REPO", images, folder / "files")
    return folder


def give(folder: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    monkeypatch.chdir(folder)
    program, *words = shlex.split(command)
    assert program == "butler"
    outcome = butler_command(*words)
    assert outcome.code == 0, outcome
    return outcome


@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_the_page(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = give(folder, command, monkeypatch)
    words = " ".join(shlex.split(command)[1:])
    if "--output" in command:
        assert len(Table.read(folder / "images.ecsv", format="ascii.ecsv")) == 6
        return
    if words.startswith("create"):
        assert "ObsCoreLiveTableManager" in (folder / "REPO_WITH_OBSCORE" / "butler.yaml").read_text()
        return
    _, rows = max((len(begin), rows) for begin, rows in FOUND.items() if words.startswith(begin))
    assert len([line for line in outcome.output.splitlines() if "SPHEREx" in line]) == rows
    if "--collections SPHEREx/level2 " in words:
        assert OLD not in outcome.output


def test_newest_version_is_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = give(folder, COMMANDS[0], monkeypatch).output
    assert NEW in table
    assert OLD not in table


def test_python_of_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    code, _ = blocks_of(PAGE, "python")
    names: dict[str, object] = {}
    exec(code, names)
    assert len(names["table"]) == 0  # type: ignore[arg-type]
    exec(code.replace("(4.66, 4.68)", "(3.0, 3.2)"), names)
    assert names["table"]["detector"].tolist() == [4, 4]  # type: ignore[index]


def test_cutout_of_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    _, code = blocks_of(PAGE, "python")
    names: dict[str, Any] = {}
    # The images of this test do not have the wavelength of the page.
    with pytest.warns(UserWarning, match=r"nearer to 4\.67 um than one of 4\.1\d+ um"):
        exec(code, names)
    assert names["image"].header["DETECTOR"] in (4, 5)
    exec(code.replace("4.67", "4.1"), names)
    assert (folder / "cutout.png").read_bytes().startswith(b"\x89PNG")
