"""The map of the package in doc/extending.md leads to what there is."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import yaml
from astropy.io import fits
from lsst.daf.butler import Butler, DatasetType
from lsst.daf.butler.cli.butler import cli
from lsst.daf.butler.cli.utils import LogCliRunner

from . import layout
from .ingest_helpers import Outcome, butler_command
from .test_readme import ROOT, UNIVERSE, blocks_of

RESOURCES = UNIVERSE / "python" / "plates"
PAGE = (ROOT / "doc" / "extending.md").read_text()
PLACES = re.findall(r"`(\w+)` in\s+\[([\w/]+\.py)\]\(\.\./python/spherex/\2\)", PAGE)


def test_the_map_answers_the_questions() -> None:
    assert len(PLACES) >= 8


@pytest.mark.parametrize(("name", "file"), PLACES)
def test_places_of_the_map_exist(name: str, file: str) -> None:
    tree = ast.parse((ROOT / "python" / "spherex" / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


@pytest.mark.parametrize(("info", "file"), [("toml", "pyproject.toml"), ("python", "python/plates/cmd.py")])
def test_the_page_quotes_the_example(info: str, file: str) -> None:
    (quoted,) = blocks_of(ROOT / "doc" / "extending.md", info)
    assert quoted in (UNIVERSE / file).read_text()


def test_the_wheel_of_the_example_has_all_files_of_the_package(tmp_path: Path) -> None:
    source = shutil.copytree(UNIVERSE, tmp_path / "source", ignore=shutil.ignore_patterns("__pycache__"))
    options = ("--no-isolation", "--wheel", "--outdir", str(tmp_path))
    subprocess.run([sys.executable, "-m", "build", *options, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("plates/")}
    assert names == {f"plates/{path.name}" for path in RESOURCES.glob("*.*")}


def test_the_example_has_the_pins_of_this_package() -> None:
    theirs, ours = (
        tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"] for folder in (UNIVERSE, ROOT)
    )
    pins = {need for need in theirs if "==" in need}
    assert len(pins) == 3
    assert pins <= set(ours)


def test_rooms_are_listed_in_their_order() -> None:
    table = PAGE[PAGE.index("| Room |") :]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))[: len(layout.ROOMS)] == layout.ROOMS


def test_datasets_without_the_record_of_a_region(
    butler: Butler,
    register: Callable[[str, str], DatasetType],
    repo_root: Path,
    make_repo: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exposure = {"instrument": "simulator", "id": 2, "name": "sim_000002", "group_name": "20261123"}
    butler.registry.insertDimensionData("exposure", exposure)
    note = register("note", "StructuredDataDict")
    for number in (1, 2):
        butler.put({}, note, instrument="simulator", exposure=number, detector=1)
    other = make_repo(tmp_path / "other")
    copy = ("transfer-datasets", repo_root, other, "--collections", "run", "--register-dataset-types")
    assert "transferred: 1\n" in butler_command(*copy).output
    with Butler.from_config(str(other), writeable=True) as to, pytest.raises(KeyError):
        to.transfer_from(butler, butler.query_datasets("note", "run"), transfer="copy", transfer_dimensions=True)
    (check,) = blocks_of(ROOT / "doc" / "extending.md", "python records")
    check = check.replace("REPO", str(repo_root)).replace("TYPE", "note").replace("RUN", "run")
    exec(check, {})
    assert re.findall(r"exposure: (\d)", capsys.readouterr().out) == ["2"]
    region = {"instrument": "simulator", "exposure": 2, "detector": 1}
    butler.registry.insertDimensionData("exposure_detector_region", region)
    exec(check, {})
    assert capsys.readouterr().out == "set()\n"
    assert "transferred: 2\n" in butler_command(*copy).output


@pytest.fixture
def plates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of an empty repository of the example universe."""
    monkeypatch.syspath_prepend(UNIVERSE / "python")
    repo = tmp_path / "PLATES"
    options = ("--override", "--seed-config", RESOURCES / "butler.yaml")
    assert butler_command("create", *options, "--dimension-config", RESOURCES / "dimensions.yaml", repo).code == 0
    return repo


def plates_at(repo: Path, ra: float, dec: float) -> list[int]:
    with Butler.from_config(str(repo)) as butler:
        where = f"plate.region OVERLAPS POINT({ra}, {dec})"
        return [record.id for record in butler.query_dimension_records("plate", where=where, explain=False)]


def test_the_example_refuses_or_updates_a_plate_with_another_position(plates: Path, tmp_path: Path) -> None:
    from plates.script import register_plates

    book = UNIVERSE / "plate_book.ecsv"
    corrected = tmp_path / "corrected.ecsv"
    corrected.write_text(book.read_text().replace("83.8 -5.4", "120.0 30.0").replace("Tautenburg 7", "Tautenburg 6"))
    assert register_plates(str(plates), str(book)) == (2, 0, 0)
    assert register_plates(str(plates), str(book)) == (0, 0, 2)
    with pytest.raises(click.ClickException, match="plate 8 of Tautenburg .* --update"):
        register_plates(str(plates), str(corrected))
    # Plate 6 is not registered either.
    assert (plates_at(plates, 83.8, -5.4), plates_at(plates, 10.7, 41.3)) == ([8], [7])
    assert register_plates(str(plates), str(corrected), update=True) == (1, 1, 0)
    assert (plates_at(plates, 83.8, -5.4), plates_at(plates, 120.0, 30.0)) == ([], [8])
    assert sorted(plates_at(plates, 10.7, 41.3)) == [6, 7]


@pytest.mark.parametrize(
    ("mode", "kept"), [("auto", (True, False)), ("copy", (True, True)), ("direct", (False, False))]
)
def test_what_changes_the_dataset_of_a_linked_file(plates: Path, tmp_path: Path, mode: str, kept: tuple) -> None:
    from plates.script import register_plates

    register_plates(str(plates), str(UNIVERSE / "plate_book.ecsv"))
    (tmp_path / "scans.csv").write_text("file,plate\nreplaced.fits,7\nedited.fits,8\n")
    replaced, edited = tmp_path / "replaced.fits", tmp_path / "edited.fits"
    for path in (replaced, edited):
        fits.PrimaryHDU(np.zeros((4, 4)), fits.Header({"STEP": 10.0})).writeto(path)
    butler_command("register-dataset-type", plates, "scan", "Scan", "observatory", "plate")
    options = ("--data-id", "observatory=Tautenburg", "--prefix", tmp_path, "-t", mode)
    assert butler_command("ingest-files", *options, plates, "scan", "scans", tmp_path / "scans.csv").code == 0
    fits.PrimaryHDU(np.ones((4, 4)), fits.getheader(replaced)).writeto(replaced, overwrite=True)
    with fits.open(edited, mode="update") as hdus:
        hdus[0].data += 1
    with Butler.from_config(str(plates), collections="scans", observatory="Tautenburg") as butler:
        assert tuple(not butler.get("scan", plate=plate).density.any() for plate in (7, 8)) == kept


def with_scans(repo: Path, folder: Path) -> Path:
    """Fill a repository of the example with its plates and one scan."""
    from plates.script import register_plates

    register_plates(str(repo), str(UNIVERSE / "plate_book.ecsv"))
    fits.PrimaryHDU(np.zeros((4, 4)), fits.Header({"STEP": 10.0})).writeto(folder / "plate_7.fits")
    (folder / "scans.csv").write_text("file,plate\nplate_7.fits,7\n")
    butler_command("register-dataset-type", repo, "scan", "Scan", "observatory", "plate")
    assert ingest_scans(repo, folder).code == 0
    return repo


def ingest_scans(repo: Path, folder: Path, *options: str) -> Outcome:
    options = ("--data-id", "observatory=Tautenburg", "--prefix", str(folder), *options)
    return butler_command("ingest-files", *options, repo, "scan", "scans", folder / "scans.csv")


CHANGES = "added renamed removed retyped independent shorter required implied dimension_renamed namespace".split()


def edited_universe(change: str) -> dict[str, Any]:
    """Return the universe of the example with a change that the page lists."""
    universe = yaml.safe_load((RESOURCES / "dimensions.yaml").read_text())
    # This process caches universes by namespace and version.
    universe["version"] = 2 + CHANGES.index(change)
    elements = universe["elements"]
    plate = elements["plate"]
    name = {"name": "name", "type": "string", "length": 16, "doc": "Name."}
    other = {"doc": "Another dimension.", "requires": ["observatory"], "keys": [name]}
    match change:
        case "added":
            plate["metadata"].append(name | {"name": "filter"})
        case "renamed":
            plate["metadata"][0]["name"] = "coating"
        case "removed":
            del plate["metadata"]
        case "retyped":
            plate["metadata"] = [{"name": "emulsion", "type": "int", "doc": "Number."}]
        case "shorter":
            plate["metadata"][0]["length"] = 2
        case "independent":
            elements["telescope"] = other
        case "required":
            elements["telescope"] = other
            plate["requires"].append("telescope")
        case "implied":
            del plate["metadata"]
            elements["emulsion"] = other
            plate["implies"] = ["emulsion"]
        case "dimension_renamed":
            elements["glass"] = elements.pop("plate")
            universe["topology"] = {"spatial": {"regions": ["glass"]}, "temporal": {"times": ["glass"]}}
        case "namespace":
            universe["namespace"] = "photographs"
    return universe


def new_repository(folder: Path, change: str) -> Path:
    (folder / "new.yaml").write_text(yaml.safe_dump(edited_universe(change), sort_keys=False))
    options = ("--override", "--seed-config", RESOURCES / "butler.yaml", "--dimension-config", folder / "new.yaml")
    assert butler_command("create", *options, folder / "NEW").code == 0
    return folder / "NEW"


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("added", "filter", None),
        ("renamed", "coating", None),
        ("removed", "id", 7),
        ("retyped", "emulsion", "103aO"),
        ("independent", "emulsion", "103aO"),
        ("shorter", "", "CHECK constraint failed"),
        ("required", "", "are different from the conforming set"),
        ("implied", "", "are different from the conforming set"),
        ("dimension_renamed", "", "do not all exist in target universe"),
        ("namespace", "", "with a different namespace"),
    ],
)
def test_what_a_transfer_makes_of_a_changed_universe(
    plates: Path, tmp_path: Path, change: str, field: str, value: object
) -> None:
    old, new = with_scans(plates, tmp_path), new_repository(tmp_path, change)
    with Butler.from_config(str(old)) as source, Butler.from_config(str(new), writeable=True) as butler:
        refs = source.query_datasets("scan", "scans", with_dimension_records=True)
        options = {"transfer": "copy", "transfer_dimensions": True, "register_dataset_types": True}
        if field:
            assert butler.transfer_from(source, refs, **options) == refs
            (record,) = butler.query_dimension_records("plate")
            assert getattr(record, field) == value
            assert [ref.id for ref in butler.query_datasets("scan", "scans")] == [ref.id for ref in refs]
        else:
            assert value in PAGE
            with pytest.raises(Exception, match=str(value)):
                butler.transfer_from(source, refs, **options)
            assert list(new.rglob("*.fits")) == []


def test_the_program_of_the_page_copies_into_a_changed_universe(
    plates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_scans(plates, tmp_path).rename(tmp_path / "OLD")
    new_repository(tmp_path, "implied")
    monkeypatch.chdir(tmp_path)
    program, check = blocks_of(ROOT / "doc" / "extending.md", "python migrate")
    capsys.readouterr()
    for _ in range(2):
        exec(program + check, {})
        assert capsys.readouterr().out == "True\n"
    with Butler.from_config("NEW", collections="scans") as butler:
        (ref,) = butler.query_datasets("scan", where="emulsion = '103aO' AND observatory = 'Tautenburg'")
        assert butler.get(ref).density.shape == (4, 4)
        assert len(butler.query_dimension_records("plate")) == 2
    for mode in ("unique", "dataid_type_run"):
        assert ingest_scans(tmp_path / "NEW", tmp_path, "--id-generation-mode", mode).code == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("requires: [observatory]", "requires: [NAME]", "KeyError: 'NAME'"),
        ("plate_regions: [plate]", "plate_regions: [NAME]", "KeyError: 'NAME'"),
        ("common: htm5", "common: healpix5", "KeyError: 'healpix5'"),
        ("plate_regions: [plate]", "plate: [plate]", "RuntimeError: Cycle or unmet dependency in dimension elements"),
        (
            "    governor: true",
            "    requires: [plate]",
            "RuntimeError: Cycle or unmet dependency in dimension elements",
        ),
        ("version: 1", "", "Mandatory keys (['version']) missing"),
    ],
)
def test_messages_about_a_universe(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert f"`{message}`" in PAGE
    text = (RESOURCES / "dimensions.yaml").read_text()
    assert text.count(old) == 1
    # Its own namespace, because this process caches universes.
    (tmp_path / "new.yaml").write_text(text.replace(old, new).replace("namespace: plates", "namespace: wrong"))
    options = ("--seed-config", str(RESOURCES / "butler.yaml"), "--dimension-config", str(tmp_path / "new.yaml"))
    result = LogCliRunner().invoke(cli, ["create", "--override", *options, str(tmp_path / "WRONG")])
    assert result.exit_code == 1
    # In this process, the name of the exception is not printed.
    assert message.removeprefix("KeyError: ").removeprefix("RuntimeError: ") in result.output
