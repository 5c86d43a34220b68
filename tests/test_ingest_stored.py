"""``--list-stored``: which originals can be removed, and which have to stay."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, Config, DatasetRef, DatasetType, FileDataset
from lsst.resources import ResourcePath

from spherex.errors import IngestError, RepositoryError
from spherex.ingest import IngestOptions
from spherex.repository import owners_of, recorded_files

from .ingest_helpers import BLOCK, Outcome, butler_command, datasets, ingest, ingest_bound, write_file, write_files
from .level2_helpers import ingest_level2, write_many

MODES = ["auto", "copy", "link", "hardlink"]
POINTED = "not listed: the repository points to it and has no copy"


def ingest_listing(repo: Path, *args: object, ingest: object = ingest) -> tuple[Outcome, list[str]]:
    """Ingest, and return the list that was written."""
    target = repo.parent / "stored.txt"
    target.write_text("/what/an/earlier/ingest/left\n")
    outcome = ingest(repo, "--list-stored", target, *args)  # type: ignore[operator]
    return outcome, target.read_text().splitlines()


def names(paths: list[Path]) -> list[str]:
    return sorted(map(str, paths))


@pytest.fixture
def chained(tmp_path: Path) -> Path:
    """Return a repository with two datastores of files in a chain, and one in memory."""
    seed = Config("resource://spherex/configs/butler.yaml")
    store = {"cls": "lsst.daf.butler.datastores.fileDatastore.FileDatastore", "records": {"table": ""}}
    common = {"formatters": seed["datastore", "formatters"], "templates": seed["datastore", "templates"]}
    children = []
    for number in (1, 2):
        child = {**store, **common, "name": f"disk{number}", "root": f"<butlerRoot>/disk{number}"}
        children.append({**child, "records": {"table": f"records{number}"}})
    children.append({"cls": "lsst.daf.butler.datastores.inMemoryDatastore.InMemoryDatastore"})
    seed["datastore"] = {"cls": "lsst.daf.butler.datastores.chainedDatastore.ChainedDatastore", "datastores": children}
    Butler.makeRepo(
        str(tmp_path / "repo"),
        config=seed,
        dimensionConfig="resource://spherex/configs/dimensions.yaml",
        forceConfigRoot=False,
    )
    return tmp_path / "repo"


@pytest.mark.parametrize("mode", MODES)
def test_the_listed_can_be_removed(repo_root: Path, tmp_path: Path, mode: str) -> None:
    paths = write_files(tmp_path / "in", 1)
    contents = {number: path.read_bytes() for number, path in enumerate(paths, start=1)}
    outcome, listed = ingest_listing(repo_root, "--transfer", mode, tmp_path / "in")
    assert outcome.code == 0
    assert sorted(listed) == names(paths)
    assert f"6 originals can be removed: listed in {tmp_path / 'stored.txt'}" in outcome.output
    subprocess.run(f"xargs -d '\\n' rm < {tmp_path / 'stored.txt'}", shell=True, check=True)
    assert not any(path.exists() for path in paths)
    assert {number: Path(uri.ospath).read_bytes() for (_, number), uri in datasets(repo_root).items()} == contents


@pytest.mark.parametrize("mode", [*MODES, "direct", "symlink", "relsymlink"])
def test_again_lists_the_same(repo_root: Path, tmp_path: Path, mode: str) -> None:
    write_files(tmp_path / "in", 1)
    first = ingest_listing(repo_root, "--transfer", mode, tmp_path / "in")[1]
    outcome, second = ingest_listing(repo_root, tmp_path / "in")
    assert outcome.counts["already there"] == 6
    assert first == second
    assert len(first) == (6 if mode in MODES else 0)
    assert (f"6 originals {POINTED}" in outcome.output) == (mode not in MODES)


def test_through_links(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "real")
    for directory, target in (("middle", path), ("in", tmp_path / "middle" / path.name)):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / path.name).symlink_to(target)
    _, listed = ingest_listing(repo_root, "--transfer", "copy", tmp_path / "in")
    assert listed == [str(tmp_path / "in" / path.name)]
    assert Path(datasets(repo_root)[0, 1].ospath).is_file()


@pytest.mark.parametrize("mode", ["symlink", "direct"])
def test_link_that_is_the_file_of_the_dataset(repo_root: Path, tmp_path: Path, mode: str) -> None:
    """The datastore points to the link or past it; there is no copy in either case."""
    path = write_file(tmp_path / "real")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / path.name).symlink_to(path)
    ingest(repo_root, "--transfer", mode, tmp_path / "in")
    for directory in ("in", "real"):
        outcome, listed = ingest_listing(repo_root, tmp_path / directory)
        assert listed == []
        assert f"1 original {POINTED}" in outcome.output


def test_hard_link_to_the_file_of_a_direct_dataset(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "a")
    (tmp_path / "b").mkdir()
    os.link(path, tmp_path / "b" / path.name)
    ingest(repo_root, "--transfer", "direct", tmp_path / "a")
    outcome, listed = ingest_listing(repo_root, tmp_path / "b")
    assert listed == []
    assert f"1 original {POINTED}" in outcome.output


@pytest.mark.parametrize("mode", ["direct", "symlink", "relsymlink"])
@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("is_alias", [False, True])
def test_dataset_of_another_run_that_points_to_it(
    repo_root: Path, tmp_path: Path, mode: str, order: str, is_alias: bool
) -> None:
    path = write_file(tmp_path / "in")
    (tmp_path / "alias").symlink_to(tmp_path / "in")
    source = tmp_path / ("alias" if is_alias else "in")
    if order == "before":
        ingest(repo_root, "--transfer", mode, "--output-run", "other", source)
    ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    if order == "after":
        ingest(repo_root, "--transfer", mode, "--output-run", "other", source)
    for location in (tmp_path / "in", tmp_path / "alias", path.as_uri()):
        outcome, listed = ingest_listing(repo_root, location)
        assert outcome.counts["already there"] == 1
        assert listed == []
        assert "1 original not listed: another dataset of the repository points to it" in outcome.output


def test_dataset_of_another_data_id_that_points_to_it(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in")
    ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    with Butler.from_config(str(repo_root), writeable=True, run="mine") as butler:
        dataset_type = DatasetType("note", ("instrument", "detector"), "SPHERExImage", universe=butler.dimensions)
        butler.registry.registerDatasetType(dataset_type)
        data_id = butler.registry.expandDataId(instrument="simulator", detector=4)
        butler.ingest(FileDataset(str(path), [DatasetRef(dataset_type, data_id, "mine")]), transfer="direct")
    outcome, listed = ingest_listing(repo_root, tmp_path / "in")
    assert listed == []
    assert "1 original not listed: another dataset of the repository points to it" in outcome.output


def test_copy_in_another_run_is_no_reason_to_stay(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in")
    ingest(repo_root, "--transfer", "hardlink", "--output-run", "other", tmp_path / "in")
    assert ingest_listing(repo_root, "--transfer", "copy", tmp_path / "in")[1] == [str(path)]


@pytest.mark.parametrize("mode", ["copy", "hardlink"])
def test_file_of_the_datastore(repo_root: Path, tmp_path: Path, mode: str) -> None:
    write_file(tmp_path / "in")
    ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    stored = Path(datasets(repo_root)[0, 1].ospath)
    (tmp_path / "alias").symlink_to(repo_root)
    outcome, listed = ingest_listing(
        repo_root,
        "--transfer",
        mode,
        "--output-run",
        "other",
        "--regex",
        "rawexp_",
        tmp_path / "alias" / stored.relative_to(repo_root).parent,
    )
    assert outcome.code == 1, "the name is not that of a raw image"
    renamed = stored.with_name("sim_exposure_000000_array_1.fits")
    os.link(stored, renamed)
    for location in (renamed, tmp_path / "alias" / renamed.relative_to(repo_root)):
        outcome, listed = ingest_listing(repo_root, "--transfer", mode, "--output-run", "other", location)
        assert outcome.code == 0
        assert listed == []
        assert "1 original not listed: it lies in the datastore" in outcome.output


def test_in_place(repo_root: Path) -> None:
    write_files(repo_root / "somewhere", 1)
    outcome, listed = ingest_listing(repo_root, repo_root / "somewhere")
    assert outcome.counts["ingested"] == 6
    assert listed == []


def test_other_content_behind_what_is_compared(repo_root: Path, tmp_path: Path) -> None:
    """The comparison of what is already there takes samples; the list needs every byte."""
    path = write_file(tmp_path / "in", side=1000)
    ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    content = bytearray(path.read_bytes())
    content[BLOCK * 20 + 17] ^= 1
    path.write_bytes(content)
    assert ingest(repo_root, tmp_path / "in").counts["already there"] == 1
    outcome, listed = ingest_listing(repo_root, tmp_path / "in")
    assert listed == []
    assert outcome.code == 1
    (failure,) = outcome.failures
    assert failure.startswith(f"failed: {path}: its content differs from the stored file ")


def test_failed_and_skipped_files(repo_root: Path, tmp_path: Path) -> None:
    paths = write_files(tmp_path / "in", 2)
    ingest(repo_root, "--transfer", "copy", *paths[:2])
    paths[3].write_bytes(b"")
    outcome, listed = ingest_listing(repo_root, "--transfer", "copy", "--skip-existing", tmp_path / "in")
    assert (outcome.counts["skipped"], outcome.counts["failed"]) == (2, 1)
    assert "2 originals not listed: --skip-existing skips it; run the command without this option" in outcome.output
    assert sorted(listed) == names([paths[2], *paths[4:]])


def test_files_of_an_exposure_that_is_undone(repo_root: Path, tmp_path: Path) -> None:
    paths = write_files(tmp_path / "in", 1, [1, 2])
    bad = write_file(tmp_path / "in", 1, 1, change={"OBSID": "sim_000000"})
    outcome, listed = ingest_listing(repo_root, "--transfer", "copy", tmp_path / "in")
    assert outcome.failures[0].startswith(f"failed: {bad}: ")
    assert sorted(listed) == names(paths)


def test_second_name_of_a_file(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "a")
    (tmp_path / "b").mkdir()
    os.link(path, tmp_path / "b" / path.name)
    outcome, listed = ingest_listing(repo_root, "--transfer", "copy", tmp_path / "a", tmp_path / "b")
    assert outcome.counts["skipped"] == 1
    assert listed == [str(path)]
    assert "1 original not listed: it is another name of a file in LOCATIONS; run the command for it" in outcome.output
    assert ingest_listing(repo_root, tmp_path / "b")[1] == [str(tmp_path / "b" / path.name)]


def test_name_that_a_list_cannot_show(repo_root: Path, tmp_path: Path) -> None:
    """Else the line after the break would be taken for another file."""
    write_file(tmp_path / "two\nlines")
    outcome, listed = ingest_listing(repo_root, "--transfer", "copy", tmp_path / "two\nlines")
    assert outcome.counts["ingested"] == 1
    assert listed == []
    assert "1 original not listed: its name contains characters that a list cannot show" in outcome.output


@pytest.mark.parametrize("name", ["with space", "with#hash", "with%20percent", "with?question", "mit_Ümlaut", "q'uote"])
def test_odd_names(repo_root: Path, tmp_path: Path, name: str) -> None:
    path = write_file(tmp_path / name)
    # Names of runs must not contain codes of URIs, see test_file_names.py.
    is_run = "?" not in name and "%" not in name
    options = ["--transfer", "copy", *(["--output-run", f"u/{name}"] if is_run else [])]
    assert ingest_listing(repo_root, *options, tmp_path / name)[1] == [str(path)]
    assert ingest_listing(repo_root, *options, tmp_path / name)[1] == [str(path)]


@pytest.mark.parametrize("mode", ["copy", "hardlink", "direct", "symlink"])
def test_chained_datastore(chained: Path, tmp_path: Path, mode: str) -> None:
    paths = write_files(tmp_path / "in", 1)
    outcome, listed = ingest_listing(chained, "--transfer", mode, tmp_path / "in")
    assert outcome.code == 0, outcome
    assert sorted(listed) == (names(paths) if mode in ("copy", "hardlink") else [])
    with Butler.from_config(str(chained)) as butler:
        (ref,) = butler.query_datasets("rawexp", collections="rawexpr", where="detector=1", instrument="simulator")
        assert [file.datastore for file in recorded_files(butler, [ref])[ref.id]] == ["disk1", "disk2"]


def test_chained_datastore_and_a_file_in_one_member(chained: Path, tmp_path: Path) -> None:
    path = write_file(chained / "disk2" / "in")
    outcome, listed = ingest_listing(chained, "--transfer", "copy", path)
    assert outcome.code == 0, outcome
    assert listed == []
    assert "1 original not listed: it lies in the datastore" in outcome.output


@pytest.mark.parametrize("victim", ["disk1", "disk2"])
def test_chained_datastore_where_one_member_points(chained: Path, tmp_path: Path, victim: str) -> None:
    path = write_file(tmp_path / "in")
    ingest(chained, "--transfer", "copy", tmp_path / "in")
    (stored,) = (chained / victim).rglob("*.fits")
    stored.unlink()
    stored.symlink_to(path)
    outcome, listed = ingest_listing(chained, tmp_path / "in")
    assert listed == []
    assert f"1 original {POINTED}" in outcome.output


def test_chained_datastore_with_a_direct_dataset_of_another_run(chained: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in")
    ingest(chained, "--transfer", "direct", "--output-run", "other", tmp_path / "in")
    outcome, listed = ingest_listing(chained, "--transfer", "copy", tmp_path / "in")
    assert listed == []
    assert "another dataset of the repository points to it" in outcome.output
    with Butler.from_config(str(chained)) as butler:
        (ref,) = butler.query_datasets("rawexp", collections="other")
        assert owners_of(butler, [path.as_uri()]) == {path.as_uri(): {ref.id}}


def test_bucket(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    paths = [write_file(tmp_path / "in", 0, detector, side=120) for detector in range(1, 4)]
    uris = [ResourcePath(f"{bucket}/in/{path.name}") for path in paths]
    for path, uri in zip(paths, uris, strict=True):
        uri.write(path.read_bytes())
    assert sorted(ingest_listing(repo_root, "--transfer", "copy", f"{bucket}/in/")[1]) == [str(uri) for uri in uris]
    # What lies behind the headers of remote files is not compared before.
    uris[2].write(paths[2].read_bytes()[:-BLOCK] + bytes(BLOCK))
    outcome, listed = ingest_listing(repo_root, f"{bucket}/in/")
    assert sorted(listed) == [str(uri) for uri in uris[:2]]
    assert "its content differs from the stored file" in outcome.failures[0]
    ingest(repo_root, "--transfer", "direct", "--output-run", "other", str(uris[0]))
    outcome, listed = ingest_listing(repo_root, str(uris[0]), str(uris[1]))
    assert listed == [str(uris[1])]
    assert "another dataset of the repository points to it" in outcome.output


def test_direct_dataset_in_a_bucket(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    path = write_file(tmp_path / "in")
    ResourcePath(f"{bucket}/in/{path.name}").write(path.read_bytes())
    outcome, listed = ingest_listing(repo_root, "--transfer", "direct", f"{bucket}/in/")
    assert listed == []
    assert f"1 original {POINTED}" in outcome.output


def test_level2(repo_root: Path, tmp_path: Path) -> None:
    """The default for local files is a hard link where that is possible."""
    paths = write_many(tmp_path / "in", 2, [1, 2])
    outcome, listed = ingest_listing(repo_root, tmp_path / "in", ingest=ingest_level2)
    assert outcome.code == 0
    assert sorted(listed) == names(paths)


@pytest.mark.parametrize("command", ["ingest-simulated", "ingest-level2", "ingest-calibrations"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--transfer", "move"], "--transfer move is not supported"),
        (["-t", "MOVE"], "xargs -d '\\n' rm < FILE"),
        (["--transfer", "move"], "--list-stored FILE"),
        (["--list-stored", "stored.txt", "--dry-run"], "--list-stored cannot be used with --dry-run"),
        (["--list-stored", "no/directory/stored.txt"], "no/directory/stored.txt cannot be written"),
    ],
)
def test_refused_options(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_file(tmp_path / "in")
    outcome = butler_command(command, repo_root, *options, tmp_path / "in")
    assert outcome.code == 2
    assert message in " ".join(outcome.output.split())
    assert path.exists()
    assert not (tmp_path / "stored.txt").exists()
    with Butler.from_config(str(repo_root)) as butler:
        assert list(butler.collections.query("*")) == []


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("in/sim_exposure_000000_array_1.fits", "exists and is not a list of originals"),
        ("files.txt", "is one of LOCATIONS and would be overwritten"),
        ("notes.txt", "exists and is not a list of originals"),
    ],
)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_files_that_a_list_must_not_replace(
    repo_root: Path, tmp_path: Path, target: str, message: str, scheme: str
) -> None:
    path = write_file(tmp_path / "in")
    (tmp_path / "files.txt").write_text(f"{path}\n")
    (tmp_path / "notes.txt").write_text("what I did\n")
    before = (tmp_path / target).read_bytes()
    outcome = ingest(repo_root, "--list-stored", tmp_path / target, f"{scheme}{tmp_path / 'files.txt'}")
    assert outcome.code == 2
    assert message in " ".join(outcome.output.split())
    assert (tmp_path / target).read_bytes() == before


@pytest.mark.parametrize("command", ["ingest-simulated", "ingest-level2", "ingest-calibrations"])
def test_help_names_what_to_do_instead(command: str) -> None:
    text = " ".join(butler_command(command, "--help").output.split())
    assert "Instead of 'move': use 'copy' and --list-stored FILE" in text
    assert "xargs -d '\\n' rm < FILE" in text
    assert "|move" not in text


def test_refused_choices_of_the_engine() -> None:
    with pytest.raises(IngestError, match="--list-stored FILE"):
        IngestOptions(transfer="move")
    with pytest.raises(IngestError, match="--dry-run"):
        IngestOptions(list_stored=True, dry_run=True)


@pytest.mark.slow
def test_original_that_cannot_be_examined(repo_root: Path, tmp_path: Path) -> None:
    """A guard that cannot find out refuses."""
    path = write_file(tmp_path / "in")
    target = tmp_path / "stored.txt"
    ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    stored = Path(datasets(repo_root)[0, 1].ospath)
    with Butler.from_config(str(repo_root)) as butler:
        files = recorded_files(butler, butler.query_datasets("rawexp", collections="rawexpr"))
        (file,) = next(iter(files.values()))
        assert (file.path, file.size) == (str(stored.relative_to(repo_root)), path.stat().st_size)
    os.chmod(stored.parent, 0)
    outcome = ingest_bound(repo_root, "--list-stored", target, tmp_path / "in")
    os.chmod(stored.parent, 0o755)
    assert outcome.code == 1
    assert target.read_text() == ""


def test_dataset_whose_file_cannot_be_examined(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in")
    other = write_file(tmp_path / "other")
    ingest(repo_root, "--transfer", "direct", "--output-run", "other", other.parent)
    other.unlink()
    other.parent.rmdir()
    other.parent.symlink_to(other.parent)
    outcome, listed = ingest_listing(repo_root, "--transfer", "copy", path)
    assert (outcome.code, listed) == (1, [])
    assert f"whose file may be this one: {other.as_uri()} (Too many levels of symbolic links)" in outcome.output
    assert outcome.counts["ingested"] == 1


@pytest.mark.slow
def test_link_to_an_original_in_a_directory_that_cannot_be_read(repo_root: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in")
    links = tmp_path / "links"
    links.mkdir()
    (links / path.name).symlink_to(path)
    ingest(repo_root, "--transfer", "direct", "--output-run", "other", links)
    links.chmod(0)
    target = tmp_path / "stored.txt"
    outcome = ingest_bound(repo_root, "--transfer", "copy", "--list-stored", target, path.parent)
    links.chmod(0o755)
    assert (outcome.code, target.read_text()) == (1, ""), outcome
    assert "(Permission denied); make that directory readable" in outcome.output


@pytest.mark.parametrize("attribute", ["_datastore", "export_records", "_refs_associated_with_artifacts"])
def test_loss_of_a_private_attribute_is_refused(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attribute: str
) -> None:
    """The private attributes of daf_butler that `spherex.repository` uses exist; without them nothing is listed."""
    from lsst.daf.butler.datastores.fileDatastore import FileDatastore
    from lsst.daf.butler.direct_butler import DirectButler

    write_file(tmp_path / "in")
    ingest(repo_root, "--transfer", "copy", tmp_path / "in")
    with Butler.from_config(str(repo_root)) as butler:
        refs = butler.query_datasets("rawexp", collections="rawexpr")
        assert isinstance(butler, DirectButler)
        assert isinstance(butler._datastore, FileDatastore)
        assert callable(butler._datastore.export_records)
        assert callable(butler._datastore._refs_associated_with_artifacts)
        monkeypatch.delattr(butler if attribute == "_datastore" else FileDatastore, attribute)
        question = owners_of if attribute.startswith("_refs") else recorded_files
        with pytest.raises(RepositoryError, match="version of lsst-daf-butler does not show where files"):
            question(butler, refs)  # type: ignore[operator]
