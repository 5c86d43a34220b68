"""The public names of the package: few, imported late, each with an example that works."""

from __future__ import annotations

import doctest
import functools
import importlib
import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.modeling.models import BlackBody
from astropy.table import QTable, Table
from astropy.time import Time
from lsst.daf.butler import Butler
from lsst.resources import ResourcePath

import spherex
from spherex.errors import CatalogError, SearchError
from spherex.image import Cutout
from spherex.search import Criteria
from spherex.spectra import catalog_of, plot_finders, positions_at

from .ingest_helpers import butler_command
from .programs import run_well
from .search_helpers import Image, add_images

ROOT = Path(__file__).parents[1]
MOST_NAMES = 16
STAR = SkyCoord(310.1, 40.16, unit="deg")
FUNCTIONS = [name for name in spherex.__all__ if name != "__version__"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the examples name: image.fits, notes.txt and a repository REPO of four images."""
    folder = tmp_path_factory.mktemp("api")
    star = Table({"name": ["star"], "ra": [STAR.ra.deg], "dec": [STAR.dec.deg], "flux": [8000.0]})
    star["temperature"], star["slope"] = 5800.0, 0.0
    star.write(folder / "sources.ecsv", format="ascii.ecsv")
    words = ["files", "--product", "level2", "--release", "qr3", "--sources", "sources.ecsv", "--no-stars"]
    words += ["--exposures", "2", "--shape", "64", "--center", "310.1,40.16"]
    run_well("spherex-simulate", *words, cwd=folder)
    seed, dimensions = (f"resource://spherex/configs/{name}.yaml" for name in ("butler", "dimensions"))
    words = ("--override", "--seed-config", seed, "--dimension-config", dimensions)
    assert butler_command("create", *words, folder / "REPO").code == 0
    assert butler_command("ingest-level2", folder / "REPO", folder / "files").code == 0
    shutil.copy(sorted((folder / "files").rglob("level2_*D1_*.fits"))[0], folder / "image.fits")
    (folder / "notes.txt").write_text("notes\n")
    return folder


@pytest.fixture
def workspace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make that folder the current one."""
    monkeypatch.chdir(folder)
    return folder


def test_there_are_few_names() -> None:
    names = dir(spherex)
    assert set(names) == set(spherex.__all__)
    assert len(names) <= MOST_NAMES
    for name in names:
        assert getattr(spherex, name) is not None


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'spherex' has no attribute 'raed'"):
        spherex.raed  # noqa: B018
    assert not hasattr(spherex, "__wrapped__")


def test_rooms_are_reached_from_the_package_alone() -> None:
    code = "import spherex; print(spherex.spectra.spectrum_in.__name__, hasattr(spherex, 'spectrums'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "spectrum_in False\n"


def test_all_names_can_be_imported_at_once() -> None:
    code = "from spherex import *; print(read.__module__, SPHERExImage.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["spherex.fits.reading", "SPHERExImage"]


def test_names_are_those_that_type_checkers_see() -> None:
    """The imports for type checkers, and those that are done late, name the same objects."""
    source = inspect.getsource(spherex)
    block = source[source.index("if TYPE_CHECKING:") : source.index("__version__: str")]
    seen: dict[str, object] = {}
    for line in block.splitlines()[1:]:
        exec(line.strip(), seen)
    del seen["__builtins__"]
    assert seen.keys() == set(FUNCTIONS)
    for name, value in seen.items():
        assert getattr(spherex, name) is value


@pytest.mark.parametrize("name", FUNCTIONS)
def test_examples_work(name: str, workspace: Path) -> None:
    value = getattr(spherex, name)
    module = importlib.import_module(value.__module__)
    tests = doctest.DocTestFinder(recurse=False).find(value, name, module, globs={})
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    printed: list[str] = []
    for test in tests:
        runner.run(test, out=printed.append)
    # Python 3.13 counts skipped lines as attempted, earlier versions do not.
    assert sum(len(test.examples) for test in tests) > 1, "no example"
    assert not printed, "".join(printed)


@pytest.mark.parametrize("kind", [str, Path, ResourcePath, lambda path: ResourcePath(path).geturl()])
def test_images_are_read_and_written_wherever_they_are_named(folder: Path, tmp_path: Path, kind: type) -> None:
    image = spherex.read(kind(folder / "image.fits"), (0, 20, 0, 10))
    spherex.write(image, kind(tmp_path / "part.fits"))
    with pytest.raises(FileExistsError):
        spherex.write(image, kind(tmp_path / "part.fits"))
    with spherex.open(kind(tmp_path / "part.fits")) as product:
        np.testing.assert_array_equal(product.image().value, image.data)


def test_images_are_written_to_a_bucket(folder: Path, bucket: str) -> None:
    image = spherex.read(folder / "image.fits", (0, 20, 0, 10))
    spherex.write(image, f"{bucket}/part.fits")
    np.testing.assert_array_equal(spherex.read(f"{bucket}/part.fits").data, image.data)
    with pytest.raises(FileExistsError):
        spherex.write(image, f"{bucket}/part.fits")
    spherex.write(image, ResourcePath(f"{bucket}/part.fits"), overwrite=True)


def test_parts_are_named_in_every_way(folder: Path) -> None:
    path = folder / "image.fits"
    whole = spherex.read(path)
    box = spherex.Box(3, 20, 5, 10)
    for part in (box, (3, 20, 5, 10), Cutout(box)):
        np.testing.assert_array_equal(spherex.read(path, part).data, whole.data[5:10, 3:20])
    around = spherex.read(path, position=STAR, size=(7, 9))
    np.testing.assert_array_equal(around.data, spherex.read(path, Cutout(position=STAR, size=(7, 9))).data)
    assert spherex.read(path, position=STAR, size=300, mode="pad").shape == (300, 300)
    assert list(spherex.read(path, planes=["WCS-WAVE"]).planes) == ["WCS-WAVE"]
    for wrong in ({"position": STAR}, {"size": 3}, {"cut": Cutout(box), "position": STAR, "size": 3}):
        with pytest.raises(ValueError, match="position and a size"):
            spherex.read(path, **wrong)


def test_a_repository_is_searched_wherever_it_is_named(folder: Path) -> None:
    root = folder / "REPO"
    with Butler.from_config(str(root)) as butler:
        expected = spherex.find_images(butler, Criteria(STAR.ra.deg, STAR.dec.deg)).table
        assert len(expected) == 4
        for repo in (butler, str(root), root, ResourcePath(root)):
            table = spherex.find_images(repo, STAR.galactic).table
            assert table["address"].tolist() == expected["address"].tolist()
    with pytest.raises(spherex.UserError, match="is not a repository"):
        spherex.find_images(folder / "files", STAR)


def test_a_search_takes_objects_of_astropy(folder: Path) -> None:
    root = folder / "REPO"
    everything = spherex.find_images(root, STAR).table
    middle = Time(everything["mjd"].mean(), format="mjd", scale="utc")
    early = spherex.find_images(root, STAR, times=(middle - 1 * u.day, middle)).table
    assert 0 < len(early) < len(everything)
    assert set(early["exposure"]) == {min(everything["exposure"])}
    first = spherex.find_images(root, STAR, detectors=(1,), wavelengths=[7000, 9000] * u.AA).table
    assert first["detector"].tolist() == [1, 1]
    assert len(spherex.find_images(root, STAR, wavelengths=(0.7, 0.9)).table) == 2
    beside = STAR.directional_offset_by(0 * u.deg, 0.2 * u.deg)
    assert len(spherex.find_images(root, beside).table) < 4
    assert len(spherex.find_images(root, beside, radius=20 * u.arcmin).table) == 4
    assert len(spherex.find_images(root, beside, radius=1 / 3).table) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radius": 3 * u.um}, "cannot be converted to deg"),
        ({"wavelengths": [1, 2] * u.deg}, "cannot be converted to um"),
        ({"times": (Time("2026-01-02"), Time("2026-01-01"))}, "is not after the begin"),
        ({"detectors": (9,)}, "no detector 9"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(folder: Path, arguments: dict, message: str) -> None:
    with pytest.raises(SearchError, match=message):
        spherex.find_images(folder / "REPO", STAR, **arguments)
    with pytest.raises(SearchError, match="one position, not at 2"):
        spherex.find_images(folder / "REPO", SkyCoord([1, 2], [3, 4], unit="deg"))
    with pytest.raises(SearchError, match="not for a Criteria object"):
        spherex.find_images(folder / "REPO", Criteria(1.0, 2.0), **arguments)


def test_a_cutout_is_of_the_image_nearest_in_wavelength(folder: Path) -> None:
    root = folder / "REPO"
    table = spherex.find_images(root, STAR).table
    assert len(set(table["wavelength"].tolist())) == len(table) == 4
    for row in table:
        beside = 1.001 * row["wavelength"] * u.um
        for wavelength in (row["wavelength"], beside.to(u.AA)):
            part = spherex.cutout(root, STAR, (7, 9), wavelength=wavelength)
            np.testing.assert_array_equal(part.data, spherex.read(row["address"], position=STAR, size=(7, 9)).data)
            assert part.header["EXPIDN"] == row["exposure"] * 10 + row["detector"]
    with pytest.warns(UserWarning, match=r"nearer to 0\.8 um than one of 2\.4\d+ um, which is returned"):
        assert spherex.cutout(root, STAR, 5, wavelength=0.8, detectors=(4,)).header["DETECTOR"] == 4
    nearest = table["wavelength"][table["detector"] == 4].min()
    spherex.cutout(root, STAR, 5, wavelength=nearest / 1.049, detectors=(4,))
    with pytest.warns(UserWarning, match="which is returned"):
        spherex.cutout(root, STAR, 5, wavelength=nearest / 1.052, detectors=(4,))
    assert spherex.cutout(root, STAR, 300, wavelength=0.8, mode="pad").shape == (300, 300)


def moving(root: Path, speed: float, **others: object) -> SkyCoord:
    """Return the position in 2016 of a star that is at `STAR` in the images, with its speed (arcsec/yr)."""
    middle = Time(spherex.find_images(root, STAR).table["mjd"].mean(), format="mjd", scale="utc")
    motion = {"pm_ra_cosdec": 0.6 * speed * u.arcsec / u.yr, "pm_dec": -0.8 * speed * u.arcsec / u.yr}
    now = SkyCoord(STAR.ra, STAR.dec, **motion, distance=10 * u.pc, obstime=middle)
    then = now.apply_space_motion(new_obstime=Time(2016.0, format="jyear", scale="tdb"))
    motion = {"pm_ra_cosdec": then.pm_ra_cosdec, "pm_dec": then.pm_dec, "obstime": then.obstime}
    return SkyCoord(then.ra, then.dec, **{**motion, **others})


@pytest.mark.parametrize("speed", [5.0, 60.0])
def test_motions_are_applied_in_cutouts_and_searches_as_in_spectra(folder: Path, speed: float) -> None:
    """In 2016 the fast star is outside of all images."""
    root = folder / "REPO"
    star = moving(root, speed)
    still = SkyCoord(star.ra, star.dec)
    assert len(spherex.find_images(root, still).table) == (4 if speed < 10 else 0)
    for other in (star, star.galactic):
        for exact in (False, True):
            found = spherex.find_images(root, other, exact=exact, sort="wavelength").table
            spectrum = spherex.spectrum(root, other)
            assert len(found) == len(spectrum) == 4
            for name in "xy":
                np.testing.assert_allclose(found[name], spectrum[name].value, atol=2e-3 if exact else 10)
        part = spherex.cutout(root, other, 5, wavelength=2.4)
        assert part.bbox == spherex.cutout(root, STAR, 5, wavelength=2.4).bbox


@pytest.mark.parametrize(
    "use",
    [
        lambda star: spherex.cutout("REPO", star, 5, wavelength=2.4),
        lambda star: spherex.find_images("REPO", star),
        lambda star: spherex.spectrum("REPO", star),
        lambda star: spherex.measure_targets("image.fits", star),
        lambda star: plot_finders([spherex.read("image.fits")], star),
    ],
)
def test_motions_without_an_epoch_are_refused(workspace: Path, use: Callable[[SkyCoord], object]) -> None:
    with pytest.raises(spherex.UserError, match=r"has a proper motion, but no obstime: add .* obstime=Time\(2016"):
        use(moving(Path("REPO"), 5.0, obstime=None))
    use(SkyCoord(STAR.ra, STAR.dec, pm_ra_cosdec=0 * u.mas / u.yr, pm_dec=0 * u.mas / u.yr))
    # What moves along the line of sight is at rest on the sky.
    use(SkyCoord(STAR.ra, STAR.dec, radial_velocity=5 * u.km / u.s))


def test_motions_of_tables_without_an_epoch_are_refused(workspace: Path) -> None:
    table = Table({"name": ["a"], "ra": [STAR.ra.deg], "dec": [STAR.dec.deg], "pmra": [5.0], "pmdec": [0.0]})
    for use in (lambda: spherex.spectrum("REPO", table), lambda: spherex.measure_targets("image.fits", table)):
        with pytest.raises(CatalogError, match="one of pmra, pmdec and ref_epoch is missing for target a"):
            use()


def test_collections_are_one_or_several(workspace: Path) -> None:
    (run,) = set(spherex.find_images("REPO", STAR).table["run"])
    for collections in (run, [run], (run,), ["SPHEREx/level2", run]):
        assert len(spherex.spectrum("REPO", STAR, collections=collections, calibrations="absent")) == 4
        assert len(spherex.find_images("REPO", STAR, collections=collections).table) == 4
    with pytest.raises(SearchError, match="no image of absent, other is at"):
        spherex.spectrum("REPO", STAR, collections=["absent", "other"])


def test_a_wrong_condition_is_a_user_error(workspace: Path) -> None:
    cutout = functools.partial(spherex.cutout, size=5, wavelength=2.4)
    for use in (spherex.spectrum, spherex.find_images, cutout):
        with pytest.raises(spherex.UserError, match="the condition 'detctor=2' is not a query: Unrecognized"):
            use("REPO", STAR, where="detctor=2")


def test_a_target_that_cannot_be_measured_is_named(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = Table({"name": ["star", "beside"], "ra": [STAR.ra.deg] * 2, "dec": [STAR.dec.deg] * 2})
    spherex.spectrum("REPO", table, where="detector = 1")
    assert "detector 1 has no flux of star, beside: " in caplog.text


@pytest.mark.parametrize("wavelength", [0, -1 * u.um, np.nan, np.inf, [1, 2] * u.um, 3 * u.deg])
def test_a_cutout_at_no_wavelength_is_refused(folder: Path, wavelength: object) -> None:
    with pytest.raises(SearchError, match="one positive length|cannot be converted to um"):
        spherex.cutout(folder / "REPO", STAR, 5, wavelength=wavelength)


def test_a_cutout_at_a_wavelength_of_no_detector_is_refused(folder: Path) -> None:
    """The nearest image of all would be that of another colour."""
    with pytest.raises(SearchError, match="no detector has wavelengths from 1300 to 1300 um; .* from 0.75 to 5"):
        spherex.cutout(folder / "REPO", STAR, 5, wavelength=1300 * u.um)


def test_a_cutout_where_no_image_is_names_the_way_to_get_one(folder: Path) -> None:
    with pytest.raises(SearchError, match=r"no image contains RA 10\.000000, Dec -10\.000000: .* find-archive"):
        spherex.cutout(folder / "REPO", SkyCoord(10, -10, unit="deg"), 5, wavelength=2.0)


def test_a_cutout_of_images_without_wavelengths_is_refused(repo_root: Path, tmp_path: Path) -> None:
    image = Image()
    add_images(repo_root, [image], tmp_path, wavelengths=False)
    with pytest.raises(SearchError, match="wavelengths of the images at the position are not known"):
        spherex.cutout(repo_root, SkyCoord(image.ra, image.dec, unit="deg"), 5, wavelength=1.0)


def test_targets_are_measured_in_files_and_in_memory(folder: Path) -> None:
    path = folder / "image.fits"
    image = spherex.read(path)
    expected = spherex.measure_targets(path, STAR)
    assert expected is not None
    body = BlackBody(5800 * u.K)
    truth = float(8000 * body(expected["wavelength"].quantity[0]) / body(1.6 * u.um))
    assert abs(expected["flux"][0] - truth) < 5 * expected["flux_error"][0]
    assert expected["detector"][0] == image.header["DETECTOR"]
    assert expected["exposure"][0] * 10 + expected["detector"][0] == image.header["EXPIDN"]
    table = Table({"name": ["1"], "ra": [STAR.ra.deg], "dec": [STAR.dec.deg]})
    for source in (str(path), ResourcePath(path), image):
        for targets in (STAR, SkyCoord([STAR]), STAR.galactic, table):
            found = spherex.measure_targets(source, targets)
            assert found is not None
            # From another frame the position comes back with another last bit.
            for name in ("flux", "wavelength", "x", "y"):
                np.testing.assert_allclose(found[name], expected[name], rtol=1e-8)
    assert spherex.measure_targets(path, SkyCoord(10, 10, unit="deg")) is None
    assert len(spherex.gather_spectrum([None, expected, None])) == 1


def test_a_file_that_cannot_be_measured_is_a_user_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(spherex.UserError, match=r"notes\.txt"):
        spherex.measure_targets(folder / "notes.txt", STAR)
    with pytest.raises(FileNotFoundError):
        spherex.measure_targets(tmp_path / "none.fits", STAR)


def test_an_image_without_psf_or_wavelength_gives_the_reason(folder: Path) -> None:
    image = spherex.read(folder / "image.fits", planes=["EPSF"])
    found = spherex.measure_targets(image, STAR)
    assert found is not None
    assert "wavelength" in found["reason"][0]
    image = spherex.read(folder / "image.fits", planes=["WCS-WAVE"])
    found = spherex.measure_targets(image, STAR)
    assert found is not None
    assert "PSF" in found["reason"][0]
    assert np.isnan(found["flux"][0])


def test_a_wcs_set_by_hand_counts_in_memory_as_in_a_file(folder: Path, tmp_path: Path) -> None:
    image = spherex.read(folder / "image.fits")
    before = spherex.measure_targets(image, STAR)
    image.wcs.wcs.crpix += 2
    after = spherex.measure_targets(image, STAR)
    spherex.write(image, tmp_path / "moved.fits")
    written = spherex.measure_targets(tmp_path / "moved.fits", STAR)
    for name in "xy":
        assert after[name][0] - before[name][0] == pytest.approx(2, abs=0.1)
        assert after[name][0] == pytest.approx(written[name][0], abs=1e-6)


def test_a_wrong_exposure_id_is_a_user_error(folder: Path) -> None:
    image = spherex.read(folder / "image.fits")
    image.header["EXPIDN"] = 7
    with pytest.raises(spherex.UserError, match="EXPIDN in the header: 7 is not an integer exposure ID"):
        spherex.measure_targets(image, STAR)
    del image.header["EXPIDN"]
    found = spherex.measure_targets(image, STAR)
    assert found is not None
    assert found["exposure"][0] == -1


def test_units_of_targets_are_converted() -> None:
    table = QTable({"name": ["a"], "ra": [3.0] * u.hourangle, "dec": [30.0] * u.arcmin})
    table["pmra"], table["pmdec"], table["ref_epoch"] = [1.0] * u.arcsec / u.yr, [-2.0] * u.mas / u.yr, 2016.0
    catalog = catalog_of(table)
    assert catalog["ra"][0] == pytest.approx(45.0)
    assert catalog["dec"][0] == pytest.approx(0.5)
    assert (catalog["pmra"][0], catalog["pmdec"][0]) == pytest.approx((1000.0, -2.0))
    plain = Table({"name": ["a"], "ra": [45.0], "dec": [0.5]})
    assert catalog_of(plain) is plain
    with pytest.raises(CatalogError, match="column ra .* is in m; give it in deg"):
        catalog_of(QTable({"name": ["a"], "ra": [3.0] * u.m, "dec": [30.0] * u.arcmin}))
    with pytest.raises(CatalogError, match="no column name, dec"):
        catalog_of(Table({"ra": [1.0]}))


def test_proper_motions_of_positions_are_kept() -> None:
    star = SkyCoord(
        269.45,
        4.69,
        unit="deg",
        pm_ra_cosdec=-801.6 * u.mas / u.yr,
        pm_dec=10362.4 * u.mas / u.yr,
        obstime=Time(2016.0, format="jyear", scale="tdb"),
    )
    (moved,) = positions_at(catalog_of(star), Time(2026.0, format="jyear", scale="tdb"))
    assert moved.dec.deg - 4.69 == pytest.approx(103.624 / 3600, rel=1e-4)


def test_the_version_is_known_or_unknown(tmp_path: Path) -> None:
    """Metadata first, then what scons writes, then the word unknown; never an error."""
    package = tmp_path / "spherex"
    package.mkdir()
    shutil.copy(Path(spherex.__file__), package / "__init__.py")
    code = (
        "import importlib.metadata, sys\n"
        "def lost(name): raise importlib.metadata.PackageNotFoundError(name)\n"
        "if 'lost' in sys.argv: importlib.metadata.version = lost\n"
        "else: importlib.metadata.version = {'spherex-butler': '9.8.7'}.__getitem__\n"
        "import spherex; print(spherex.__version__)"
    )

    def version(*words: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", code, *words]
        return subprocess.check_output(command, text=True, env=environment).strip()

    assert version() == "9.8.7"
    assert version("lost") == "unknown"
    (package / "version.py").write_text('__version__ = "1.2.3"\n')
    assert version("lost") == "1.2.3"


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: spherex.find_images("REPO", (310.1, 40.16)), "the position is a tuple, not an astropy"),
        (lambda: spherex.find_images("REPO", SkyCoord(310.1, 40.16, unit="deg"), wavelengths=1.3), "the longest one"),
        (lambda: spherex.measure_targets("image.fits", "M31"), "targets are a SkyCoord or an astropy Table, not a str"),
    ],
)
def test_arguments_of_another_kind_are_explained(call, reason, workspace):
    with pytest.raises(spherex.UserError, match=reason):
        call()
