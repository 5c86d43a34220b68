"""list-calibrations, decertify-calibrations and check-provenance, as a user gives them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, CollectionType, DatasetRef, DatasetType, FileDataset, Timespan

from spherex.calibrations import certify_newest
from spherex.instrument import SimulatorInstrument

from .ingest_helpers import butler_command, file_bytes
from .test_readme import ROOT, UNIVERSE, blocks_of

GAIN = uuid.UUID("74478304-abf1-4a9c-9eb2-926090a84446")
WCS = uuid.UUID("019b2942-2772-73f3-8000-000000000000")
"""Made 2025-12-16."""


def give(*arguments: object) -> tuple[int, str]:
    """Give a command; return its exit status and what it prints."""
    outcome = butler_command(*arguments)
    return outcome.code, outcome.output


def add_calibration(butler: Butler, name: str, run: str, id_: uuid.UUID | None = None, **data_id: int) -> DatasetRef:
    """Put a calibration and certify it for ever."""
    dimensions = ("instrument", *data_id)
    dataset_type = DatasetType(name, dimensions, "StructuredDataDict", universe=butler.dimensions, isCalibration=True)
    butler.registry.registerDatasetType(dataset_type)
    run = f"SPHEREx/calib/{run}"
    butler.collections.register(run)
    butler.collections.register("SPHEREx/calib", CollectionType.CALIBRATION)
    values = butler.registry.expandDataId(instrument="simulator", **data_id)
    ref = DatasetRef(dataset_type, values, run, id=id_)
    butler.put({"run": run}, ref)
    certify_newest(butler, "SPHEREx/calib", [ref], Timespan(None, None), lambda run: (run,))
    return ref


@pytest.fixture
def repo(repo_root: Path) -> Path:
    """Return a repository with a gain for all detectors and a WCS for one."""
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        SimulatorInstrument().register(butler.registry)
        add_calibration(butler, "gain_factors", "base-2025-158", GAIN)
        add_calibration(butler, "spectral_wcs", "cal-wcs-v4-2025-254", WCS, detector=4)
    return repo_root


def test_list_calibrations_tells_type_detector_run_validity_and_file(repo: Path) -> None:
    status, text = give("list-calibrations", repo)
    assert status == 0
    header, _, *rows = text.splitlines()
    assert header.split() == ["type", "detector", "run", "begin", "(TAI)", "end", "(TAI)", "file"]
    assert [row.split()[:-1] for row in rows] == [
        ["gain_factors", "-", "SPHEREx/calib/base-2025-158", "-", "-"],
        ["spectral_wcs", "4", "SPHEREx/calib/cal-wcs-v4-2025-254", "-", "-"],
    ]
    with Butler.from_config(str(repo), collections="SPHEREx/calib", instrument="simulator") as butler:
        assert rows[1].split()[-1] == str(butler.getURI("spectral_wcs", detector=4))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["-d", "spectral_*"], ["spectral_wcs"]),
        (["-d", "spectral_*,gain_factors"], ["gain_factors", "spectral_wcs"]),
        (["--detector", "4"], ["spectral_wcs"]),
    ],
)
def test_list_calibrations_can_be_narrowed(repo: Path, options: list[str], names: list[str]) -> None:
    status, text = give("list-calibrations", repo, *options)
    assert status == 0
    assert [row.split()[0] for row in text.splitlines()[2:]] == names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--detector", "5"], "No such calibration is certified in SPHEREx/calib. Add calibrations by: butler ingest-"),
        (["--detector", "7"], "There is no detector 7: they are 1 to 6."),
        (["-d", "dark"], "No such calibration is certified in SPHEREx/calib. "),
        (["--collection", "elsewhere"], "There is no collection 'elsewhere' in "),
    ],
)
def test_list_calibrations_without_any_says_so(repo: Path, options: list[str], message: str) -> None:
    with Butler.from_config(str(repo), writeable=True) as butler:
        butler.collections.register("SPHEREx/calib2", CollectionType.CALIBRATION)
    status, text = give("list-calibrations", repo, *options)
    assert status == 1
    assert text.startswith(message)
    # It has nothing in it.
    assert "calib2" not in text


def test_a_range_that_is_empty_is_listed(repo: Path) -> None:
    """The stock command certifies with the end before the begin without a word."""
    run = "SPHEREx/calib/cal-wcs-v4-2025-254"
    dates = ("--begin-date", "2026-12-01", "--end-date", "2026-01-01")
    status, text = give("certify-calibrations", repo, run, "calib/mine", "spectral_wcs", *dates)
    assert status == 0, text
    status, text = give("list-calibrations", repo, "--collection", "calib/mine")
    assert status == 0
    assert text.splitlines()[-1].split()[3:5] == ["never", "never"]


@pytest.mark.parametrize("command", [["list-calibrations"], ["decertify-calibrations", "spectral_wcs"]])
def test_the_calibration_collections_are_named(repo: Path, command: list[str]) -> None:
    name, *rest = command
    _, text = give(name, repo, *rest, "--collection", "elsewhere")
    assert text.strip().endswith("Choose another CALIBRATION collection: --collection SPHEREx/calib")
    with Butler.from_config(str(repo), writeable=True) as butler:
        butler.collections.register("calib/empty", CollectionType.CALIBRATION)
        butler.collections.register("calib/run")
        refs = butler.query_datasets("spectral_wcs", "SPHEREx/calib/*", find_first=False)
        butler.collections.register("calib/v1", CollectionType.CALIBRATION)
        butler.registry.certify("calib/v1", refs, Timespan(None, None))
    _, text = give(name, repo, *rest, "--collection", "elsewhere")
    assert text.strip().endswith(": --collection SPHEREx/calib or --collection calib/v1")
    _, text = give(name, repo, *rest, "--collection", "calib/rum")
    assert "calib/run" not in text


def test_list_calibrations_of_a_chain(repo: Path) -> None:
    with Butler.from_config(str(repo), writeable=True) as butler:
        butler.collections.register("calib", CollectionType.CHAINED)
        butler.collections.redefine_chain("calib", ["SPHEREx/calib"])
    assert give("list-calibrations", repo, "--collection", "calib") == give("list-calibrations", repo)


def test_calibrations_are_copied_with_their_validity(
    repo: Path, make_repo: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    span = ("--begin-date", "2025-06-01", "--end-date", "2025-07-01")
    assert give("decertify-calibrations", repo, "spectral_wcs", *span)[0] == 0
    repo.rename(tmp_path / "DATA")
    make_repo(tmp_path / "OTHER")
    monkeypatch.chdir(tmp_path)
    (block,) = blocks_of(ROOT / "doc" / "level2.md", "sh calibrations copy")
    for line in block.splitlines():
        assert give(*line.split()[1:])[0] == 0
    status, text = give("list-calibrations", "OTHER")
    assert status == 0
    assert [row.split()[:-1] for row in text.splitlines()[2:]] == [
        row.split()[:-1] for row in give("list-calibrations", "DATA")[1].splitlines()[2:]
    ]
    assert text.count("/OTHER/") == 3


@pytest.mark.parametrize(
    ("command", "method"),
    [
        (["list-calibrations"], "butler.registry.queryDatasetAssociations("),
        (["decertify-calibrations", "fog", "--collection", "calib"], "butler.registry.decertify("),
        (["find-images", "10", "41"], ""),
    ],
)
def test_a_repository_of_another_project_is_left_alone(tmp_path: Path, command: list[str], method: str) -> None:
    dimensions = UNIVERSE / "python" / "plates" / "dimensions.yaml"
    Butler.makeRepo(str(tmp_path / "PLATES"), dimensionConfig=str(dimensions))
    name, *rest = command
    status, text = give(name, tmp_path / "PLATES", *rest)
    assert status == 1
    assert "universe 'plates' version 1, not 'spherex'. This command is for repositories of SPHEREx only." in text
    assert "create-spherex" not in text
    assert ("In this one, use in Python: " in text) == bool(method)
    assert method in text


def test_decertify_splits_the_validity(repo: Path) -> None:
    span = ["--begin-date", "2025-06-01", "--end-date", "2025-07-01T12:00:00"]
    status, text = give("decertify-calibrations", repo, "spectral_wcs", *span, "--dry-run")
    assert (status, text.startswith("would be decertified: spectral_wcs")) == (0, True)
    status, text = give("decertify-calibrations", repo, "spectral_wcs", *span, "--detector", "4")
    assert (status, text.startswith("decertified: spectral_wcs")) == (0, True)
    _, text = give("list-calibrations", repo, "-d", "spectral_wcs")
    first, second = text.splitlines()[2:]
    assert first.split()[3:5] == ["-", "2025-06-01T00:00:00"]
    assert second.split()[3:5] == ["2025-07-01T12:00:00", "-"]
    # Again, the state is as wished; so it is in a part of the range.
    status, text = give("decertify-calibrations", repo, "spectral_wcs", *span, "--detector", "4")
    assert (status, text.startswith("Nothing to do: SPHEREx/calib has no spectral_wcs of detector 4")) == (0, True)
    status, text = give(
        "decertify-calibrations", repo, "spectral_wcs", "--begin-date", "2025-06-02", "--end-date", "2025-06-03"
    )
    assert status == 0
    assert text == (
        "Nothing to do: SPHEREx/calib has no spectral_wcs that is valid from 2025-06-02T00:00:00 "
        "to 2025-06-03T00:00:00 (TAI). "
        "Valid: detector 4 until 2025-06-01T00:00:00 (TAI), detector 4 from 2025-07-01T12:00:00 on (TAI). "
        f"butler list-calibrations {repo} --collection SPHEREx/calib\n"
    )
    status, text = give("decertify-calibrations", repo, "spectral_wcs", "--detector", "5")
    assert status == 1
    assert "no spectral_wcs of detector 5 that is valid for all times. Valid: none." in text
    for start in ("decertified", "Nothing to do", "Nothing to do"):
        status, text = give("decertify-calibrations", repo, "spectral_wcs")
        assert (status, text.startswith(start)) == (0, True)
    with Butler.from_config(str(repo), writeable=True) as butler:
        butler.collections.register("calib/empty", CollectionType.CALIBRATION)
    status, text = give("decertify-calibrations", repo, "spectral_wcs", "--collection", "calib/empty")
    assert (status, text.startswith("calib/empty has no spectral_wcs that is valid for all times.")) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["spectral_wcs", "--begin-date", "soon"], "'soon' is not a date"),
        (["spectral_wcs", "--begin-date", "2025-06-01", "--end-date", "2025-05-01"], "is not after the begin"),
        (["no_such_type"], "There is no dataset type 'no_such_type'"),
        (["spectral_*"], "There is no dataset type 'spectral_*'"),
        (["spectral_wcs", "--collection", "elsewhere"], "There is no collection 'elsewhere'"),
        (["spectral_wcs", "--collection", "SPHEREx/calib/base-2025-158"], "is of type RUN"),
    ],
)
def test_decertify_refuses_what_makes_no_sense(repo: Path, arguments: list[str], match: str) -> None:
    status, text = give("decertify-calibrations", repo, *arguments)
    assert status != 0
    assert match in text
    assert ".." not in text
    assert "Traceback" not in text


@pytest.fixture
def add_image(repo: Path) -> Callable[..., Path]:
    """Return a function that ingests an image with HISTORY lines, exposure by exposure."""
    count = 0

    def add(*history: str, run: str = "l2b-v21-2025-354", date: str | None = "2025-12-21T07:46:20.948") -> Path:
        nonlocal count
        count += 1
        cards = {} if date is None else {"DATE": date}
        content = file_bytes(cards)
        lines = b"".join(f"HISTORY {line}".ljust(80).encode() for line in history)
        end = b"END".ljust(80)
        # Into the second header, that of IMAGE, which fills one block.
        place = content.index(end, 2880)
        block = (content[2880:place] + lines + end).ljust(-(-(place - 2880 + len(lines) + 80) // 2880) * 2880)
        path = repo.parent / f"image{count}.fits"
        path.write_bytes(content[:2880] + block + content[5760:])
        with Butler.from_config(str(repo), writeable=True) as butler:
            record = {"instrument": "simulator", "id": count, "name": f"exposure {count}"}
            butler.registry.insertDimensionData("exposure", record)
            butler.registry.insertDimensionData(
                "exposure_detector_region", {"instrument": "simulator", "exposure": count, "detector": 4}
            )
            dataset_type = DatasetType(
                "level2", ("instrument", "exposure", "detector"), "SPHERExImage", universe=butler.dimensions
            )
            butler.registry.registerDatasetType(dataset_type)
            butler.collections.register(f"SPHEREx/level2/{run}")
            data_id = butler.registry.expandDataId(instrument="simulator", exposure=count, detector=4)
            ref = DatasetRef(dataset_type, data_id, f"SPHEREx/level2/{run}")
            butler.ingest(FileDataset(str(path), [ref]), transfer="direct")
        return path

    return add


def check(repo: Path, *options: str) -> tuple[int, list[str]]:
    """Run check-provenance on all images."""
    where = ["--instrument", "simulator", "--collections", "SPHEREx/level2/*"]
    status, text = give("check-provenance", repo, *where, *options)
    *lines, summary = text.splitlines()
    # Where there is nothing to check, the only line is the message.
    if lines:
        assert re.fullmatch(r"\d+ images? checked: (nothing is wrong|\d+ .+)", summary)
        assert summary.endswith("nothing is wrong") == (status == 0)
    return status, lines


def test_check_provenance_counts_what_resolves(repo: Path, add_image: Callable[..., Path]) -> None:
    other = "d2f2d7f9-6ba0-41bd-82d4-e1d7e086bd09"
    for _ in range(2):
        add_image(f"[CALIB] gain_factors {GAIN}", f"[CALIB] spectral_wcs {WCS}", f"[CALIB] dark {other}", "Some step")
    add_image("Some step")
    status, lines = check(repo)
    assert status == 0
    assert lines == [
        "3 images read, 1 of them without names of calibrations",
        "dark: 0 of 2 references resolved",
        f"  not ingested: {other}, detector 4: 2 images",
        "gain_factors: 2 of 2 references resolved",
        "spectral_wcs: 2 of 2 references resolved",
    ]


@pytest.mark.parametrize(
    ("run", "date"),
    [
        ("l2b-v20-2025-349", "2025-12-15T07:46:20.948"),
        ("l2b-v20-2025-240", "2025-12-21T00:00:00"),
        ("l2b-v20-2025-240", None),
    ],
)
def test_check_provenance_finds_images_made_anew(
    repo: Path, add_image: Callable[..., Path], run: str, date: str | None
) -> None:
    add_image(f"[CALIB] spectral_wcs {WCS}", run=run, date=date)
    status, lines = check(repo)
    assert status == 1
    assert lines[-1].startswith("replaced: level2 {'instrument': 'simulator'")
    assert lines[-1].endswith(f"its spectral_wcs {WCS} of 2025-12-16; download it again if your copy is older")


def test_check_provenance_finds_contradictions(repo: Path, add_image: Callable[..., Path]) -> None:
    add_image(f"[CALIB] dark {GAIN}")
    status, lines = check(repo)
    assert status == 1
    assert lines[-1].endswith(f"was made with dark {GAIN}, which is gain_factors in this repository")


def test_check_provenance_knows_detectors(repo: Path, add_image: Callable[..., Path]) -> None:
    with Butler.from_config(str(repo), writeable=True) as butler:
        other = add_calibration(butler, "dark", "cal-drk-v4-2025-161", detector=5)
    add_image(f"[CALIB] dark {other.id}")
    status, lines = check(repo)
    assert status == 1
    assert lines[-2].endswith(f"was made with dark {other.id}, which is dark of detector 5 in this repository")


def test_check_provenance_knows_prefixes(repo: Path, add_image: Callable[..., Path]) -> None:
    with Butler.from_config(str(repo), writeable=True) as butler:
        prefixed = add_calibration(butler, "archive_dark", "cal-drk-v4-2025-161", uuid.uuid4(), detector=4)
    add_image(f"[CALIB] dark {prefixed.id}", date="2025-12-21")
    assert check(repo) == (
        0,
        ["1 image read, 0 of them without names of calibrations", "dark: 1 of 1 references resolved"],
    )


def test_a_day_lasts_until_its_end(repo: Path, add_image: Callable[..., Path]) -> None:
    add_image(f"[CALIB] spectral_wcs {WCS}", date="2025-12-16")
    assert check(repo)[0] == 0


def test_check_provenance_goes_on_after_a_bad_file(repo: Path, add_image: Callable[..., Path]) -> None:
    add_image().unlink()
    add_image().write_bytes(b"")
    add_image(date="sometime")
    add_image(f"[CALIB] gain_factors {GAIN}")
    status, lines = check(repo, "-j", "2")
    assert status == 1
    assert [line.startswith("failed: ") for line in lines] == [False, False, True, True, True]
    assert "the file is empty" in lines[3]
    assert "DATE is not a date: 'sometime'" in lines[4]
    where = ["--instrument", "simulator", "--collections", "SPHEREx/level2/*"]
    assert give("check-provenance", repo, *where)[1].splitlines()[-1] == "4 images checked: 3 not read"
    assert lines[0] == "1 image read, 0 of them without names of calibrations"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--dataset-type", "nothing"], "nothing"),
        (["--collections", "nowhere"], "nowhere"),
        (["--where", "exposure ="], "--where"),
        (["--where", "foo"], "--where"),
        (["--where", "instrument='simulator' AND exposure=77"], "has no level2 of simulator there"),
    ],
)
def test_check_provenance_says_what_is_not_there(
    repo: Path, add_image: Callable[..., Path], options: list[str], match: str
) -> None:
    add_image()
    arguments = options if "--collections" in options else [*options, "--collections", "SPHEREx/level2/*"]
    status, text = give("check-provenance", repo, "--instrument", "simulator", *arguments)
    assert status != 0
    assert match in text
    assert ".." not in text
    assert "Traceback" not in text


def test_check_provenance_knows_the_instrument_of_a_detector(repo: Path, add_image: Callable[..., Path]) -> None:
    add_image(f"[CALIB] gain_factors {GAIN}")
    for detector, expected in ((4, 0), (5, 1)):
        assert check(repo, "--where", f"detector={detector}")[0] == expected


def test_check_provenance_of_an_empty_repository(repo_root: Path) -> None:
    status, text = give("check-provenance", repo_root)
    assert status == 1
    missing = f"There is no dataset type 'level2' in {repo_root}"
    assert text.strip() == f"Error: {missing}. Make it by: butler ingest-level2 {repo_root} LOCATIONS"
