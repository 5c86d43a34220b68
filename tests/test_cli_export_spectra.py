"""Export-spectra: files that other programs read, and what a second command does."""

from __future__ import annotations

import base64
import io
import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import QTable, Table
from astropy.time import Time
from click.testing import CliRunner
from lsst.daf.butler import Butler, CollectionType, DatasetType
from lsst.daf.butler.formatters.parquet import arrow_to_astropy, astropy_to_arrow
from matplotlib.image import imread

import spherex
import spherex.spectra
from spherex.spectra import IMAGES, TARGETS, combine_patch, design_channels, gather_patch, spectrum_in
from spherex_simulator.command import simulate

from .ingest_helpers import Outcome, bound_program, butler_command
from .spectra_helpers import CATALOG, PLACES, TargetRepo, measurements

BROWSER = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom")
CAPTURE: dict[str, Any] = {"capture_output": True, "text": True, "check": True}
MOTIONS = {"west": {"pmra": -3.5, "pmdec": 8.0, "ref_epoch": 2016.0}}
NAMES = ("west", "a/b .. \u03a3", "east")


@pytest.fixture
def repo(repo_root: Path) -> Iterator[TargetRepo]:
    """Return a repository with the spectra of two patches, of two targets and of one."""
    repo = TargetRepo.make(repo_root)
    butler = repo.butler
    for name in ("spectra", "channel_spectra"):
        dataset_type = DatasetType(name, ("catalog", "patch"), "SpectraTable", universe=butler.dimensions)
        butler.registry.registerDatasetType(dataset_type)
    butler.collections.register("spectra")
    for place, names in (("west", NAMES[:2]), ("east", NAMES[2:])):
        (record,) = butler.query_dimension_records("target", catalog=CATALOG, target=place)
        put(repo, record.patch, names, place)
    with butler:
        yield repo


def put(repo: TargetRepo, patch: int, names: tuple[str, ...], place: str, run: str = "spectra") -> None:
    ra, dec = PLACES[place]
    meta = {"catalog": CATALOG, "patch": patch, "instruments": ["SPHEREx"], IMAGES: []}
    meta[TARGETS] = {name: {"ra": ra, "dec": dec, **MOTIONS.get(name, {}), "off_frame": 0} for name in names}
    tables = [astropy_to_arrow(Table(measurements(40, number, target=name))) for number, name in enumerate(names)]
    spectra = gather_patch(tables, meta)
    data_id = {"catalog": CATALOG, "patch": patch}
    repo.butler.put(spectra, "spectra", data_id, run=run)
    repo.butler.put(combine_patch(spectra, design_channels()), "channel_spectra", data_id, run=run)


def export(repo: TargetRepo, out: Path, *options: object, collection: str = "spectra") -> Outcome:
    return butler_command("export-spectra", repo.root, collection, out, *options)


def test_parquet_files_have_positions_and_units(repo: TargetRepo, tmp_path: Path) -> None:
    assert export(repo, tmp_path / "out").output == f"Wrote the spectra of 3 targets to {tmp_path / 'out'}.\n"
    files = sorted((tmp_path / "out").glob("*.parquet"))
    assert len(files) == 2
    ref = repo.butler.query_datasets("spectra", "spectra", where=f"catalog = '{CATALOG}'")
    found = {}
    for file in files:
        table = arrow_to_astropy(pyarrow.parquet.read_table(file))
        assert table["flux"].unit == "uJy"
        assert table["ra"].meta == {"ucd": "pos.eq.ra;meta.main"}
        assert pyarrow.parquet.read_schema(file).field("dec").metadata[b"unit"] == b"deg"
        for name in set(table["target"].tolist()):
            found[name] = table[table["target"] == name]
    assert set(found) == set(NAMES)
    assert set(found["east"]["ra"]) == {PLACES["east"][0]}
    for name, value in MOTIONS["west"].items():
        assert set(found["west"][name]) == {value}
        assert np.isnan(found["east"][name]).all()
    assert found["west"]["pmra"].unit == "mas / yr"
    patches = [repo.butler.get(one) for one in ref]
    (west,) = (patch for patch in patches if "west" in patch["target"].to_pylist())
    np.testing.assert_array_equal(found["west"]["flux"], spectrum_in(west, "west")["flux"].value)


@pytest.mark.parametrize(("form", "extension"), [("ecsv", "ecsv"), ("votable", "vot"), ("fits", "fits")])
@pytest.mark.parametrize("kind", ["spectra", "channel_spectra"])
def test_a_file_for_each_target(repo: TargetRepo, tmp_path: Path, form: str, extension: str, kind: str) -> None:
    out = tmp_path / "out"
    outcome = export(repo, out, "--format", form, "--dataset-type", kind)
    assert outcome.code == 0, outcome
    files = {file.name: file for file in out.glob(f"*/*.{extension}")}
    assert set(files) == {f"{name}.{extension}" for name in ("west", "east", "a%2Fb .. %CE%A3")}
    patches = [repo.butler.get(ref) for ref in repo.butler.query_datasets(kind, "spectra")]
    (west,) = (patch for patch in patches if "west" in patch["target"].to_pylist())
    expected = spectrum_in(west, "west")
    if form == "votable":
        votable = parse_single_table(files["west.vot"])
        assert votable.get_field_by_id_or_name("flux").ucd == "phot.flux.density;em.IR"
        params = {param.name: param for param in votable.params}
        assert (params["ra"].value, params["dec"].value) == PLACES["west"]
        assert (str(params["ra"].unit), params["ra"].ucd) == ("deg", "pos.eq.ra;meta.main")
        assert {name: params[name].value for name in MOTIONS["west"]} == MOTIONS["west"]
        assert "ref_epoch" not in {param.name for param in parse_single_table(files["east.vot"]).params}
        # XML has each ID once.
        ids = re.findall(r'\bID="([^"]*)"', files["west.vot"].read_text())
        assert len(ids) == len(set(ids)) > len(expected.colnames) / 2
        infos = {info.name: info.value for info in votable.infos}
        assert infos["target"] == "west"
        assert {
            name: json.loads(value) for name, value in infos.items() if not isinstance(expected.meta[name], str)
        } == {name: value for name, value in expected.meta.items() if name not in params and not isinstance(value, str)}
        read = QTable(votable.to_table())
    elif form == "fits":
        read = QTable.read(files["west.fits"])
        flux = read.colnames.index("flux") + 1
        assert (read.meta[f"TUCD{flux}"], read.meta["TARGET"]) == ("phot.flux.density;em.IR", "west")
        assert read.meta[f"TCOMM{flux}"] == expected["flux"].info.description
        assert (read.meta["RA"], read.meta["DEC"]) == PLACES["west"]
        assert read.meta["ref_epoch"] == MOTIONS["west"]["ref_epoch"]
        texts = [value for value in read.meta.values() if isinstance(value, str)]
        for value in expected.meta.values():
            assert value in read.meta.values() or json.dumps(value) in texts, value
        assert all(read[name].unit == expected[name].unit for name in expected.colnames)
        other = QTable.read(files["a%2Fb .. %CE%A3.fits"])
        assert set(other["target"]) == {NAMES[1]}
        assert json.loads(f'"{other.meta["TARGET"]}"') == NAMES[1]
        with fits.open(files["west.fits"]) as hdus:
            hdus.verify("exception")
    else:
        read = QTable.read(files["west.ecsv"])
        assert read.meta["target"] == "west"
    np.testing.assert_array_equal(read["flux"].to_value("uJy"), expected["flux"].value)
    assert read.colnames == expected.colnames


@pytest.mark.parametrize("kind", ["spectra", "channel_spectra"])
def test_multispectrum_has_a_row_of_arrays_for_each_target(repo: TargetRepo, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    outcome = export(repo, out, "--format", "multispectrum", "--dataset-type", kind)
    assert outcome.code == 0, outcome
    files = sorted(out.glob("*.vot"))
    assert len(files) == 2
    (path,) = (file for file in files if b"west" in file.read_bytes())
    table = parse_single_table(path)
    # What Firefly looks at.
    assert table.utype == "ipac:MultiSpectrum"
    (group,) = table.groups
    assert group.utype == "ipac:Spectrum.ArrayData"
    fields = {field.ID: field for field in table.fields}
    assert all(fields[entry.ref].arraysize == "*" for entry in group.entries)
    assert all(field.ID == field.name for field in table.fields)
    by_utype = {entry.utype: entry.ref for entry in group.entries if entry.utype}
    assert by_utype["spec:Spectrum.Data.SpectralAxis.Value"] == "wavelength"
    assert by_utype["spec:Spectrum.Data.FluxAxis.Value"] == "flux"
    assert by_utype["spec:Spectrum.Data.FluxAxis.Accuracy.StatError"] == "flux_error"
    assert (str(fields["flux"].unit), fields["flux"].ucd) == ("uJy", "phot.flux.density;em.IR")
    rows = {row["target"]: row for row in table.array}
    assert set(rows) == set(NAMES[:2])
    assert (rows["west"]["ra"], rows["west"]["dec"]) == PLACES["west"]
    patches = [repo.butler.get(ref) for ref in repo.butler.query_datasets(kind, "spectra")]
    (west,) = (patch for patch in patches if "west" in patch["target"].to_pylist())
    expected = spectrum_in(west, "west")
    for name in ("wavelength", "flux", "flux_error"):
        np.testing.assert_array_equal(rows["west"][name], expected[name].value)
    np.testing.assert_array_equal(rows["west"]["good"], expected["good"])
    assert (
        "Wrote the spectra of 0 targets"
        in export(repo, out, "--format", "multispectrum", "--dataset-type", kind).output
    )


def test_an_interrupted_command_goes_on_and_a_repeated_one_replaces_what_has_changed(
    repo: TargetRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    original, calls = spherex.spectra.write_patch, []

    def failing(*arguments: object) -> int:
        calls.append(arguments)
        if len(calls) == 2:
            (out / "half.parquet.incomplete").write_text("half")
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(spherex.spectra, "write_patch", failing)
    assert export(repo, out).code != 0
    assert len(list(out.glob("*.parquet"))) == 1
    outcome = export(repo, out)
    assert "; 1 of 2 patches were there already." in outcome.output
    assert len(calls) == 3
    assert "Wrote the spectra of 0 targets" in export(repo, out).output
    # One patch is made again.
    (record,) = repo.butler.query_dimension_records("target", catalog=CATALOG, target="east")
    repo.butler.collections.register("again")
    put(repo, record.patch, ("east", "beside"), "east", run="again")
    repo.butler.collections.register("chain", CollectionType.CHAINED)
    repo.butler.collections.redefine_chain("chain", ["again", "spectra"])
    outcome = export(repo, out, collection="chain")
    assert f"of 2 targets to {out}; 1 of 2 patches were there already." in outcome.output
    done = json.loads((out / "export.json").read_text())["patches"]
    newest = repo.butler.find_dataset("spectra", catalog=CATALOG, patch=record.patch, collections="again")
    assert done[f"{CATALOG}_{record.patch}"] == str(newest.id)


@pytest.mark.parametrize(
    ("prepare", "words", "match"),
    [
        ("", ["nowhere"], "There is no collection 'nowhere'"),
        ("", ["Spectre"], "Did you mean 'spectra'?"),
        ("", ["nearby"], "Did you mean 'catalogs/nearby'?"),
        ("", ["catalogs/nearby"], "has no spectra in catalogs/nearby. They are in: spectra."),
        ("", ["spectra", "--where", "catalog = 'far'"], "Those in it are of the catalogues: nearby."),
        ("", ["spectra", "--dataset-type", "spectre"], "There is no dataset type 'spectre'"),
        ("", ["spectra", "--dataset-type", "chanel_spectra"], "Did you mean 'channel_spectra' or 'spectra'?"),
        ("", ["catalogs/nearby", "--dataset-type", "target_catalog"], "not a dataset type of spectra of patches"),
        ("", ["spectra", "--where", "patch ="], "is not a query"),
        (
            "",
            ["spectra", "--where", "target = 'east'"],
            "lacks the catalog: write \"catalog='nearby' AND target = 'east'\"",
        ),
        ("", ["spectra", "--where", "patch = 3 or patch = 4"], "\"catalog='nearby' AND (patch = 3 or patch = 4)\""),
        ("", ["spectra", "--where", "detector = 2"], "write \"instrument='SPHEREx' AND detector = 2\""),
        ("other.txt", ["spectra"], "was not written by export-spectra"),
        ("export.json", ["spectra"], "is damaged"),
    ],
)
def test_what_makes_no_sense_is_refused(
    repo: TargetRepo, tmp_path: Path, prepare: str, words: list[str], match: str
) -> None:
    out = tmp_path / "out"
    if prepare:
        out.mkdir()
        (out / prepare).write_text("x")
    outcome = export(repo, out, *words[1:], collection=words[0])
    assert outcome.code == 1
    assert any(one in outcome.output for one in match.split("|"))
    assert not list(out.glob("*.parquet"))


def test_another_format_needs_another_directory(repo: TargetRepo, tmp_path: Path) -> None:
    assert export(repo, tmp_path / "out").code == 0
    outcome = export(repo, tmp_path / "out", "--format", "ecsv")
    assert outcome.code == 1
    assert "has an export with other options (format: parquet, now ecsv)" in outcome.output


def test_a_directory_of_an_older_layout_is_not_filled_up(repo: TargetRepo, tmp_path: Path) -> None:
    """Its files have other columns."""
    assert export(repo, tmp_path / "out").code == 0
    manifest = tmp_path / "out" / "export.json"
    content = json.loads(manifest.read_text())
    del content["layout"]
    manifest.write_text(json.dumps(content))
    outcome = export(repo, tmp_path / "out")
    assert outcome.code == 1
    assert "(layout: 1, now 2): choose another directory" in outcome.output


@pytest.mark.slow
def test_lsdb_matches_a_hats_catalogue_of_it(repo: TargetRepo, tmp_path: Path) -> None:
    for module in ("hats_import", "lsdb"):
        pytest.importorskip(module)
    assert export(repo, tmp_path / "exported").code == 0
    page = Path(__file__).parents[1] / "doc" / "scale_out.md"
    printed = ""
    for number, text in enumerate(
        re.findall(r"^```python hats\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    ):
        script = tmp_path / f"script{number}.py"
        script.write_text(text)
        done = subprocess.run(
            [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    # Both targets of the patch are at the place of the star.
    assert "80 measurements" in printed


def test_a_page_shows_the_spectra_in_a_browser(repo: TargetRepo, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    out = tmp_path / "out"
    outcome = export(repo, out, "--format", "html")
    assert outcome.code == 0, outcome
    assert len(list(out.glob("*.html"))) == 3
    (page,) = (page for page in out.glob("*.html") if '"name":"west"' in page.read_text())
    # Without a server; the part after the hash is the name of the target, a/b .. and a sigma.
    command = [browser, *BROWSER, f"--user-data-dir={tmp_path / 'profile'}"]
    for name, fragment in (("west", "#west"), (NAMES[1], "#a%2Fb%20..%20%CE%A3")):
        shown = subprocess.run([*command, f"{page.as_uri()}{fragment}"], **CAPTURE)
        body = shown.stdout[shown.stdout.index("<body>") :]
        heading = re.search(r'<h2 id="name">(.*?): RA', body)
        assert heading is not None
        assert heading[1] == name
        (patch,) = (
            patch
            for patch in map(repo.butler.get, repo.butler.query_datasets("spectra", "spectra"))
            if "west" in patch["target"].to_pylist()
        )
        spectrum = spectrum_in(patch, name)
        has_flux = np.isfinite(spectrum["flux"].value)
        assert body.count('<path class="point ') == has_flux.sum() > 10
        table = body[body.index('<table id="rows">') :]
        assert table.count("<tr", 0, table.index("</table>")) == len(spectrum) + 1
        assert str(spectrum["image_id"][0]) in table
        # The images of these spectra were never in the repository.
        assert "no longer in the repository" in body
    # Of the other patch, and typed by hand.
    for fragment, words in (("#east", "east is not on this page: see"), ("#50%25%", "50%25% is not on this page")):
        body = subprocess.run([*command, f"{page.as_uri()}{fragment}"], **CAPTURE).stdout
        assert words in body
        assert '<a href="index.html">index.html</a>, or choose a target.' in body
        assert re.search(r'<div id="target" hidden="">', body)
    body = subprocess.run([*command, (out / "index.html").as_uri()], **CAPTURE).stdout
    assert f'<a href="{page.name}#a%2Fb%20..%20%CE%A3">' in body
    assert "Spectra of nearby: 3 targets on 2 pages" in body


def indexed(out: Path) -> dict[str, list[list[object]]]:
    """Return the targets in an index by page."""
    text = (out / "index.html").read_text().partition('<script id="data" type="application/json">')[2]
    return {page["page"]: page["targets"] for page in json.loads(text.partition("</script>")[0])}


def test_an_index_has_the_targets_of_all_pages(repo: TargetRepo, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    out = tmp_path / "out"
    patches = {}
    for place in ("west", "east"):
        (record,) = repo.butler.query_dimension_records("target", catalog=CATALOG, target=place)
        patches[place] = record.patch
    where = ("--where", f"catalog = '{CATALOG}' AND patch = {patches['west']}")
    outcome = export(repo, out, "--format", "html", *where)
    assert outcome.output.endswith(f" Open {out / 'index.html'} in a browser.\n")
    west, east = (f"{CATALOG}_{patches[place]}.html" for place in ("west", "east"))
    assert {page: [target[0] for target in targets] for page, targets in indexed(out).items()} == {
        west: sorted(NAMES[:2])
    }
    spectrum = spherex.get_spectrum(repo.butler, CATALOG, "west", collections="spectra")
    (row,) = (target for target in indexed(out)[west] if target[0] == "west")
    assert row[1:5] == [*PLACES["west"], len(spectrum), int(spectrum["good"].sum())]
    assert "plotly" not in (out / "index.html").read_text()
    # Of pages that another command selects, and of one that is made again.
    assert export(repo, out, "--format", "html").code == 0
    assert set(indexed(out)) == {west, east}
    repo.butler.collections.register("again")
    put(repo, patches["east"], ("east", "<b>side"), "east", run="again")
    assert export(repo, out, "--format", "html", collection="again").code == 0
    assert [target[0] for target in indexed(out)[east]] == ["<b>side", "east"]
    assert "<b>" not in (out / "index.html").read_text()
    (out / west).unlink()
    assert export(repo, out, "--format", "html", collection="again").code == 0
    assert set(indexed(out)) == {east}
    for damaged in (b"half", b"\xff\xfe"):
        (out / east).write_bytes(damaged)
        outcome = export(repo, out, "--format", "html", collection="again")
        assert outcome.code == 1
        assert f"{out / east} is damaged: remove it, and export again." in outcome.output


FORMS = ("parquet", "html", "ecsv", "votable", "fits", "multispectrum")


@pytest.mark.parametrize("place", ["file/out", "closed/out", "readonly/out", "readonly", "/proc/out", "x" * 300])
def test_a_directory_that_cannot_be_written_is_one_line(repo: TargetRepo, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "readonly").mkdir(mode=0o555)
    out = tmp_path / place
    outcome = bound_program("butler", "export-spectra", repo.root, "spectra", out)
    assert outcome.code == 1
    assert re.fullmatch(rf"Error: {out} cannot be written: [^\n;]+; choose another place\.\n", outcome.output)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_is_one_line(repo: TargetRepo, tmp_path: Path, form: str) -> None:
    if form == "html":
        pytest.importorskip("plotly")
    out = tmp_path / "out"
    words = ("butler", "export-spectra", repo.root, "spectra", out, "--format", form)
    outcome = bound_program(*words, limits=[(resource.RLIMIT_FSIZE, 2000)])
    assert outcome.code == 1
    expected = f"Error: {out} cannot be written: File too large; make room and run the same command again.\n"
    assert outcome.output == expected
    assert bound_program(*words).code == 0


def test_a_page_does_not_show_means(repo: TargetRepo, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    outcome = export(repo, tmp_path / "out", "--format", "html", "--dataset-type", "channel_spectra")
    assert outcome.code == 1
    assert "leave out --dataset-type" in outcome.output


def test_a_page_has_the_inputs_and_stamps_of_measurements(tmp_path: Path, repo_root: Path) -> None:
    pytest.importorskip("plotly")
    files = tmp_path / "files"
    sources = Table({"name": ["star"], "ra": [310.1], "dec": [40.16], "flux": [2e4], "temperature": [3000.0]})
    sources.write(tmp_path / "stars.ecsv")
    words = "--product level2 --release qr3 --detectors 2,5 --first-exposure 3667 --exposures 1 --no-stars --shape 40"
    words += f" --center 310.1,40.16 --sources {tmp_path / 'stars.ecsv'} --quiet"
    assert CliRunner().invoke(simulate, [str(files), *words.split()]).exit_code == 0
    # A fast star, which was 30 arcsec (5 pixels) further west in 2016: where the images are it is in the middle.
    (file, _) = files.rglob("*.fits")
    years = Time(fits.getval(file, "MJD-BEG", 1), format="mjd").jyear - 2016.0
    sources["ra"] -= 30.0 / 3600 / np.cos(np.radians(40.16))
    sources["pmra"], sources["pmdec"], sources["ref_epoch"] = 3e4 / years, 0.0, 2016.0
    # Of the same patch, and in no image.
    sources.insert_row(0, sources[0])
    sources["name"], sources["dec"][0] = ["away", "star"], 40.0
    sources.write(tmp_path / "stars.ecsv", overwrite=True)
    log = ("--log", tmp_path / "log")
    assert butler_command("make-spectrum", repo_root, tmp_path / "stars.ecsv", "--files", files, *log).code == 0
    outcome = butler_command(
        "export-spectra", repo_root, "spectra/stars", tmp_path / "out", "--format", "html", "--stamps"
    )
    assert outcome.code == 0, outcome
    (page,) = (tmp_path / "out").glob("stars_*.html")
    text = page.read_text().partition('<script id="data" type="application/json">')[2].partition("</script>")[0]
    content = json.loads(text)
    with Butler.from_config(str(repo_root)) as butler:
        images = {str(ref.id): ref for ref in butler.query_datasets("level2", "SPHEREx/level2")}
        assert len(images) == 2
        for name, ref in images.items():
            known = content["inputs"][name]
            assert known["uri"] == str(butler.getURI(ref))
            assert known["run"] == ref.run
            assert f"exposure {ref.dataId['exposure']}" in known["data_id"]
    (stamps,) = content["stamps"]
    assert [stamp["detector"] for stamp in stamps] == [2, 5]
    for stamp in stamps:
        picture = imread(io.BytesIO(base64.b64decode(stamp["picture"].partition(",")[2])))
        assert picture.shape[:2] == (stamp["rows"], stamp["columns"]) == (21, 21)
        assert stamp["place"] == pytest.approx([10, 10], abs=0.51)
        # The mirror image of a map, turned by the roll angle of the telescope.
        (east_x, east_y), (north_x, north_y) = stamp["east"], stamp["north"]
        assert east_x * north_y - east_y * north_x == pytest.approx(-1, abs=0.01)
        assert (stamp["bar"], stamp["bar_label"]) == (pytest.approx(30 / 6.15, rel=0.03), "30 arcsec")
        # The star is in the middle of its stamp.
        brightness = picture[..., :3].sum(axis=2)
        assert brightness[9:12, 9:12].min() > np.median(brightness)
        assert np.unravel_index(np.argmax(brightness), brightness.shape)[1] in (9, 10, 11)
    assert '"unmeasured":["away"]' in page.read_text()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    command = [browser, *BROWSER, f"--user-data-dir={tmp_path / 'profile'}"]
    body = subprocess.run([*command, f"{page.as_uri()}#away"], **CAPTURE).stdout
    assert '<p id="unmeasured">Without a measurement: away</p>' in body
    assert '<h2 id="missing">away has no measurement.</h2>' in body
    shown = subprocess.run([*command, page.as_uri()], **CAPTURE)
    body = shown.stdout[shown.stdout.index("<body>") : shown.stdout.index('<script id="data"')]
    # Of the first measurement: the links to its image and catalogue.
    first = content["spectra"][0]["image_id"][0]
    assert f'<a href="{content["inputs"][first]["uri"]}">' in body
    assert content["inputs"][content["spectra"][0]["catalog_id"][0]]["data_id"] == "catalog stars"
    assert body.count("<img ") == body.count('<svg viewBox="-0.5 -0.5 21 21">') == 2
    assert body.count(">30 arcsec</text>") == body.count(">N</text>") == 2
    assert '<td class="words">PSF</td><td class="words">of the image</td>' in body
    assert " in 2016, moving by " in body


def test_stamps_need_the_images(repo: TargetRepo, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    outcome = export(repo, tmp_path / "out", "--format", "html", "--stamps")
    assert outcome.code == 1
    assert "is no longer in the repository: make the spectra again" in outcome.output
    assert export(repo, tmp_path / "pages", "--format", "html").code == 0
    outcome = export(repo, tmp_path / "pages", "--format", "html", "--stamps")
    assert outcome.code == 1
    assert "(stamps: False, now True): choose another directory" in outcome.output


def test_stamps_are_for_pages(repo: TargetRepo, tmp_path: Path) -> None:
    outcome = export(repo, tmp_path / "out", "--stamps")
    assert outcome.code == 2
    assert "--stamps is for --format html" in outcome.output
