"""butler register-targets: records, regions, the table that is kept, again, refusals and interruptions."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table, vstack
from astropy.time import Time
from lsst.daf.butler import Butler, CollectionType, DatasetType

from spherex.repository import recover, repository_config
from spherex.spectra import positions_at
from spherex.targets import coverage_of

from .ingest_helpers import butler_command, ingest_bound
from .programs import run_well
from .targets_helpers import EXTENSIONS, NOTHING, content, kept, positions, records, register, write, write_csv

TARGETS: dict[str, tuple[float, float]] = {
    "Sgr A*": (266.4168371, -29.0078106),
    "00123": (0.005, 10.0),
    "across": (359.995, 10.0),
    "north": (123.0, 90.0),
    "south": (0.0, -90.0),
    "η": (1 / 3, -1 / 3),
}


def table_of(targets: dict[str, tuple[float, float]]) -> Table:
    ra, dec = np.transpose(list(targets.values()))
    table = Table({"name": list(targets), "ra": ra, "dec": dec, "priority": np.arange(len(targets))})
    table["band"] = MaskedColumn(["K", "J", "H", "", "K", "K"][: len(targets)], mask=np.arange(len(targets)) == 3)
    return table


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty repository, to be copied."""
    root = tmp_path_factory.mktemp("empty") / "repo"
    seed, dimensions = (f"resource://spherex/configs/{name}.yaml" for name in ("butler", "dimensions"))
    words = ("create", "--override", "--seed-config", seed, "--dimension-config", dimensions, root)
    assert butler_command(*words).code == 0
    return root


@pytest.fixture
def repo(empty: Path, tmp_path: Path) -> Path:
    """Return an empty repository."""
    return Path(shutil.copytree(empty, tmp_path / "repo"))


@pytest.fixture(scope="module")
def filled(empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the same targets from each format as a catalogue; not to be changed."""
    folder = tmp_path_factory.mktemp("filled")
    root = Path(shutil.copytree(empty, folder / "repo"))
    targets = TARGETS | {"eta": TARGETS["η"]}
    del targets["η"]
    for extension in EXTENSIONS:
        # FITS has no texts beyond ASCII.
        outcome = register(root, extension[1:], write(folder / f"file{extension}", table_of(targets)))
        assert outcome.code == 0, outcome
        assert (
            f"Targets of catalogue {extension[1:]}: 6 new, 0 moved, 0 as before. Table target_catalog in catalogs/"
            in outcome.output
        )
    return root


@pytest.fixture(scope="module")
def two(empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the catalogue mine of the targets a and b, to be copied."""
    folder = tmp_path_factory.mktemp("two")
    root = Path(shutil.copytree(empty, folder / "repo"))
    assert register(root, "mine", write_csv(folder / "first.csv", "a,10,20", "b,11,21")).code == 0
    return root


@pytest.fixture
def mine(two: Path, tmp_path: Path) -> Path:
    """Return a repository with the catalogue mine of the targets a and b."""
    return Path(shutil.copytree(two, tmp_path / "mine"))


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_all_formats_become_the_same_records(filled: Path, extension: str) -> None:
    targets = TARGETS | {"eta": TARGETS["η"]}
    del targets["η"]
    assert positions(filled, extension[1:]) == targets
    for name, record in records(filled, extension[1:]).items():
        assert record.region == records(filled, "csv")[name].region


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_other_columns_are_kept(filled: Path, extension: str) -> None:
    table = kept(filled, extension[1:])
    assert table.colnames == ["name", "ra", "dec", "priority", "band"]
    assert table["priority"].tolist() == [0, 1, 2, 3, 4, 5]
    # VOTable has no texts that are missing.
    assert [one or None for one in table["band"].tolist()] == ["K", "J", "H", None, "K", "K"]
    assert [str(table[name].unit) for name in ("ra", "dec")] == ["deg", "deg"]


def test_catalogue_tells_its_file(filled: Path) -> None:
    with Butler.from_config(str(filled)) as butler:
        found = {one.name: one.desc for one in butler.query_dimension_records("catalog")}
    assert found.keys() == {extension[1:] for extension in EXTENSIONS}
    assert all(desc.endswith(f"/file.{name}") for name, desc in found.items())


@pytest.mark.parametrize(
    ("ra", "dec", "names"),
    [
        (266.4168371, -29.0078106, {"Sgr A*"}),
        # 62 arcsec from both sides of 0 h, and beyond.
        (0.0, 10.0, {"00123", "across"}),
        (359.98, 10.0, {"across"}),
        (0.02, 10.0, {"00123"}),
        (0.0, 10.0 + 59 / 3600, {"00123", "across"}),
        (0.0, 10.0 + 63 / 3600, set()),
        (300.0, 90.0, {"north"}),
        (17.0, 90 - 61 / 3600, {"north"}),
        (17.0, 90 - 63 / 3600, set()),
        (200.0, -89.99, {"south"}),
        (1 / 3, -1 / 3, {"eta"}),
    ],
)
def test_targets_are_found_by_their_regions(filled: Path, ra: float, dec: float, names: set[str]) -> None:
    with Butler.from_config(str(filled)) as butler:
        found = butler.query_dimension_records(
            "target",
            where=f"catalog = 'csv' AND target.region OVERLAPS POINT({ra!r}, {dec!r})",
            explain=False,
        )
    assert {one.name for one in found} == names


def test_regions_reach_where_stars_go(repo: Path, tmp_path: Path) -> None:
    stars = Table({"name": ["star"], "ra": [359.9999], "dec": [60.0], "pmra": [5.0], "pmdec": [-3.0]})
    stars["epoch"] = 1991.25
    stars["pmra"].unit = stars["pmdec"].unit = "arcsec/yr"
    assert register(repo, "stars", write(tmp_path / "stars.ecsv", stars)).code == 0
    table = kept(repo, "stars")
    found = [table[name][0] for name in ("pmra", "pmdec", "ref_epoch")]
    assert found == pytest.approx([5000.0, -3000.0, 1991.25], rel=1e-12)
    with Butler.from_config(str(repo)) as butler:
        for year, is_found in ((2025.0, True), (2032.0, True), (2070.0, False)):
            (place,) = positions_at(table, Time(year, format="jyear", scale="tdb"))
            where = f"catalog = 'stars' AND target.region OVERLAPS POINT({place.ra.deg:.8f}, {place.dec.deg:.8f})"
            assert bool(butler.query_dimension_records("target", where=where, explain=False)) == is_found


def test_columns_are_chosen(repo: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "file.csv", "x,1,2,3,4,5,6,7", header="name,id,lon,lat,mu_x,mu_y,t,ra")
    columns = {"name": "id", "ra": "lon", "dec": "lat", "pmra": "mu_x", "pmdec": "mu_y", "ref-epoch": "t"}
    options = [word for name, column in columns.items() for word in (f"--{name}-column", column)]
    outcome = register(repo, "mine", path, *options)
    assert outcome.code == 1
    assert "row 1: its proper motion has the epoch 6.0" in outcome.output
    write_csv(path, "x,1,2,3,4,5,2016,7", header="name,id,lon,lat,mu_x,mu_y,t,ra")
    assert register(repo, "mine", path, *options).code == 0
    assert positions(repo, "mine") == {"1": (2.0, 3.0)}
    assert kept(repo, "mine").colnames == ["name", "ra", "dec", "pmra", "pmdec", "ref_epoch", "name_1", "ra_1"]


def test_bad_rows_are_told_and_nothing_is_registered(repo: Path, tmp_path: Path) -> None:
    rows = ["good,1,2", "nan,nan,2", "far,1,90.5", "good,3,4", f"{'x' * 65},1,2", ",1,2", "west,-181,2"]
    path = write_csv(tmp_path / "file.csv", *rows)
    outcome = register(repo, "mine", path)
    assert outcome.code == 1
    assert outcome.output.splitlines()[:-1] == [
        f"{path}, row 1: its name good is in rows 1, 4 with different ra, dec",
        f"{path}, row 2: its ra is not a number",
        f"{path}, row 3: its dec 90.5 is not in the range -90 to 90 degrees",
        f"{path}, row 4: its name good is in rows 1, 4 with different ra, dec",
        f"{path}, row 5: its name has 65 characters, more than 64: {'x' * 65}",
        f"{path}, row 6: the name is empty",
        f"{path}, row 7: its ra -181.0 is not in the range -180 to 360 degrees",
    ]
    assert outcome.output.splitlines()[-1] == "7 of 7 rows cannot be targets; nothing is registered."
    assert content(repo) == NOTHING


def test_the_report_is_all_that_is_printed(repo: Path, tmp_path: Path) -> None:
    """The Butler logs its ingest of the tables of several patches."""
    path = write_csv(tmp_path / "file.csv", "a,10,20", "b,200,-20")
    done = run_well("butler", "register-targets", repo, "mine", path)
    assert (done.stderr, len(done.stdout.splitlines())) == ("", 1)


def test_many_bad_rows_are_counted(repo: Path, tmp_path: Path) -> None:
    outcome = register(repo, "mine", write_csv(tmp_path / "file.csv", *(f"{n},1,100" for n in range(70))))
    assert len(outcome.output.splitlines()) == 52
    assert outcome.output.splitlines()[-2:] == [
        "... and 20 more", "70 of 70 rows cannot be targets; nothing is registered.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("catalog", "file", "options", "code", "message"),
    [
        ("mine", "none.csv", [], 1, "Error: there is no file none.csv."),
        ("mine", "file.csv", ["--ra-column", "lon"], 1, "Error: file.csv has no column lon; it has name, ra, dec."),
        ("a/b", "file.csv", [], 2, "Invalid value for CATALOG_NAME: the name of a catalogue consists of letters"),
        ("", "file.csv", [], 2, "Invalid value for CATALOG_NAME"),
        ("x" * 65, "file.csv", [], 2, "at most 64 characters"),
        ("mine", "file.csv", ["--updat"], 2, "No such option"),
    ],
)
def test_mistakes_are_explained(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    catalog: str, file: str, options: list[str], code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "file.csv", "a,1,2")
    outcome = register(repo, catalog, file, *options)
    assert outcome.code == code
    assert message in outcome.output
    assert content(repo) == NOTHING


@pytest.mark.parametrize(
    ("extension", "option"), [*((one, []) for one in EXTENSIONS), (".csv", ["--update"]), (".csv", ["--dry-run"])]
)
def test_again_is_harmless(filled: Path, extension: str, option: list[str]) -> None:
    before = content(filled)
    targets = TARGETS | {"eta": TARGETS["η"]}
    del targets["η"]
    path = write(filled.parent / f"again{extension}", table_of(targets))
    outcome = register(filled, extension[1:], path, *option)
    assert outcome.code == 0, outcome
    assert outcome.output == f"Nothing to do: catalogue {extension[1:]} is as in the file, with 6 targets.\n"
    assert content(filled) == before


CHANGES: dict[str, tuple[list[str], str]] = {
    "added": (["a,10,20", "b,11,21", "c,12,22"], "1 new target, 0 moved, 0 no longer"),
    "removed": (["b,11,21"], "0 new targets, 0 moved, 1 no longer"),
    "all": (["b,11,21.5", "c,0,0"], "1 new target, 1 moved, 1 no longer"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_file_needs_update(mine: Path, tmp_path: Path, change: str) -> None:
    rows, counts = CHANGES[change]
    path = write_csv(tmp_path / "second.csv", *rows)
    before = content(mine)
    for options in ([], ["--dry-run"]):
        outcome = register(mine, "mine", path, *options)
        assert outcome.code == 1
        assert f"catalogue mine exists with other rows ({counts}" in outcome.output
        assert f"replace them by: butler register-targets {mine} mine FILE --update, or choose" in outcome.output
    assert content(mine) == before
    outcome = register(mine, "mine", path, "--update", "--dry-run")
    assert outcome.code == 0
    assert "Table target_catalog would be in a new run of catalogs/mine." in outcome.output
    assert content(mine) == before
    outcome = register(mine, "mine", path, "--update")
    assert outcome.code == 0, outcome
    wanted = {name: (float(ra), float(dec)) for name, ra, dec in (row.split(",") for row in rows)}
    assert positions(mine, "mine") == {"a": (10.0, 20.0), "b": (11.0, 21.0)} | wanted
    assert kept(mine, "mine")["name"].tolist() == list(wanted)
    assert ("no longer in the file, which stay registered but are no longer measured" in outcome.output) == (
        "a" not in wanted
    )
    with Butler.from_config(str(mine)) as butler:
        newest, oldest = butler.collections.get_info("catalogs/mine").children
        assert newest > oldest
        assert len(butler.get("target_catalog", catalog="mine", collections=oldest)) == 2
    assert register(mine, "mine", path).output.startswith("Nothing to do")


def test_moved_target_is_found_where_it_is_now(mine: Path, tmp_path: Path) -> None:
    assert register(mine, "mine", write_csv(tmp_path / "second.csv", "a,10,-20", "b,11,21"), "--update").code == 0
    with Butler.from_config(str(mine)) as butler:
        for dec, names in ((20, []), (-20, ["a"])):
            where = f"catalog = 'mine' AND target.region OVERLAPS POINT(10.0, {dec}.0)"
            found = butler.query_dimension_records("target", where=where, explain=False)
            assert [one.name for one in found] == names


def test_changes_of_other_columns_are_noticed(repo: Path, tmp_path: Path) -> None:
    table = Table({"name": ["a", "b"], "ra": [1.0, 2.0], "dec": [3.0, 4.0], "flux": [1.0, 2.0], "note": ["x", "y"]})
    table["flux"].unit = "mJy"
    assert register(repo, "mine", write(tmp_path / "first.ecsv", table)).code == 0
    changed = {name: table.copy() for name in ("value", "nan", "text", "unit", "name", "order")}
    changed["value"]["flux"][1] = 2.5
    changed["nan"]["flux"][1] = np.nan
    changed["text"]["note"][1] = "z"
    changed["unit"]["flux"].unit = "Jy"
    changed["name"].rename_column("note", "other")
    changed["order"].reverse()
    for name, other in changed.items():
        path = write(tmp_path / f"{name}.ecsv", other)
        assert "(0 new targets, 0 moved, 0 no longer" in register(repo, "mine", path).output
    outcome = register(repo, "mine", path, "--update")
    assert "Targets of catalogue mine: 0 new, 0 moved, 2 as before. Table target_catalog in catalogs" in outcome.output
    assert kept(repo, "mine")["note"].tolist() == ["y", "x"]


def test_bad_rows_of_an_update_change_nothing(mine: Path, tmp_path: Path) -> None:
    before = content(mine)
    path = write_csv(tmp_path / "second.csv", "a,10,20.5", "b,11,21", "c,1,91")
    assert register(mine, "mine", path, "--update").code == 1
    assert content(mine) == before


def test_dry_run_changes_nothing(repo: Path, tmp_path: Path) -> None:
    outcome = register(repo, "mine", write_csv(tmp_path / "file.csv", "a,10,20"), "--dry-run")
    assert outcome.code == 0
    assert outcome.output == (
        "Targets of catalogue mine: 1 new, 0 moved, 0 as before. Table target_catalog would be in a new run of "
        "catalogs/mine.\n"
    )
    assert content(repo) == NOTHING


def test_catalogues_are_apart(mine: Path, tmp_path: Path) -> None:
    assert register(mine, "yours", write_csv(tmp_path / "yours.csv", "a,50,60")).code == 0
    assert positions(mine, "mine")["a"] == (10.0, 20.0)
    assert positions(mine, "yours") == {"a": (50.0, 60.0)}


def test_table_that_is_lost_is_put_again(mine: Path, tmp_path: Path) -> None:
    with Butler.from_config(str(mine), writeable=True) as butler:
        (run,) = butler.collections.get_info("catalogs/mine").children
        butler.collections.remove_from_chain("catalogs/mine", run)
    outcome = register(mine, "mine", write_csv(tmp_path / "first.csv", "a,10,20", "b,11,21"))
    assert "0 new, 0 moved, 2 as before. Table target_catalog in catalogs/mine/" in outcome.output
    assert len(kept(mine, "mine")) == 2


def test_another_universe(tmp_path: Path) -> None:
    Butler.makeRepo(str(tmp_path / "rubin"))
    outcome = register(tmp_path / "rubin", "mine", write_csv(tmp_path / "file.csv", "a,10,20"))
    assert outcome.code == 1
    assert "was made with the dimension universe 'daf_butler'" in outcome.output


def test_no_repository(tmp_path: Path) -> None:
    outcome = register(tmp_path / "none", "mine", write_csv(tmp_path / "file.csv", "a,10,20"))
    assert outcome.code == 1
    assert "is not a repository of the Butler" in outcome.output


def other_dataset_type(butler: Butler) -> None:
    butler.registry.registerDatasetType(
        DatasetType("target_catalog", ("instrument",), "AstropyParquet", universe=butler.dimensions)
    )


def run_of_that_name(butler: Butler) -> None:
    butler.collections.register("catalogs/mine", CollectionType.RUN)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (other_dataset_type, "the repository has a dataset type target_catalog of another kind"),
        (run_of_that_name, "Nothing is registered: "),
    ],
)
def test_contradictions_are_explained(
    repo: Path, tmp_path: Path, prepare: Callable[[Butler], None], message: str
) -> None:
    with Butler.from_config(str(repo), writeable=True) as butler:
        prepare(butler)
    before = content(repo)
    outcome = register(repo, "mine", write_csv(tmp_path / "file.csv", "a,10,20"))
    assert outcome.code == 1
    assert f"Error: {message}" in outcome.output
    assert content(repo) == before


@pytest.fixture
def protect() -> Iterator[Callable[[Path], None]]:
    """Return a function that takes away the right to write in a folder, until the test is over."""
    changed: list[Path] = []

    def make(path: Path) -> None:
        path.chmod(0o500)
        changed.append(path)

    yield make
    for path in changed:
        path.chmod(0o700)


@pytest.mark.slow
def test_read_only_repository(mine: Path, tmp_path: Path, protect: Callable[[Path], None]) -> None:
    path = write_csv(tmp_path / "file.csv", "a,10,20")
    protect(mine)
    outcome = ingest_bound(mine, "yours", path, command="register-targets")
    assert outcome.code == 1
    assert "is read-only for you" in outcome.output
    outcome = ingest_bound(mine, "yours", path, "--dry-run", command="register-targets")
    assert outcome.code == 0, outcome
    assert "1 new" in outcome.output


def test_table_that_cannot_be_written_leaves_no_targets(
    repo: Path, tmp_path: Path, protect: Callable[[Path], None]
) -> None:
    path = write_csv(tmp_path / "file.csv", *(f"{n},10,20" for n in range(100)))
    (repo / "catalogs").mkdir()
    protect(repo / "catalogs")
    outcome = ingest_bound(repo, "mine", path, command="register-targets")
    assert outcome.code == 1
    assert "Nothing is registered: no permission" in outcome.output
    found = content(repo)
    assert found["catalog"] == found["target"] == found["datasets"] == []
    assert [one for one in found["collections"] if "RUN" in one] == []
    (repo / "catalogs").chmod(0o700)
    assert register(repo, "mine", path).code == 0
    assert len(records(repo, "mine")) == len(kept(repo, "mine")) == 100


KILLED = """
import os, signal, sys
from lsst.daf.butler.cli.butler import main

def kill(event, arguments):
    if event == "os.mkdir" and "target_catalog" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
sys.argv[0] = "butler"
main()
"""


def test_killed_between_targets_and_table(repo: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "file.csv", *(f"{n},10,20" for n in range(6000)))
    words = [sys.executable, "-c", KILLED, "register-targets", str(repo), "mine", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    # All targets had been sent to the database.
    assert os.path.exists(repo / "spherex.sqlite3-journal")
    # A Butler that only reads cannot undo what SQLite has written already; every command of ours does.
    recover(repository_config(str(repo)))
    found = content(repo)
    assert found["catalog"] == found["target"] == found["datasets"] == []
    outcome = register(repo, "mine", path)
    assert "6000 new" in outcome.output
    assert len(records(repo, "mine")) == len(kept(repo, "mine")) == 6000


@pytest.mark.slow
def test_two_at_once(repo: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "file.csv", *(f"{n},10,20" for n in range(3000)))
    code = "import sys; from lsst.daf.butler.cli.butler import main; sys.argv[0] = 'butler'; main()"
    words = [sys.executable, "-c", code, "register-targets", str(repo), "mine", str(path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    both = [subprocess.Popen(words, **pipes) for _ in range(2)]
    outputs = [one.communicate()[0] for one in both]
    assert 0 in [one.returncode for one in both], outputs
    for one, output in zip(both, outputs, strict=True):
        assert "Traceback" not in output
        assert one.returncode == 0 or "Nothing is registered: another process" in output, output
    assert len(records(repo, "mine")) == len(kept(repo, "mine")) == 3000
    assert "Nothing to do" in register(repo, "mine", path).output


# VmHWM and not ru_maxrss: that one starts with the peak of the process that started this one.
MEASURED = """
import sys
from lsst.daf.butler.cli.butler import main
sys.argv[0] = "butler"
try:
    main()
finally:
    with open("/proc/self/status") as stream:
        (line,) = (line for line in stream if line.startswith("VmHWM:"))
    print("peak", int(line.split()[1]) // 1024, "MB")
"""


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("extension", [".csv", ".fits"])
def test_large_catalogue_in_bounded_memory(repo: Path, tmp_path: Path, extension: str) -> None:
    rng = np.random.default_rng(20261125)
    number = 100_000
    table = Table({"source_id": np.arange(number) + 4_000_000_000_000_000_000})
    table["ra"], table["dec"] = rng.uniform(0, 360, number), np.degrees(np.arcsin(rng.uniform(-1, 1, number)))
    table["pmra"], table["pmdec"] = rng.normal(0, 20, (2, number))
    table["ref_epoch"] = 2016.0
    for index in range(10):
        table[f"mag{index}"] = rng.uniform(5, 20, number)
    path = write(tmp_path / f"large{extension}", table)
    for begin in ("Targets of catalogue large: 100000 new", "Nothing to do"):
        words = [sys.executable, "-c", MEASURED, "register-targets", str(repo), "large", str(path)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith(begin)
        peak = int(done.stdout.split()[-2])
        assert 100 < peak < 500, done.stdout
    assert len(kept(repo, "large")) == number
    with Butler.from_config(str(repo)) as butler, butler.query() as query:
        assert query.where(catalog="large").dimension_records("target").count() == number


def test_help_tells_the_formats_and_options() -> None:
    outcome = butler_command("register-targets", "--help")
    assert outcome.code == 0
    for text in ("CATALOG_NAME FILE", "--ra-column", "--ref-epoch-column", "--update", "--dry-run"):
        assert text in outcome.output


def test_bad_rows_are_skipped_on_request(repo: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "file.csv", "a,10,20", "b,x,20", "c,10,95", "a,11,21", "d,11,20", "d,11,20")
    assert register(repo, "mine", path).code == 1
    assert content(repo) == NOTHING
    outcome = register(repo, "mine", path, "--skip-bad-rows")
    assert outcome.code == 0, outcome
    for line in (
        f"{path}, row 2: its ra x is not a decimal number",
        f"{path}, row 3: its dec 95.0 is not in the range -90 to 90 degrees",
        f"{path}, row 1: its name a is in rows 1, 4 with different ra, dec",
        f"{path}, row 4: its name a is in rows 1, 4 with different ra, dec",
        f"{path}, row 6: it repeats row 5 (d)",
        "5 of 6 rows cannot be targets; they are skipped.",
    ):
        assert line in outcome.output.splitlines()
    assert positions(repo, "mine") == {"d": (11.0, 20.0)}
    assert kept(repo, "mine")["name"].tolist() == ["d"]


def test_no_row_is_left(repo: Path, tmp_path: Path) -> None:
    outcome = register(repo, "mine", write_csv(tmp_path / "file.csv", "a,x,20", "b,1,95"), "--skip-bad-rows")
    assert outcome.code == 1
    assert "2 of 2 rows cannot be targets; nothing is registered." in outcome.output
    assert content(repo) == NOTHING


def test_the_epoch_and_the_motion_are_options(repo: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "file.csv", "a,10,20,-800,10000", header="name,ra,dec,pmRA,pmDE")
    outcome = register(repo, "mine", path)
    assert outcome.code == 1
    assert "--ref-epoch 2016.0" in outcome.output
    assert register(repo, "mine", path, "--ref-epoch", "2016.0").code == 0
    assert [kept(repo, "mine")[name][0] for name in ("pmra", "pmdec", "ref_epoch")] == [-800.0, 10000.0, 2016.0]
    assert register(repo, "still", path, "--no-motion").code == 0
    assert kept(repo, "still").colnames == ["name", "ra", "dec", "pmRA", "pmDE"]
    assert records(repo, "still")["a"].region.getOpeningAngle() < records(repo, "mine")["a"].region.getOpeningAngle()
    assert register(repo, "mine", path, "--ref-epoch", "57388").code == 2
    assert register(repo, "mine", path, "--ref-epoch", "2_016").code == 2


def test_names_that_look_the_same_are_reported(repo: Path, tmp_path: Path) -> None:
    outcome = register(repo, "mine", write_csv(tmp_path / "file.csv", "b Per,10,20", "B Per,11,21", "c,12,22"))
    assert outcome.code == 0
    assert "file.csv: names that differ only in case or Unicode normal form: b Per, B Per" in outcome.output
    assert len(positions(repo, "mine")) == 3


def test_targets_at_one_place_are_reported(repo: Path, tmp_path: Path) -> None:
    outcome = register(repo, "mine", write_csv(tmp_path / "file.csv", "a,10,20", "b,10,20", "c,12,22"))
    assert outcome.code == 0
    assert "file.csv: 2 targets are at the place of another one" in outcome.output
    assert "and they have no fluxes: a, b\n" in outcome.output
    assert len(positions(repo, "mine")) == 3


@pytest.fixture
def with_images(repo: Path) -> Path:
    """Return a repository with two images, of 10 < ra < 13, around dec 20."""
    from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

    from spherex.instrument import SPHEREx

    with Butler.from_config(str(repo), writeable=True) as butler:
        SPHEREx().register(butler.registry)
        for exposure, ra in enumerate((10.0, 11.0)):
            butler.registry.insertDimensionData(
                "exposure", {"instrument": "SPHEREx", "id": exposure, "name": f"observation {exposure}"}
            )
            corners = [(ra, 19.0), (ra + 2, 19.0), (ra + 2, 21.0), (ra, 21.0)]
            region = ConvexPolygon([UnitVector3d(LonLat.fromDegrees(*corner)) for corner in corners])
            butler.registry.insertDimensionData(
                "exposure_detector_region",
                {"instrument": "SPHEREx", "exposure": exposure, "detector": 1, "region": region},
            )
    return repo


def test_targets_in_no_image_are_counted(with_images: Path, tmp_path: Path) -> None:
    # In the first, in both, in the second, beside them, and far from them.
    rows = ["a,10.5,20", "b,11.5,20", "c,12.5,20", "d,9.9,20", "e,200,-20", "f,13.1,19.5"]
    path = write_csv(tmp_path / "file.csv", *rows)
    for options in (["--dry-run"], [], []):
        outcome = register(with_images, "mine", path, *options)
        assert outcome.code == 0
        assert (
            "file.csv: 3 of 6 targets are outside the regions of all images of the repository: d, e, f."
            in outcome.output
        )
    assert (
        "outside the regions" not in register(with_images, "seen", write_csv(tmp_path / "file.csv", *rows[:3])).output
    )
    far = ["x,200,-20", "y,201,-20"]
    hint = "If they are hours, write them as 20:22:48."
    output = register(with_images, "far", write_csv(tmp_path / "file.csv", *far)).output
    assert "2 of 2 targets are outside the regions of all images" in output
    assert hint not in output
    hours = ["x,20.38,38.8", "y,9.5,-20"]
    assert hint in register(with_images, "hours", write_csv(tmp_path / "file.csv", *hours)).output
    assert hint not in register(with_images, "mixed", write_csv(tmp_path / "file.csv", "a,10.5,20", *hours)).output


def test_registered_although_the_count_fails(with_images: Path, tmp_path: Path) -> None:
    # The count needs the overlaps of images with the sky, the registration does not.
    with contextlib.closing(sqlite3.connect(with_images / "spherex.sqlite3")) as database:
        database.execute("DROP TABLE exposure_detector_region_skypix_overlap")
    path = write_csv(tmp_path / "file.csv", "a,10.5,20")
    why = "its targets outside of all images cannot be counted: OperationalError: "
    for options, state, begin in (
        (["--dry-run"], "can be", "Targets of catalogue mine: 1 new"),
        ([], "is", "Targets of catalogue mine: 1 new"),
        ([], "is", "Nothing to do: "),
    ):
        outcome = register(with_images, "mine", path, *options)
        assert outcome.code == 1
        assert outcome.output.startswith(begin)
        assert f"Error: Catalogue mine {state} registered, but {why}" in outcome.output
        assert "Nothing is registered" not in outcome.output
    assert positions(with_images, "mine") == {"a": (10.5, 20.0)}


INCOMPLETE = """<VOTABLE version="1.4"><RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/><TABLE>
<FIELD name="name" datatype="char" arraysize="*"/><FIELD name="ra" datatype="double"/>
<FIELD name="dec" datatype="double"/><DATA><TABLEDATA>
<TR><TD>a</TD><TD>10</TD><TD>20</TD></TR></TABLEDATA></DATA></TABLE>
<INFO name="QUERY_STATUS" value="OVERFLOW"/></RESOURCE></VOTABLE>"""


def test_incomplete_catalogue_is_registered_and_reported(repo: Path, tmp_path: Path) -> None:
    path = tmp_path / "file.vot"
    path.write_text(INCOMPLETE)
    fault = f"{path}: it is incomplete: the service that made it reports OVERFLOW; repeat the query, in parts or with"
    for options in (["--dry-run"], [], []):
        outcome = register(repo, "mine", path, *options)
        assert outcome.code == 1
        assert fault in outcome.output
    assert "Nothing to do" in outcome.output
    assert positions(repo, "mine") == {"a": (10.0, 20.0)}


def test_targets_are_counted_by_pixels_where_images_are_many(with_images: Path) -> None:
    table = Table({"name": ["in", "near", "far"], "ra": [10.5, 9.9, 200.0], "dec": [20.0, 20.0, -20.0]})
    with Butler.from_config(str(with_images)) as butler:
        assert (
            str(coverage_of(butler, table))
            == "2 of 3 targets are outside the regions of all images of the repository: near, far."
        )
        found = coverage_of(butler, table, most=1)
        assert str(found) == "at least 1 of 3 targets is outside the regions of all images of the repository: far."
        many = vstack([table, *[table[2:]] * 6])
        assert str(coverage_of(butler, many)).endswith(": near, far, far, far, far and 3 more.")


def test_the_example_of_the_documentation(repo: Path, tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "doc" / "targets.md").read_text(encoding="utf-8")
    path = tmp_path / "stars.csv"
    path.write_text(text.partition("<<'END'\n")[2].partition("END\n")[0], encoding="utf-8")
    assert register(repo, "stars", path).code == 0
    # SIMBAD: positions at the epoch 2000.0.
    expected = {"Barnard's star": (269.4520770, 4.6933649), "HD 166": (1.6532670, 29.0215027)}
    places = positions_at(kept(repo, "stars")[:2], Time(2000.0, format="jyear", scale="tdb"))
    for place, position in zip(places, expected.values(), strict=True):
        assert place.separation(SkyCoord(*position, unit="deg")).arcsec < 0.5
    where = text.partition("target.region OVERLAPS ")[2].partition('"')[0]
    with Butler.from_config(str(repo)) as butler:
        where = f"catalog = 'stars' AND target.region OVERLAPS {where}"
        found = butler.query_dimension_records("target", where=where, explain=False)
    assert [record.name for record in found] == ["Barnard's star"]


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_longest_names(
    request: pytest.FixtureRequest, tmp_path: Path, make_repo: Callable[..., Path], database: str
) -> None:
    server: dict[str, object] = {}
    if database == "postgresql":
        server = {"registry__db": request.getfixturevalue("postgresql"), "registry__namespace": "longest_names"}
    repo = make_repo(tmp_path / "repo", **server)
    catalog, name = "x" * 64, "é" * 64
    # The description has 256 characters at most, of the path.
    path = tmp_path / f"{'y' * 250}.csv"
    for dec, options in ((20.0, []), (20.5, ["--update"])):
        write_csv(path, f"{name},10,{dec}")
        outcome = register(repo, catalog, path, *options)
        assert outcome.code == 0, outcome
        assert positions(repo, catalog) == {name: (10.0, dec)}
        assert kept(repo, catalog)["dec"].tolist() == [dec]
