"""The commands of doc/find_archive.md, as they stand there, with a local server in place of the archive."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from astropy.coordinates.name_resolve import sesame_url
from astropy.table import Table
from lsst.resources import ResourcePath
from lsst.resources.s3utils import getS3Client

from spherex.archive import ARCHIVE_URL
from spherex.archive.names import ARCHIVE_BUCKET
from spherex.cli.script import find_archive as script
from spherex.search import ARCHIVE_COLLECTIONS, IMAGE_SERVICE, TABLE_SERVICE

from .archive_server import TREE, Archive, Entry, serving_archive
from .ingest_helpers import butler_command
from .level2_helpers import FIRST_MJD, RUN, SIDE, name_of, write_level2
from .test_readme import ROOT, blocks_of

pytest.importorskip("pyvo")

PAGE = ROOT / "doc" / "find_archive.md"
FIRST, NAMED, TABULATED, CATALOGUE = "".join(blocks_of(PAGE, "sh archive")).splitlines()
M31 = (10.684708, 41.26875)


@pytest.fixture
def archive(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """Answer for the archive, and serve its bucket, with whole frames of two exposures of detectors 1 and 4."""
    getS3Client().create_bucket(Bucket="nasa-irsa-spherex")
    archive = Archive(tmp_path / "web", names={"M31": M31})
    for number in range(2):
        for detector in (1, 4):
            path = f"qr2/level2/2025W43_1A/{RUN}/{detector}/{name_of(number, detector)}"
            file = write_level2(tmp_path / "files", number, detector, shape=(SIDE, SIDE), origin=(0, 0), planes=())
            ResourcePath(ARCHIVE_BUCKET + path).transfer_from(ResourcePath(file), "copy")
            begin, uri = FIRST_MJD + 0.0015 * number, f"{ARCHIVE_URL}{TREE}/{path}"
            archive.entries.append(Entry(path, *M31, begin, bucket="nasa-irsa-spherex", uri=uri))
    with serving_archive(archive), sesame_url.set([f"{archive.uri}/sesame/"]):
        monkeypatch.setattr(script, "IMAGE_SERVICE", f"{archive.uri}/SIA")
        monkeypatch.setattr(script, "TABLE_SERVICE", f"{archive.uri}/TAP")
        yield archive


@pytest.mark.slow
def test_commands_of_the_page(
    repo_root: Path, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo_root.rename(tmp_path / "REPO")
    monkeypatch.chdir(tmp_path)

    def give(command: str) -> str:
        program, *words = shlex.split(command)
        assert program == "butler"
        outcome = butler_command(*words)
        assert outcome.code == 0, outcome
        return outcome.output

    assert [give(FIRST)] == blocks_of(PAGE, "text archive")
    # The later commands are given to a repository that lacks one image.
    first = archive.entries[0]
    path = first.path.replace("0000_1", "0000_3")
    archive.entries.append(dataclasses.replace(first, path=path, uri=f"{ARCHIVE_URL}{TREE}/{path}", begin=61000.0))
    named = give(NAMED).splitlines()
    assert named[0].startswith("M31: RA 10.684708, Dec 41.26875")
    assert named[1].endswith("in the archive: 1 new, 4 in REPO")
    give(TABULATED)
    table = Table.read("images.ecsv", format="ascii.ecsv")
    assert table["is_new"].tolist() == [False] * 4 + [True]
    del archive.entries[-1]
    pruning = (
        "--datasets",
        "level2",
        "--where",
        "instrument = 'SPHEREx' AND detector = 4",
        "--unstore",
        "--no-confirm",
    )
    assert butler_command("prune-datasets", "REPO", "SPHEREx/level2", *pruning).code == 0
    Path("stars.csv").write_text(f"name,ra,dec\nM31,{M31[0]},{M31[1]}\n")
    assert butler_command("register-targets", "REPO", "stars", "stars.csv", "--no-motion").code == 0
    lines = give(CATALOGUE).splitlines()
    assert lines[0] == "4 images of 1 target of stars in the archive: 2 new, 2 in REPO"
    assert lines[1].startswith("2 files found: 2 ingested")


def test_the_page_names_what_is_searched() -> None:
    text = PAGE.read_text()
    for name in (*ARCHIVE_COLLECTIONS, IMAGE_SERVICE, TABLE_SERVICE):
        assert f"`{name}`" in text
