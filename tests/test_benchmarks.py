import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from spherex.fits import open_source, scan_hdus
from spherex.ingest import SimulatedTranslator, read_structure

ROOT = Path(__file__).parents[1]

QUICK = {
    "long_lists": [
        "list of 60 URIs, for each",
        "memory, against 60 URIs",
        "list of 600 URIs, for each",
        "memory, against 60 URIs",
    ],
    "get": [
        "get of 0 MB, all planes",
        "component image",
        "component flags",
        "component variance",
        "component header, against a get that knows its place",
        "component wcs, against a get that knows its place",
        "cutout 8 x 8 of 3 planes, against the whole",
        "bytes read for the cutout, by the system's count",
        "bytes asked for by the cutout",
    ],
    "put": ["put of 0 MB, against tofile into a new file", "the same, against tofile over an existing file"],
    "find": [
        "images at a point among 60, against those of an exposure id",
        "find-images, 12 images with wavelengths, against 2 s",
        "find-images, the same with URIs, against 2 s",
        "find-images, those of them at 4.67 um with URIs, against 1 s",
    ],
    "subtract": [
        "SubtractTask.run, against three ufuncs with out=",
        "the same, against three ufuncs in place",
    ],
}
SLOW = {
    "patches": [
        *(
            f"graph of 5 targets in {images} images, {what}"
            for images in (4, 12)
            for what in ("against 120 s", "memory", "quanta and file")
        ),
        "join of 1 targets in 3 images, against reading their tables",
        "the same, against a minute for a million rows",
        "channels of 1 targets in 3 images, against the same",
        "spectrum of one of them by its name, against 33 ms",
    ],
    "end_to_end": [
        "5 targets in 2 images, 10 measurements, against the quanta of measureTargets",
        "register-targets",
        "pipetask run",
        "quanta of measureTargets",
        "quanta of gatherSpectra",
        "quanta of combineChannels",
        "(flux - truth) / error, median and half width of 68 %",
    ],
    "stale_spectra": [
        "stale-spectra of 3 targets in 3 images, 6 measurements, against 10 s",
        "stale-spectra of 5 targets in 3 images, 10 measurements, against 10 s",
        "1,000,000 measurements, extrapolated",
    ],
    "get_s3": [
        "cutout 8 x 8 of 3 planes from S3, against the whole",
        "cutout 8 x 8 of 3 planes from S3, bytes",
        "cutout 8 x 8 of 3 planes from S3, requests",
        *(
            f"cutout 8 x 8, answers 40 ms late, {which} file of {release}, {what}"
            for release in ("qr2", "qr3")
            for which in ("first", "second")
            for what in ("round trips", "bytes, against those of its rows")
        ),
    ],
    "combine_dark": [
        line
        for size in (14, 200)
        for line in (
            f"combination of 3 darks, blocks of {size} MB, against reading them",
            f"memory of the process, blocks of {size} MB",
        )
    ],
    "calibration_lookup": ["graph of 12 quanta with a dark by time, against one without"],
    "command_help": ["butler --help with the plugin, against without"],
    "ingest": [
        "ingest of 12 files, per file",
        "ingest of 18 files, per file, against 6",
        "memory, 18 files against 6",
    ],
    "ingest_level2": [
        "ingest of 12 files, per file",
        "ingest of 18 files, per file, against 6",
        "memory, 18 files against 6",
        *(
            f"from S3, 6 files, {threads} threads, answers {late} ms late, {what}"
            for threads, late in ((1, 0), (8, 0), (8, 40), (32, 40))
            for what in ("files per second", "for each file", "memory")
        ),
    ],
    "one_target": [
        "one target on 3 images, MeasureTargetsTask.run, per image, against get of the cutout",
        "one target on 3 images, MeasureTargetsTask.run, per image, against astropy's reading of the same pixels",
        "one target on 3 images, whole quanta, reading of inputs and writing of tables included, per image, "
        "against get of the cutout",
        "one target on 3 images, bytes read per image by run, of the size of a file",
        "one target on 3 images, bytes read per image by cutout, of the size of a file",
        "one target on 2 images from S3, per image, against get of the cutout",
        "one target on 2 images from S3, requests per image",
        "one target on 2 images from S3, bytes per image",
        "one target on 2 images from S3, round trips per image",
    ],
    "many_targets": [
        "5 targets on 2 frames, per frame, against get of the frames",
        "5 targets on 2 frames, per frame, against IRSA's tool",
        "5 targets on 2 frames, measurements a second",
    ],
    "quantum": ["SubtractTask, per quantum (from 1 and 6), against a task that writes a note"],
    "fork_server": [
        "2 quanta of 0.01 s, -j 1",
        "2 quanta of 0.01 s, -j 2 forkserver",
        "2 quanta of 0.01 s, -j 2 forkserver of pipetask alone",
        "2 quanta of 0.01 s, -j 2 spawn",
    ],
    "common_skypix": [
        f"{name}, {what}"
        for name in ("htm4", "healpix4")
        for what in (
            "overlap rows per image",
            "database",
            "insertion",
            "images at a point",
            "images in a pixel",
        )
    ],
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def row_names(output: str) -> list[str]:
    rows = [line.split(" | ")[0].removeprefix("| ") for line in output.splitlines() if line.startswith("| ")]
    return rows[1:]


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.report")


@pytest.mark.slow
@pytest.mark.thorough
def test_quick_benchmarks_print_their_rows(tmp_path: Path) -> None:
    result = run(*QUICK, "--tiny", "--scratch", str(tmp_path))
    assert result.returncode == 0, result.stderr
    tables = re.findall(r"^(\w+): .*\n\(.* s, load .* before and .* after\)\n\n((?:\|.*\n)+)", result.stdout, re.M)
    assert {name: row_names(table) for name, table in tables} == QUICK
    assert [path.name for path in sorted(tmp_path.iterdir())] == sorted(QUICK)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("name", SLOW)
def test_slow_benchmark_prints_its_rows(name: str) -> None:
    result = run(name, "--tiny")
    assert result.returncode == 0, result.stderr
    assert row_names(result.stdout) == SLOW[name]


def test_every_benchmark_is_tested(part: ModuleType) -> None:
    names = importlib.import_module("benchmarks.__main__").BENCHMARKS
    assert set(names) == QUICK.keys() | SLOW.keys()


def test_quality_has_a_row_for_each_scenario(part: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    quality = importlib.import_module("benchmarks.quality")
    few = ["--seed", "1", "--release", "qr3", "--detector", "4", "--side", "120"]
    assert quality.main([*few, "--choice", "rule", "without-marks", "--scenario", "everything", "moving"]) == 0
    output = capsys.readouterr().out
    assert re.findall(r"^([\w-]+), 1 frames of each scenario", output, re.M) == ["rule", "without-marks"]
    rows = re.findall(r"^\| (\w+) \| (.*) \|$", output, re.M)
    assert [name for name, _ in rows] == ["everything", "moving"] * 2
    assert {len(cells.split(" | ")) for _, cells in rows} == {8}


def test_quality_knows_what_is_wrong_and_marked(part: ModuleType) -> None:
    quality = importlib.import_module("benchmarks.quality")
    frames = importlib.import_module("benchmarks.quality_frames")
    frame = frames.make_frame(quality.SCENARIOS["plain"], "qr2", 1, 1, 240)
    settings = quality.CHOICES["rule"].settings
    fluxes = quality.measure(frame, settings)
    score = quality.score_of(frame, fluxes, has_marks=True)
    assert score.figures[:2] == (0.0, 0.0)
    fluxes.flux[0] = 1e6
    fluxes.rejected[1] = 2
    number = len(frame.x)
    wrong, unmarked, marked, *_ = quality.score_of(frame, fluxes, has_marks=True).figures
    assert wrong == pytest.approx(100 / number)
    assert unmarked == pytest.approx(100 / number)
    assert marked == pytest.approx(score.figures[2] + 100 / (number - 1), rel=0.1)
    assert quality.score_of(frame, fluxes, has_marks=False).figures[2] == 0


@pytest.mark.parametrize(("release", "detector"), [("qr2", 1), ("qr3", 6)])
def test_frames_of_quality_have_the_light_that_is_said(part: ModuleType, release: str, detector: int) -> None:
    frames = importlib.import_module("benchmarks.quality_frames")
    frame = frames.make_frame(frames.Scenario(hits=0.0), release, detector, 1, 200)
    other = frames.make_frame(frames.Scenario(hits=0.02), release, detector, 1, 200)
    assert frame.flags.has("TRANSIENT").sum() == 0
    assert 0.0195 < other.flags.has("TRANSIENT").mean() < 0.022
    dead = frame.flags.has("HOT", "NONFUNC")
    light = (frame.data - np.median(frame.data))[~dead].sum()
    assert light == pytest.approx(frame.flux.sum(), rel=0.1)


def test_unknown_benchmark_is_refused() -> None:
    result = run("nonsense")
    assert result.returncode == 2
    assert "no benchmark nonsense; there are ingest, " in result.stderr


def test_rounds_must_be_positive() -> None:
    assert "--rounds must be at least 1" in run("get", "--rounds", "0").stderr


@pytest.mark.parametrize(("ratio", "verdict"), [(1.99, "met"), (2.01, "MISSED")])
def test_ratio_is_judged_by_the_target(part: ModuleType, ratio: float, verdict: str) -> None:
    cost = importlib.import_module("benchmarks.measure").Cost
    row = part.ratio_row("work", [cost(9.0, 9.0), cost(ratio, 3.0), cost(0.1, 0.1)], [cost(1.0, 1.0)], 2.0)
    line = part.format_rows([row]).splitlines()[-1]
    assert line.startswith("| work |")
    assert line.endswith(f"| {ratio:.2f} | 3.00 | 2 | {verdict} |")


def test_turns_alternate(part: ModuleType) -> None:
    measure = importlib.import_module("benchmarks.measure")
    calls: list[str] = []

    def work(name: str) -> object:
        calls.append(name)
        return measure.Cost(1.0, 1.0)

    costs = measure.take_turns({"a": lambda: work("a"), "b": lambda: work("b")}, 3)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert [len(one) for one in costs.values()] == [3, 3]


def test_failing_process_shows_what_it_printed(part: ModuleType) -> None:
    measure = importlib.import_module("benchmarks.measure")
    with pytest.raises(RuntimeError, match="status 3:\nno luck"):
        measure.run_process([sys.executable, "-c", "print('no luck'); raise SystemExit(3)"])


@pytest.mark.slow
def test_raw_files_are_told_apart_and_take_no_room(part: ModuleType, tmp_path: Path) -> None:
    files = importlib.import_module("benchmarks.files")
    folders = files.make_raw_files(tmp_path, 12, 6, 1024)
    paths = sorted(path for folder in folders for path in folder.iterdir())
    assert [len(list(folder.iterdir())) for folder in folders] == [6, 6]
    translator = SimulatedTranslator("rawexp", "rawexpr")
    regions, times = set(), set()
    for path in paths:
        structure = read_structure(str(path))
        exposure, place = translator.describe(translator.identify(path.name), structure).records
        times.add(exposure.values["timespan"])
        regions.add(place.values["region"].encode())
        assert path.stat().st_size > 12 * 1024**2 > 100 * path.stat().st_blocks * 512 // 2
    assert len(regions) == 12
    assert len(times) == 2
    with open_source(paths[0]) as source:
        hdus = scan_hdus(source)
    assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE", "FLAGS", "VARIANCE", "WCS-WAVE"]
    assert len(hdus[1].header_bytes) == 199 * 80
