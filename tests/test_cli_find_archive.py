"""butler find-archive: what is ingested, options, messages and exit statuses."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from astropy.coordinates.name_resolve import sesame_url
from astropy.table import Table
from lsst.daf.butler import Butler
from lsst.resources import ResourcePath

from spherex.remote import is_unsigned

from .archive_server import TREE, Archive, Entry, serving_archive
from .ingest_helpers import Outcome, butler_command, snapshot
from .level2_helpers import FIRST_MJD, OLDER, RUN, ingest_level2, level2_datasets, name_of, write_level2

pytest.importorskip("pyvo")

PLACE = ("30.5", "40.0")


def add(archive: Archive, number: int, detector: int, run: str = RUN, **fields: object) -> Entry:
    """Put an image into the archive, in its tree and in the answers of its services."""
    path = f"qr2/level2/2025W43_1A/{run}/{detector}/{name_of(number, detector, run)}"
    write_level2(archive.root / TREE / Path(path).parent, number, detector, run=run)
    begin = FIRST_MJD + 0.0015 * number
    entry = Entry(path, **{"ra": 30.5, "dec": 40.0, "begin": begin, **fields})
    archive.entries.append(entry)
    return entry


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """Serve an archive of two exposures of detector 1 and 2, the first with an older version."""
    archive = Archive(tmp_path / "web")
    for number in range(2):
        for detector in (1, 2):
            add(archive, number, detector, collection="spherex_qr2_deep" if number else "spherex_qr2")
    add(archive, 0, 1, OLDER)
    with serving_archive(archive):
        yield archive


def find(repo: Path, archive: Archive, *words: object, access: str = "https", kind: str = "SIA") -> Outcome:
    options = ("--access", access) if access else ()
    return butler_command("find-archive", repo, *words, "--service", f"{archive.uri}/{kind}", *options)


def upload(archive: Archive, bucket: str) -> None:
    """Copy the files into a bucket, as the archive does."""
    for file in (archive.root / TREE).rglob("*.fits"):
        ResourcePath(f"{bucket}/{file.relative_to(archive.root / TREE)}").write(file.read_bytes())


def test_new_images_are_ingested(repo_root: Path, archive: Archive) -> None:
    outcome = find(repo_root, archive, *PLACE)
    assert outcome.code == 0, outcome
    assert (
        f"4 images at RA 30.500000, Dec 40.000000 in the archive: 4 new, 0 in {repo_root}; 1 older version left out\n"
        in outcome.output
    )
    assert outcome.counts["ingested"] == 4
    stored = level2_datasets(repo_root)
    assert {str(uri) for uri in stored.values()} == {
        f"{archive.uri}/{TREE}/{entry.path}" for entry in archive.entries if RUN in entry.path
    }
    with Butler.from_config(str(repo_root), collections="SPHEREx/level2") as butler:
        for ref in butler.query_datasets("level2"):
            assert butler.get(ref).shape == (6, 6)


def test_the_command_can_be_repeated(repo_root: Path, archive: Archive) -> None:
    assert find(repo_root, archive, *PLACE).code == 0
    before = snapshot(repo_root)
    # The images are not even asked for.
    shutil.rmtree(archive.root)
    again = find(repo_root, archive, *PLACE)
    assert again.code == 0, again
    (line,) = again.output.splitlines()
    assert f"4 images at RA 30.500000, Dec 40.000000 in the archive: 0 new, 4 in {repo_root}; 1 older" in line
    assert snapshot(repo_root) == before
    add(archive, 2, 1)
    outcome = find(repo_root, archive, *PLACE)
    assert outcome.code == 0, outcome
    assert "5 images at RA 30.500000, Dec 40.000000 in the archive: 1 new, 4 in" in outcome.output
    assert outcome.counts["ingested"] == 1
    assert level2_datasets(repo_root).keys() == {(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)}


def test_a_newer_version_is_new(repo_root: Path, archive: Archive) -> None:
    newest = archive.entries[0]
    archive.entries.remove(newest)
    assert find(repo_root, archive, *PLACE).code == 0
    archive.entries.append(newest)
    outcome = find(repo_root, archive, *PLACE)
    assert "4 images at RA 30.500000, Dec 40.000000 in the archive: 1 new, 3 in" in outcome.output
    with Butler.from_config(str(repo_root)) as butler:
        refs = butler.query_datasets("level2", collections="SPHEREx/level2", find_first=True)
        assert len(refs) == 4
        assert {ref.run for ref in refs} == {f"SPHEREx/level2/{RUN}"}


def test_images_of_the_bucket_are_the_default(repo_root: Path, archive: Archive, bucket: str) -> None:
    upload(archive, bucket)
    outcome = find(repo_root, archive, *PLACE, access="")
    assert outcome.code == 0, outcome
    assert "AWS_NO_SIGN_REQUEST" not in outcome.output
    assert {str(uri) for uri in level2_datasets(repo_root).values()} == {
        f"{bucket}/{entry.path}" for entry in archive.entries if RUN in entry.path
    }
    # The same image under another URI is not another image.
    assert "0 new, 4 in" in find(repo_root, archive, *PLACE).output


def test_the_bucket_is_read_without_credentials(
    repo_root: Path, archive: Archive, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upload(archive, bucket)
    from lsst.resources.s3utils import getS3Client

    policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*", '
    getS3Client().put_bucket_policy(Bucket="spherex", Policy=policy + '"Resource": "arn:aws:s3:::spherex/*"}]}')
    # Set first, so that the value of the command does not stay.
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    outcome = find(repo_root, archive, *PLACE, access="s3")
    assert outcome.code == 0, outcome
    assert (
        "There are no AWS credentials: set AWS_NO_SIGN_REQUEST=YES to read the images later, too.\n" in outcome.output
    )
    assert is_unsigned()
    assert len(level2_datasets(repo_root)) == 4


def test_a_dry_run_opens_no_image(repo_root: Path, archive: Archive, tmp_path: Path) -> None:
    assert find(repo_root, archive, "--archive-collection", "spherex_qr2", *PLACE).code == 0
    before = snapshot(repo_root)
    shutil.rmtree(archive.root)
    table = tmp_path / "images.ecsv"
    outcome = find(repo_root, archive, "--dry-run", "--output", table, *PLACE, access="s3")
    assert outcome.code == 0, outcome
    assert outcome.output.splitlines()[0].startswith(
        f"4 images at RA 30.500000, Dec 40.000000 in the archive: 2 new, 2 in {repo_root}"
    )
    assert snapshot(repo_root) == before
    rows = Table.read(table, format="ascii.ecsv")
    assert rows["is_new"].tolist() == [False, False, True, True]
    assert rows["detector"].tolist() == [1, 2, 1, 2]
    assert rows["mjd"].tolist() == pytest.approx([60971.0, 60971.0, 60971.0015, 60971.0015])
    assert rows["time"][3] == "2025-10-23T00:02:09.600"
    assert rows["archive_collection"].tolist() == ["spherex_qr2"] * 2 + ["spherex_qr2_deep"] * 2
    assert all(address.startswith("s3://spherex/qr2/level2/") for address in rows["address"])
    assert set(rows["run"]) == {RUN}


def test_an_unknown_time_is_masked(repo_root: Path, archive: Archive, tmp_path: Path) -> None:
    archive.entries[2].begin = None
    assert find(repo_root, archive, *PLACE, "--dry-run", "--output", tmp_path / "images.ecsv").code == 0
    rows = Table.read(tmp_path / "images.ecsv", format="ascii.ecsv")
    for name in ("time", "mjd"):
        assert rows[name].mask.tolist() == [False, False, False, True]


@pytest.mark.parametrize("extension", ["txt", "ecsv", "parquet", "vot"])
def test_the_table_is_a_list_of_files(repo_root: Path, archive: Archive, tmp_path: Path, extension: str) -> None:
    table = tmp_path / f"images.{extension}"
    outcome = find(repo_root, archive, *PLACE, "--dry-run", "--output", table)
    assert outcome.code == 0, outcome
    assert f"4 images: {table}\n" in outcome.output
    assert ingest_level2(repo_root, table).counts["ingested"] == 4
    refused = find(repo_root, archive, *PLACE, "--dry-run", "--output", table)
    assert refused.code == 2
    assert "use --overwrite to replace it" in refused.output
    assert find(repo_root, archive, *PLACE, "--dry-run", "--output", table, "--overwrite").code == 0


def test_answers_that_are_cut_off(repo_root: Path, archive: Archive) -> None:
    archive.limit = 3
    for entry in archive.entries:
        entry.collection = "spherex_qr2"
    for entry in archive.entries[2:4]:
        entry.begin = 61000.0
    words = ("--archive-collection", "spherex_qr2", *PLACE)
    outcome = find(repo_root, archive, *words)
    assert (outcome.code, outcome.counts["ingested"]) == (0, 4), outcome
    archive.heeds_time = False
    outcome = find(repo_root, archive, *words)
    assert outcome.code == 1
    assert (
        f"the answer of {archive.uri}/SIA for spherex_qr2 is incomplete: the service reports OVERFLOW.\n"
        in outcome.output
    )


def test_names_are_looked_up(repo_root: Path, archive: Archive) -> None:
    archive.names = {"3C 273": (30.5, 40.0)}
    with sesame_url.set([f"{archive.uri}/sesame/"]):
        outcome = find(repo_root, archive, "3C", "273", "--dry-run")
        assert outcome.code == 0, outcome
        assert outcome.output.splitlines()[0] == "3C 273: RA 30.500000, Dec 40.000000 (Sesame)"
        outcome = find(repo_root, archive, "Vulcan")
        assert outcome.code == 1
        assert "Error: the name 'Vulcan' is not known to Sesame" in outcome.output
    # A name that contains its coordinates is not looked up.
    assert find(repo_root, archive, "J020200.0+400000.0", "--dry-run").code == 0


def test_images_of_a_catalogue(repo_root: Path, archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "stars.csv").write_text("name,ra,dec\na,30.5,40\nb,100,-20\n")
    assert butler_command("register-targets", repo_root, "stars", tmp_path / "stars.csv", "--no-motion").code == 0
    add(archive, 5, 1, ra=100.0, dec=-20.0)
    add(archive, 6, 1, ra=200.0, dec=-20.0)
    outcome = find(repo_root, archive, "--catalog", "stars", kind="TAP")
    assert outcome.code == 0, outcome
    assert f"5 images of 2 targets of stars in the archive: 5 new, 0 in {repo_root}" in outcome.output
    assert level2_datasets(repo_root).keys() == {(0, 1), (0, 2), (1, 1), (1, 2), (5, 1)}
    outcome = find(repo_root, archive, "--catalog", "planets", kind="TAP")
    assert outcome.code == 1
    remedy = f"butler register-targets {repo_root} planets FILE"
    assert f"There is no catalogue 'planets' in {repo_root}. Make it by: {remedy}" in outcome.output


def test_images_that_cannot_be_read(repo_root: Path, archive: Archive) -> None:
    (archive.root / TREE / archive.entries[0].path).unlink()
    outcome = find(repo_root, archive, *PLACE)
    assert (outcome.code, outcome.counts["ingested"]) == (1, 3)
    assert len(outcome.failures) == 1


def test_images_without_a_copy_in_the_cloud(repo_root: Path, archive: Archive) -> None:
    archive.entries[1].bucket = ""
    outcome = find(repo_root, archive, *PLACE, access="s3")
    assert outcome.code == 1
    assert outcome.output == "Error: 1 new image without a copy in the cloud: use --access https.\n"
    assert find(repo_root, archive, *PLACE).code == 0
    assert find(repo_root, archive, *PLACE, access="s3").code == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["120", "-40.0"],
            1,
            "/SIA has no Level 2 image at RA 120.000000, Dec -40.000000 in spherex_qr2, spherex_qr2_de",
        ),
        (["30.5", "95"], 1, "the declination is not between -90 and 90 degrees: 95."),
        (["30.5", "40", "--radius", "wide"], 1, "--radius: 'wide' is not an angle"),
        (["--catalog", "stars", "--radius", "2"], 1, "the radius is negative or above 1 degree: 2."),
        (
            ["30.5", "40", "--radius", "2"],
            1,
            "above 1 degree: 2. For wider circles give several smaller ones, or a list",
        ),
        (["30.5"], 2, "Missing argument 'DEC'"),
        ([], 2, "Name a position (RA DEC or NAME), or a catalogue of the repository by --catalog."),
        (["30.5", "40", "--catalog", "stars"], 2, "Name a position (RA DEC or NAME), or a catalogue"),
        (["30.5", "40", "--detectors", "1"], 2, "No such option"),
        (["30.5", "40", "--output", "images.doc"], 2, "does not have the extension of a format"),
        (["30.5", "40", "--archive-collection", "a b"], 1, "'a b' is not a name of a collection of the archive"),
    ],
)
def test_mistakes(repo_root: Path, archive: Archive, words: list[str], code: int, message: str) -> None:
    outcome = find(repo_root, archive, *words)
    assert outcome.code == code, outcome
    assert message in " ".join(outcome.output.split())
    assert level2_datasets(repo_root) == {}


def test_a_service_that_is_not_there(repo_root: Path, archive: Archive) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        archive.uri = f"http://127.0.0.1:{server.getsockname()[1]}"
    outcome = find(repo_root, archive, *PLACE)
    assert outcome.code == 1
    (line,) = outcome.output.splitlines()
    assert line.startswith(f"Error: {archive.uri}/SIA does not answer (")
    assert line.endswith(
        "Images on disk need no connection: butler ingest-level2, or make-spectrum with --files DIRECTORY."
    )


def test_a_missing_repository_is_noticed_first(archive: Archive, tmp_path: Path) -> None:
    outcome = find(tmp_path / "none", archive, *PLACE)
    assert outcome.code == 1
    assert "is not a repository of the Butler" in outcome.output
    assert archive.requests == []
