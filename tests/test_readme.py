"""The commands and examples of README.md and doc/, run as they stand there."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from astropy.io import fits
from lsst.daf.butler import Butler, DatasetProvenance

from .conftest import made_once
from .program_server import folder_of_programs

ROOT = Path(__file__).parents[1]
WALKTHROUGH = ROOT / "doc" / "walkthrough.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "doc").rglob("*.md"))]
UNIVERSE = ROOT / "doc" / "example_universe"
PATIENCE = 300
"""Seconds that a script may take."""

_BLOCK = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks_of(page: Path, info: str) -> list[str]:
    """Return the fenced blocks of a page that are marked so."""
    return [match["text"] for match in _BLOCK.finditer(page.read_text()) if match["info"] == info]


def names_of(paths: list[Path]) -> list[str]:
    """Return the paths as they are known in the clone."""
    return [str(path.relative_to(ROOT)) for path in paths]


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a user who has installed this clone with this interpreter."""
    path = os.pathsep.join([str(ROOT / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("S3_", "AWS_"))}
    return kept | {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | variables


def run(arguments: list[str], folder: Path, env: Mapping[str, str]) -> str:
    """Run a program and return all that it prints; fail if it does."""
    done = subprocess.run(
        arguments, cwd=folder, env=env, text=True, timeout=PATIENCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(arguments)}\nends with status {done.returncode}:\n{done.stdout}", pytrace=False)
    return done.stdout


def run_blocks(blocks: list[str], folder: Path, env: Mapping[str, str]) -> str:
    """Run shell blocks one after the other in one shell; return all that it prints."""
    script = folder / "commands.sh"
    script.write_text("set -e -o pipefail\n" + "\n".join(blocks))
    path = os.pathsep.join([str(folder_of_programs()), env["PATH"]])
    return run(["bash", str(script)], folder, {**env, "PATH": path})


def run_examples(page: Path, folder: Path, env: Mapping[str, str], info: str = "python example") -> None:
    """Run the Python examples of a page and compare what they print with what the page says."""
    keep = [match.span("text") for match in _BLOCK.finditer(page.read_text()) if match["info"] == info]
    assert keep
    text = page.read_text()
    # All else is blanked, so that complaints have the line numbers of the page.
    ends = [0, *(end for _, end in keep)]
    starts = [*(start for start, _ in keep), len(text)]
    examples = ""
    for index, (end, start) in enumerate(zip(ends, starts, strict=True)):
        examples += "\n" * text.count("\n", end, start)
        if index < len(keep):
            examples += text[slice(*keep[index])]
    copy = folder / f"{page.stem}.txt"
    copy.write_text(examples)
    run([sys.executable, "-m", "doctest", "-f", "-o", "NORMALIZE_WHITESPACE", str(copy)], folder, env)


def make_folder(base: Path) -> Path:
    """Return an empty folder next to a clone."""
    shutil.rmtree(base, ignore_errors=True)
    folder = base / "work"
    folder.mkdir(parents=True)
    (base / "spherex_butler").symlink_to(ROOT)
    return folder


@pytest.fixture(scope="session")
def walkthrough(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder in which the walkthrough has been done, and what it printed."""

    def walk(folder: Path) -> None:
        missing = [program for program in ("dot", "sqlite3") if shutil.which(program) is None]
        lines = "".join(blocks_of(WALKTHROUGH, "sh walkthrough")).splitlines()
        lines = [line for line in lines if line.split(" ")[0] not in missing]
        (folder / "printed.txt").write_text(run_blocks(lines, make_folder(folder / "user"), environment()))

    folder = made_once(tmp_path_factory, "walkthrough", walk)
    return folder / "user" / "work", (folder / "printed.txt").read_text()


@pytest.fixture
def s3() -> Iterator[dict[str, str]]:
    """Return the environment for an object store on this machine."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("there is no moto to stand in for S3: pip install 'moto[server]'")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    env = environment(
        S3_ENDPOINT_URL=f"http://127.0.0.1:{port}",
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_DEFAULT_REGION="us-east-1",
    )
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(server, port)
            yield env
        finally:
            server.terminate()


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert server.poll() is None, "moto has ended"
            assert time.monotonic() < deadline, "moto does not answer"
            time.sleep(0.2)
        else:
            return


@pytest.mark.slow
def test_the_walkthrough_subtracts_all_images(walkthrough: tuple[Path, str]) -> None:
    folder, printed = walkthrough
    assert printed.count("12 files found: 12 ingested, 0 already there, 0 skipped, 0 failed") == 2
    assert printed.count("Executed 12 quanta successfully, 0 failed") == 2
    assert len(list(folder.glob("DATA/rawexpr/rawexp/?/20261123/*.fits"))) == 12
    # --prune-replaced=purge has left no files but those of the second run.
    assert len(list(folder.glob("DATA/subtractr/*/postDark/?/20261123/*.fits"))) == 12


@pytest.mark.slow
def test_the_walkthrough_lists_collections_and_images(walkthrough: tuple[Path, str]) -> None:
    _, printed = walkthrough
    # Once as a whole, once alone; in the flattened list it does not stand.
    assert len(re.findall(r"^subtractr +CHAINED *$", printed, re.MULTILINE)) == 2
    # Twice indented in the chain, twice by itself.
    assert len(re.findall(r"^ *subtractr/\d{8}T\d{6}Z +RUN *$", printed, re.MULTILINE)) == 4
    # Two by the detector, four by the place on the sky.
    assert len(re.findall(r"^postDark .* simulator +[36] +[01]\b", printed, re.MULTILINE)) == 6


@pytest.mark.slow
def test_the_walkthrough_draws_the_graph(walkthrough: tuple[Path, str]) -> None:
    folder, _ = walkthrough
    assert (folder / "qgraph.dot").read_text().startswith("digraph")
    if shutil.which("dot") is None:
        pytest.skip("there is no dot here: install graphviz (Debian, Ubuntu: apt-get install graphviz)")
    assert (folder / "qgraph.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_the_walkthrough_shows_the_database(walkthrough: tuple[Path, str]) -> None:
    _, printed = walkthrough
    if shutil.which("sqlite3") is None:
        pytest.skip("there is no sqlite3 here: install it (Debian, Ubuntu: apt-get install sqlite3)")
    for table in ("exposure", "exposure_detector_region", "target", "file_datastore_records"):
        assert re.search(rf"\b{table}\b", printed)
    assert len(re.findall(r"^[0-9a-f]{32}\|(?:rawexpr|darkr)/", printed, re.MULTILINE)) == 24


@pytest.mark.slow
@pytest.mark.thorough
def test_the_walkthrough_works_with_s3(tmp_path: Path, simulated_files: Path, s3: dict[str, str]) -> None:
    folder = make_folder(tmp_path / "user")
    (folder / "SIMULATOR_FILES").symlink_to(simulated_files)
    pages = [WALKTHROUGH, ROOT / "doc" / "remote.md"]
    printed = run_blocks([block for page in pages for block in blocks_of(page, "sh walkthrough-s3")], folder, s3)
    assert "Executed 12 quanta successfully, 0 failed" in printed
    assert len(re.findall(r"s3://spherex/DATA_S3/subtractr/\S+/postDark/\S+\.fits", printed)) == 12
    assert len(re.findall(r"s3://spherex/REPO/rawexpr/rawexp/\S+\.fits", printed)) == 12
    assert {path.name for path in folder.glob("DATA_S3/*")} == {"butler.yaml", "spherex.sqlite3"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", names_of([page for page in PAGES if page.parent != UNIVERSE and blocks_of(page, "python example")])
)
def test_python_examples_print_what_the_page_says(page: str, walkthrough: tuple[Path, str]) -> None:
    run_examples(ROOT / page, walkthrough[0], environment())


@pytest.mark.slow
@pytest.mark.thorough
def test_the_cycle_of_calibrations_works(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "user")
    page = ROOT / "doc" / "calibrations.md"
    printed = run_blocks(blocks_of(page, "sh walkthrough"), folder, environment())
    for timespan in re.findall(r"\[2026-11-23T.*\)$", page.read_text(), re.MULTILINE):
        assert timespan in printed
    assert printed.count("Executed 2 quanta successfully, 0 failed and 0 remain") == 3
    assert printed.count("Executed 16 quanta successfully, 0 failed and 0 remain") == 2
    with Butler.from_config(str(folder / "DATA"), collections="calibrated") as butler:
        by_id = {str(ref.id): ref for ref in butler.query_datasets("combined_dark", "darks/*", find_first=False)}
        images = butler.query_datasets("postDark")
        assert len(images) == 16
        for image in images:
            used = re.findall(r"\[CALIB\] combined_dark (\S+)", str(butler.get(image).header["HISTORY"]))
            assert [by_id[name].dataId["detector"] for name in used] == [image.dataId["detector"]]
            assert by_id[used[0]].run.startswith("darks/all/")
    # As many rows as on the page, with its times.
    (listed,) = re.findall(r"text\n +type .*\n((?:combined_dark .*\n)+)", page.read_text())
    times = r"^combined_dark (\d) +(darks/\w+)/\S+ +(\S+) +(\S+) +file:"
    assert re.findall(times, listed, re.MULTILINE) == re.findall(times, printed, re.MULTILINE)
    run_examples(page, folder, environment(), "python calibrations")


@pytest.mark.slow
def test_the_chapter_on_level_2_files_works(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "user")
    page = ROOT / "doc" / "level2.md"
    printed = run_blocks(blocks_of(page, "sh level2"), folder, environment())
    for line in blocks_of(page, "text")[0].splitlines():
        assert line in printed
    assert len(re.findall(r"^20260710100011 +2026W07_1A_0001_1 +[25] ", printed, re.MULTILINE)) == 2
    run_examples(page, folder, environment(), "python level2")
    assert (folder / "cutout.png").read_bytes().startswith(b"\x89PNG")
    printed = run_blocks(blocks_of(page, "sh level2 copy"), folder, environment())
    assert "Number of datasets transferred: 2" in printed
    assert len(list(folder.glob("out/**/*.fits"))) == len(list(folder.glob("OTHER/**/*.fits"))) == 2
    printed = run_blocks(blocks_of(page, "sh level2 cutouts"), folder, environment())
    (row,) = printed.splitlines()[2:]
    # With the wavelength that the page has.
    assert re.match(r"20260710100011 +2026W07_1A_0001_1 +2 +\S+ +1\.329\d +0\.032\d ", row)


@pytest.mark.slow
def test_the_chapters_on_spectra_work(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "user")
    first, second = (ROOT / "doc" / name for name in ("spectra.md", "stale_spectra.md"))
    printed = run_blocks(blocks_of(first, "sh spectra"), folder, environment())
    assert "Executed 36 quanta successfully, 0 failed and 0 remain" in printed
    pictures = re.findall(r"file://(\S+/spectrum_plot_mine_\w+\.png)", printed)
    assert len(pictures) == 3
    assert all(Path(picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)
    run_examples(first, folder, environment(), "python spectra")
    (script,) = blocks_of(first, "python export")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "3 targets, fluxes in uJy\n"
    printed = run_blocks(blocks_of(second, "sh spectra"), folder, environment())
    assert len(re.findall(r"^mine +\w+ +\S+ +3 images superseded$", printed, re.MULTILINE)) == 3
    assert "Executed 2 quanta successfully, 0 failed and 0 remain" in printed
    assert "\n0 of 3 spectra are out of date." in printed
    # Measurements of three images are in another run than those of the others, and the spectra in a third one.
    in_use = re.findall(r"^(spectra|target_measurements) +(spectra/\S+) ", printed, re.MULTILINE)
    assert {run for name, run in in_use if name == "spectra"} == {"spectra/3"}
    assert len({run for name, run in in_use if name == "target_measurements"}) == 2


@pytest.mark.slow
def test_the_chapter_on_targets_works(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "user")
    page = ROOT / "doc" / "targets.md"
    printed = run_blocks(blocks_of(page, "sh targets"), folder, environment())
    for line in "".join(blocks_of(page, "text")).splitlines():
        # Runs have the time in their names.
        assert re.sub(r"\d{8}T[\d.]+Z\.$", "", line) in printed
    assert len(re.findall(r"^ *stars +Barnard's star +\d+ +269\.44", printed, re.MULTILINE)) == 2
    assert len(re.findall(r"^ *stars +00123 +\d+ +359\.999", printed, re.MULTILINE)) == 1
    assert len(re.findall(r"^ *catalogs/stars/\d{8}T[\d.]+Z +RUN", printed, re.MULTILINE)) == 2
    run_examples(page, folder, environment(), "python targets")
    (refused,), (told,) = blocks_of(page, "sh targets-refused"), blocks_of(page, "text refused")
    assert run_blocks([f"{refused.rstrip()} || test $? = 1"], folder, environment()) == told


@pytest.mark.slow
def test_the_universe_of_ones_own_works(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "user")
    page = UNIVERSE / "README.md"
    printed = run_blocks(blocks_of(page, "sh walkthrough"), folder, environment())
    assert "2 plates registered, 0 updated, 0 unchanged" in printed
    assert "No problems encountered with configuration." in printed
    assert blocks_of(page, "text")[0] in printed
    assert re.findall(r"^scan +scans +\S+ +Tautenburg +(\d+)", printed, re.MULTILINE) == ["7"]
    assert "Executed 3 quanta successfully, 0 failed" in printed
    assert len(re.findall(r"^cleanScan .*\.fits *$", printed, re.MULTILINE)) == 2
    path = os.pathsep.join(filter(None, [str(UNIVERSE / "python"), os.environ.get("PYTHONPATH")]))
    run_examples(page, folder, environment(PYTHONPATH=path))
    setup, *_ = blocks_of(page, "sh walkthrough")
    (changed,), (part,) = blocks_of(page, "sh changed"), blocks_of(page, "sh part")
    (folder / "changed").mkdir()
    with fits.open(folder / "plate_7.fits") as hdus:
        hdus[0].data *= 2
        hdus.writeto(folder / "changed" / "plate_7.fits")
    run_blocks([setup, changed], folder, environment())
    again = "pipetask run -p resource://plates/pipeline.yaml -b PLATES -o clean"
    run_blocks([setup, again, part], folder, environment())
    with Butler.from_config(str(folder / "PLATES"), collections="clean", observatory="Tautenburg") as butler:
        assert butler.find_dataset("cleanScan", plate=7).run not in ("clean/v2", "part/1")
        for plate, run_of_scan in ((7, "scans/v2"), (8, "scans")):
            header = fits.getheader(butler.getURI("cleanScan", plate=plate).ospath)
            provenance, _ = DatasetProvenance.from_flat_dict(header, butler)
            assert {used.run for used in provenance.inputs} == {run_of_scan, "wedges/1981"}
        assert [ref.dataId["plate"] for ref in butler.query_datasets("cleanScan", "part/1")] == [7]
        assert list(butler.get("edges", collections="part/2")["plate"]) == [7, 8]


@pytest.mark.slow
@pytest.mark.thorough
def test_the_universe_of_ones_own_works_by_bps(tmp_path: Path) -> None:
    pytest.importorskip("lsst.ctrl.bps.parsl", reason="there is no BPS with Parsl: install the extra bps")
    folder = make_folder(tmp_path / "user")
    page = UNIVERSE / "README.md"
    blocks = [*blocks_of(page, "sh walkthrough"), *blocks_of(page, "sh bps")]
    run_blocks(blocks, folder, environment())
    with Butler.from_config(str(folder / "PLATES")) as butler:
        (chain,) = butler.collections.query("u/*/fog")
        assert len(butler.query_datasets("cleanScan", chain)) == 2


@pytest.mark.parametrize("page", names_of(PAGES))
def test_links_lead_somewhere(page: str) -> None:
    text = _BLOCK.sub("", (ROOT / page).read_text())
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        place = (ROOT / page).parent / path if path else ROOT / page
        if not place.exists() or (anchor and anchor not in anchors_of(place)):
            broken.append(target)
    assert not broken


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", _BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
