"""Stale-spectra, and pipetask that remakes what it lists."""

from __future__ import annotations

import json
import os
import re
import shutil
import types
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from lsst.daf.butler import Butler, CollectionType, Config, Timespan
from sqlalchemy import Engine, event

import spherex
from spherex.cli.commands import stale_spectra
from spherex.detectors import catalog_collection
from spherex.provenance import queries_of_images, queries_of_patches
from spherex.provenance.inputs import Place
from spherex.provenance.stale_spectra import _version_of

from .ingest_helpers import Outcome, butler_command
from .programs import run_program
from .spectra_helpers import CATALOG, IMAGE_DIMENSIONS, PLACES, TargetRepo
from .test_readme import ROOT

PIPELINE = """\
description: Spectra of images that are only a number.
imports:
  - location: resource://spherex/pipelines/ingredients/Spectra.yaml
tasks:
  measureTargets:
    class: tests.measuring_task.MeasureNumberTask
subsets:
  measurements:
    subset: [measureTargets]
"""

OTHER_TYPES = """\
description: The same, with other dataset types.
parameters:
  measurements: my_measurements
  spectra: my_spectra
  channelSpectra: my_channel_spectra
imports:
  - location: resource://spherex/pipelines/ingredients/Spectra.yaml
tasks:
  measureTargets:
    class: tests.measuring_task.MeasureNumberTask
    config:
      connections.table: parameters.measurements
subsets:
  measurements:
    subset: [measureTargets]
"""

TASKS = ("measureTargets", "gatherSpectra", "combineChannels")


@pytest.fixture(scope="module")
def processed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with spectra of `west`, from three images, and `east`, from two; not to be changed."""
    root = tmp_path_factory.mktemp("stale") / "repo"
    configs = "resource://spherex/configs"
    seed, dimensions = Config(f"{configs}/butler.yaml"), f"{configs}/dimensions.yaml"
    Butler.makeRepo(str(root), config=seed, dimensionConfig=dimensions, forceConfigRoot=False)
    repo = TargetRepo.make(root)
    repo.certify("first")
    for exposure in range(3):
        repo.add_image(exposure)
    for exposure in (10, 11):
        repo.add_image(exposure, target="east")
    (root / "pipeline.yaml").write_text(PIPELINE)
    pipetask(repo)
    repo.butler.close()
    return root


@pytest.fixture
def repo(processed: Path, tmp_path: Path) -> Iterator[TargetRepo]:
    """Return a copy of that repository."""
    root = shutil.copytree(processed, tmp_path / "repo")
    repo = TargetRepo(root, Butler.from_config(str(root), writeable=True))
    with repo.butler:
        yield repo


def pipetask(
    repo: TargetRepo,
    query: str = f"catalog = '{CATALOG}'",
    *,
    inputs: str = f"SPHEREx/level2,SPHEREx/calib,catalogs/{CATALOG}",
    subset: str = "",
    succeeds: bool = True,
) -> dict[str, int]:
    """Run the pipeline into a new run, the first of the chain `spectra`; return the number of quanta of each task."""
    run = f"spectra/{uuid.uuid4().hex[:8]}"
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = ["run", "-b", repo.root, "-p", f"{repo.root / 'pipeline.yaml'}{subset}", "--register-dataset-types"]
    options = ["-i", inputs, "--output-run", run, "-d", query]
    done = run_program("pipetask", *command, *options, env=os.environ | {"PYTHONPATH": path})
    assert (done.returncode == 0) is succeeds, done.stdout + done.stderr
    assert butler_command("collection-chain", repo.root, "spectra", "--mode", "prepend", run).code == 0
    with Butler.from_config(str(repo.root), collections=run) as butler:
        counts = {name: len(butler.query_datasets(f"{name}_metadata", explain=False)) for name in TASKS}
    return {name: number for name, number in counts.items() if number}


def stale(repo: TargetRepo, *options: str) -> Outcome:
    return butler_command("stale-spectra", repo.root, "spectra", *options)


def reasons(repo: TargetRepo, *options: str, collection: str = "spectra") -> dict[str, str]:
    """Return why spectra are out of date, by target."""
    outcome = butler_command("stale-spectra", repo.root, collection, "--format", "ecsv", *options)
    assert outcome.code == 0, outcome
    text = outcome.output[outcome.output.index("# %ECSV") :]
    lines = [line for line in text.splitlines() if "spectra are out of date" not in line]
    table = Table.read(lines, format="ascii.ecsv")
    return dict(zip(table["target"].tolist(), table["reason"].tolist(), strict=True))


def fluxes(repo: TargetRepo, target: str) -> list[float]:
    with Butler.from_config(str(repo.root), collections="spectra") as butler:
        return spherex.get_spectrum(butler, CATALOG, target)["flux"].value.tolist()


def patch_of(repo: TargetRepo, target: str) -> int:
    (record,) = repo.butler.query_dimension_records("target", catalog=CATALOG, target=target)
    return record.patch


def spectra_id(repo: TargetRepo, target: str) -> str:
    """Return the UUID of the spectra of the patch of a target."""
    patch = patch_of(repo, target)
    return str(repo.butler.find_dataset("spectra", catalog=CATALOG, patch=patch, collections="spectra").id)


def test_spectra_of_today_are_not_stale(repo):
    outcome = stale(repo)
    assert outcome.code == 0
    (line,) = outcome.output.splitlines()
    remedy = f"To look for image files that are missing or were replaced: butler check-provenance {repo.root}"
    assert line == f"0 of 2 spectra are out of date. {remedy}"
    assert stale(repo, "--print-query", "patches").output.splitlines() == [line]
    assert reasons(repo) == {}


def test_a_newer_version_of_an_image(repo):
    repo.add_image(1, run="v2")
    assert reasons(repo) == {"west": "1 image superseded"}
    header, _, row, _ = stale(repo).output.splitlines()
    assert header.split() == ["catalog", "target", "run", "reason"]
    assert row.split()[:2] == [CATALOG, "west"]
    assert row.endswith("1 image superseded")
    # What is newest depends on the chain.
    assert reasons(repo, "--images", "SPHEREx/level2/v1") == {}


def test_a_new_image_and_one_that_is_gone(repo):
    repo.add_image(3)
    repo.add_image(4, detector=2)
    removed = repo.butler.find_dataset(
        "level2", instrument="SPHEREx", exposure=10, detector=1, collections="SPHEREx/level2"
    )
    repo.butler.pruneDatasets([removed], unstore=True, purge=True)
    assert reasons(repo) == {"west": "2 images new", "east": "1 image no longer there"}
    assert reasons(repo, "--where", "instrument = 'SPHEREx' AND detector = 1")["west"] == "1 image new"


@pytest.mark.slow
def test_a_spectrum_with_an_image_that_is_gone_needs_the_whole_pipeline(repo):
    removed = repo.butler.find_dataset(
        "level2", instrument="SPHEREx", exposure=10, detector=1, collections="SPHEREx/level2"
    )
    repo.butler.pruneDatasets([removed], unstore=True, purge=True)
    assert reasons(repo) == {"east": "1 image no longer there"}
    warning = "1 of these spectra contain images that are no longer in SPHEREx/level2: #spectra would gather"
    assert warning in stale(repo, "--print-query", "images").output
    patches = stale(repo, "--print-query", "patches").output
    assert warning in patches
    # The measurements of the image are still in the chain, but the whole pipeline does not find the image.
    pipetask(repo, patches.splitlines()[0])
    assert reasons(repo) == {}
    assert warning not in stale(repo, "--print-query", "images").output


def test_new_images_were_not_measured_before(repo):
    repo.add_image(3)
    repo.add_image(1, run="v2")
    output = stale(repo, "--print-query", "patches").output
    assert "measurements" not in output.casefold()


@pytest.mark.slow
def test_measurements_are_those_that_the_spectra_were_made_from(repo):
    (repo.root / "pipeline.yaml").write_text(OTHER_TYPES)
    pipetask(repo)
    repo.add_image(1, run="v2")
    options = ("--dataset-type", "my_spectra")
    assert reasons(repo, *options) == {"west": "1 image superseded"}
    removed = repo.butler.query_datasets(
        "my_measurements", "spectra", where="instrument = 'SPHEREx' AND exposure.id = 2"
    )
    repo.butler.pruneDatasets(removed, unstore=True, purge=True)
    # Those of the other pipeline are still there.
    assert reasons(repo, *options) == {"west": "1 image superseded, 1 image of the patch without their measurements"}
    assert reasons(repo) == {"west": "1 image superseded"}


def test_a_collection_without_any_measurements(repo):
    repo.butler.collections.register("tagged", CollectionType.TAGGED)
    repo.butler.registry.associate("tagged", repo.butler.query_datasets("spectra", "spectra"))
    repo.add_image(1, run="v2")
    outcome = butler_command("stale-spectra", repo.root, "tagged")
    assert outcome.code == 0
    assert "1 image superseded\n" in outcome.output
    assert "tagged does not have any target_measurements: images without measurements are not listed." in outcome.output
    output = butler_command("stale-spectra", repo.root, "tagged", "--print-query", "images").output
    assert output.startswith(
        f"catalog = '{CATALOG}' AND instrument = 'SPHEREx' AND detector IN (1) AND (exposure IN (1))"
    )


def test_an_image_that_was_purged_and_ingested_again(repo):
    old = repo.butler.find_dataset(
        "level2", instrument="SPHEREx", exposure=10, detector=1, collections="SPHEREx/level2"
    )
    repo.butler.pruneDatasets([old], unstore=True, purge=True)
    repo.add_image(10, target="east")
    assert reasons(repo) == {"east": "1 image superseded"}


def test_all_images_were_purged_and_ingested_again(repo):
    old = repo.butler.query_datasets("level2", collections="SPHEREx/level2/*", find_first=False)
    repo.butler.pruneDatasets(old, unstore=True, purge=True)
    assert reasons(repo) == {"west": "3 images no longer there", "east": "2 images no longer there"}
    for exposure in range(3):
        repo.add_image(exposure)
    for exposure in (10, 11):
        repo.add_image(exposure, target="east")
    assert reasons(repo) == {"west": "3 images superseded", "east": "2 images superseded"}


def test_images_of_an_unknown_type_are_found_by_their_place(repo):
    exposures = "instrument = 'SPHEREx' AND exposure.id < 3"
    images = repo.butler.query_datasets("level2", collections="SPHEREx/level2/v1", where=exposures)
    repo.register("other_images", IMAGE_DIMENSIONS, "StructuredDataDict")
    for image in images:
        repo.butler.put({"flux": 1.0}, "other_images", image.dataId, run=image.run)
    repo.butler.pruneDatasets(images, unstore=True, purge=True)
    # West does not know the type of its images any more, unlike East in the same batch.
    assert reasons(repo) == {"west": "3 images superseded"}


@pytest.mark.slow
def test_an_image_with_the_target_off_its_frame_is_no_new_one(repo):
    repo.add_image(5, targets=["another"])
    pipetask(repo)
    assert len(fluxes(repo, "west")) == 3
    assert reasons(repo) == {}


@pytest.mark.slow
def test_targets_in_one_image_are_all_told(repo):
    # West of west, in the same images and the same patch.
    repo.register_targets(PLACES | {"beside": (9.9, 20.0)})
    for exposure in range(3):
        repo.add_image(exposure, run="v2", targets=["west", "beside"])
    pipetask(repo)
    assert reasons(repo) == {}
    repo.add_image(2, run="v3", targets=["west", "beside"])
    assert reasons(repo) == dict.fromkeys(("beside", "west"), "1 image superseded")


def test_another_calibration_is_valid_at_the_time_of_some_exposures(repo):
    (old,) = repo.butler.query_datasets("spectral_wcs", collections="SPHEREx/calib/first")
    repo.butler.registry.decertify("SPHEREx/calib", "spectral_wcs", Timespan(None, None))
    repo.butler.registry.certify("SPHEREx/calib", [old], _until(repo, 1.5))
    repo.certify("second", begin=1.5)
    assert reasons(repo) == {
        "west": "1 image with another spectral_wcs",
        "east": "2 images with another spectral_wcs",
    }


def _until(repo: TargetRepo, exposure: float) -> Timespan:
    from astropy.time import Time

    from .spectra_helpers import FIRST_MJD

    return Timespan(None, Time(FIRST_MJD + 0.01 * exposure, format="mjd", scale="utc").tai)


MOVED = PLACES | {"west": (10.0, 20.0 + 20 / 3600)}


@pytest.mark.slow
def test_a_target_that_moved_in_the_catalogue_is_measured_again(repo):
    before = spectra_id(repo, "east")
    assert repo.register_targets(MOVED).changed == 1
    assert reasons(repo) == {"west": "moved in the catalogue"}
    images, patches = (stale(repo, "--print-query", what).output.splitlines()[0] for what in ("images", "patches"))
    assert pipetask(repo, images, subset="#measurements") == {"measureTargets": 3}
    pipetask(repo, patches, inputs=f"spectra,catalogs/{CATALOG}", subset="#spectra")
    assert spectra_id(repo, "east") == before
    assert reasons(repo) == {}


@pytest.mark.slow
def test_at_its_new_place_a_target_may_be_on_other_frames(repo):
    repo.add_image(5, targets=["another"])
    pipetask(repo)
    repo.register_targets(MOVED)
    assert reasons(repo) == {"west": "moved in the catalogue, 1 image new"}


@pytest.mark.slow
def test_a_catalogue_that_moved_as_a_whole_takes_no_query_for_each_target(repo):
    beside = {f"beside {number}": (10.0 + 0.001 * number, 20.0) for number in range(5)}
    repo.register_targets(PLACES | beside)
    repo.add_image(5, targets=["west", *beside])
    pipetask(repo)
    asked = []

    def count(*arguments):
        asked.append(arguments[2])

    numbers = []
    for moved in (1, 5):
        places = {name: (ra, dec + 1e-4 * (place < moved)) for place, (name, (ra, dec)) in enumerate(beside.items())}
        repo.register_targets(PLACES | places)
        event.listen(Engine, "before_cursor_execute", count)
        try:
            assert len(reasons(repo)) == moved
        finally:
            event.remove(Engine, "before_cursor_execute", count)
        numbers.append(len(asked))
        asked.clear()
    assert 0 < numbers[1] <= numbers[0]


def test_a_target_that_the_catalogue_has_no_more(repo):
    repo.register_targets({"east": PLACES["east"]})
    assert reasons(repo) == {"west": "no longer in the catalogue"}
    assert stale(repo, "--print-query", "images").output.startswith("1 of 2 spectra are out of date.")
    query = stale(repo, "--print-query", "patches").output.splitlines()[0]
    assert query == f"catalog = '{CATALOG}' AND patch IN ({patch_of(repo, 'west')})"
    newest = repo.butler.get("patch_targets", catalog=CATALOG, patch=patch_of(repo, "west"),
                             collections=f"catalogs/{CATALOG}")  # fmt: skip
    assert len(newest) == 0


@pytest.mark.slow
def test_remaking_its_patch_leaves_out_a_target_that_the_catalogue_has_no_more(repo):
    beside = {"beside": (9.9, 20.0)}
    repo.register_targets(PLACES | beside)
    for exposure in range(3):
        repo.add_image(exposure, run="v2", targets=["west", "beside"])
    pipetask(repo)
    assert len(fluxes(repo, "beside")) == len(fluxes(repo, "west")) == 3
    repo.register_targets({"east": PLACES["east"]} | beside)
    query = stale(repo, "--print-query", "patches").output.splitlines()[0]
    pipetask(repo, query, inputs=f"spectra,catalogs/{CATALOG}", subset="#spectra")
    assert reasons(repo) == {}
    with pytest.raises(spherex.UserError, match="target west of the catalogue nearby is registered, but"):
        fluxes(repo, "west")
    assert len(fluxes(repo, "beside")) == 3


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"flux": [1.0, 2.0]}, {}),
        # Without a motion the epoch does not matter.
        ({"pmra": [0.0, np.nan], "pmdec": [0.0, np.nan], "ref_epoch": [2016.0, 2000.0]}, {}),
        (
            {"pmra": [0.0, 5.0], "pmdec": [0.0, 5.0], "ref_epoch": [2016.0, 2016.0]},
            {"east": "moved in the catalogue"},
        ),
    ],
)
def test_only_what_the_position_depends_on_is_compared(repo, columns, expected):
    assert not repo.register_targets(PLACES, **columns).is_nothing
    assert reasons(repo) == expected


def test_a_spectrum_that_does_not_tell_its_catalogue_is_not_compared(repo):
    patch = patch_of(repo, "west")
    old = repo.butler.find_dataset("spectra", catalog=CATALOG, patch=patch, collections="spectra")
    spectra = repo.butler.get(old)
    column = spectra.column_names.index("catalog_id")
    spectra = spectra.set_column(column, spectra.schema.field(column), [[""] * len(spectra)])
    repo.butler.collections.register("older")
    repo.butler.put(spectra, old.replace(run="older", id=uuid.uuid4()))
    repo.register_targets(MOVED)
    assert reasons(repo, collection="older") == {}
    assert reasons(repo, "--catalogs", "elsewhere", collection="older") == {}


def test_a_version_of_the_catalogue_that_is_gone(repo):
    (old,) = repo.butler.query_datasets("target_catalog", collections=f"catalogs/{CATALOG}")
    repo.register_targets(MOVED)
    repo.butler.pruneDatasets([old], unstore=True, purge=True, disassociate=True)
    assert reasons(repo) == dict.fromkeys(PLACES, "with a position of a catalogue that is no longer there")


@pytest.mark.parametrize("is_newest", [False, True])
def test_the_file_of_a_catalogue_that_is_gone(repo, is_newest):
    (old,) = repo.butler.query_datasets("target_catalog", collections=f"catalogs/{CATALOG}")
    repo.register_targets(MOVED)
    newest = repo.butler.find_dataset("target_catalog", catalog=CATALOG, collections=f"catalogs/{CATALOG}")
    Path(repo.butler.getURI(newest if is_newest else old).ospath).unlink()
    if is_newest:
        done = stale(repo)
        assert (done.code, "register the catalogue again" in done.output) == (1, True)
    else:
        assert reasons(repo) == dict.fromkeys(PLACES, "with a position of a catalogue that is no longer there")


def test_an_epoch_without_motions_is_any_column(repo):
    table = Table({"name": ["a"], "ra": [1.0], "dec": [2.0], "ref_epoch": ["J2016.0"]})
    np.testing.assert_array_equal(_version_of(table).numbers, [[1.0, 2.0, np.nan, np.nan, np.nan]])


def test_where_does_not_hide_that_all_images_are_gone(repo):
    refs = repo.butler.query_datasets("level2", collections="SPHEREx/level2")
    repo.butler.pruneDatasets(refs, unstore=True, purge=True)
    where = ("--where", "instrument = 'SPHEREx' AND detector = 1")
    assert set(reasons(repo, *where)) == set(PLACES)


def test_queries_are_short_enough_for_sqlite(repo):
    def of_patch(number):
        ref = types.SimpleNamespace(dataId={"catalog": "many" if number < 1100 else "few", "patch": 50000 + number})
        places = [Place("SPHEREx", 20250000 + number, 1 + number % 6)]
        return types.SimpleNamespace(ref=ref, patches={50000 + number}, to_measure=places)

    stale_ones = [of_patch(number) for number in range(1110)]
    patches, images = queries_of_patches(stale_ones), queries_of_images(stale_ones)
    assert (len(patches), len(images)) == (3, 4)
    for name, queries in (("patch", patches), ("exposure", images)):
        found = [value for query in queries for value in set(re.findall(r"5[01]\d{3}|2025\d{4}", query))]
        assert len(found) == len(set(found)) == 1110
        for query in queries:
            with repo.butler.query() as ask:
                dimensions = ["catalog", "patch"] if name == "patch" else ["catalog", "exposure", "detector"]
                assert list(ask.where(query).data_ids(dimensions).limit(1)) == []


def test_the_default_collection_is_that_of_register_targets():
    (option,) = (one for one in stale_spectra.params if one.name == "catalogs")
    assert option.default == catalog_collection("{catalog}")


@pytest.mark.slow
def test_failed_measurements_are_listed_on_demand_and_made_again(repo):
    lost = [
        repo.add_image(3, flux=float("nan"), reason="no pixels: timeout"),
        repo.add_image(4, flux=float("nan"), reason="timeout", wavelength=float("nan")),
    ]
    repo.add_image(12, target="east", flux=float("nan"), reason="all pixels are masked")
    pipetask(repo)
    assert reasons(repo) == {}
    assert reasons(repo, "--failed") == {"west": "2 images failed", "east": "1 image failed"}
    chosen = ("--failed", "--reason", "timeout")
    assert reasons(repo, *chosen) == {"west": "2 images failed"}
    # Now the images can be read; the Butler checks that files have kept their size.
    for ref in lost:
        path = Path(repo.butler.getURI(ref).ospath)
        path.write_text(json.dumps({"flux": 5.0, "targets": ["west"]}).ljust(path.stat().st_size))
    images, patches = (
        stale(repo, *chosen, "--print-query", what).output.splitlines()[0] for what in ("images", "patches")
    )
    assert pipetask(repo, images, subset="#measurements") == {"measureTargets": 2}
    pipetask(repo, patches, inputs=f"spectra,catalogs/{CATALOG}", subset="#spectra")
    assert reasons(repo, *chosen) == {}
    assert fluxes(repo, "west") == [10.0, 11.0, 12.0, 5.0, 5.0]


@pytest.mark.slow
def test_a_failure_in_an_image_of_which_there_is_a_newer_version_is_told_once(repo):
    repo.add_image(3, flux=float("nan"), reason="no pixels: timeout")
    pipetask(repo)
    repo.add_image(3, run="v2")
    assert reasons(repo, "--failed") == {"west": "1 image superseded"}


@pytest.mark.slow
def test_a_target_that_moved_to_another_patch_is_made_there(repo):
    elsewhere = PLACES | {"west": (10.0, 20.3)}
    before = patch_of(repo, "west")
    repo.register_targets(elsewhere)
    assert patch_of(repo, "west") != before
    assert reasons(repo) == {"west": "moved in the catalogue"}
    images, patches = (stale(repo, "--print-query", what).output.splitlines()[0] for what in ("images", "patches"))
    assert {before, patch_of(repo, "west")} == set(map(int, re.findall(r"\d{5}", patches)))
    assert pipetask(repo, images, subset="#measurements") == {"measureTargets": 3}
    pipetask(repo, patches, inputs=f"spectra,catalogs/{CATALOG}", subset="#spectra")
    assert len(fluxes(repo, "west")) == 3
    old = stale(repo).output
    assert "1 of 3 spectra are out of date" in old
    # Nothing replaces the spectra of a patch that has no target any more.
    where = f"catalog = '{CATALOG}' AND patch = {before}"
    runs = sorted({ref.run for ref in repo.butler.query_datasets("spectra", "spectra", find_first=False, where=where)})
    for run in runs:
        refs = repo.butler.query_datasets("spectra", run, where=where)
        repo.butler.pruneDatasets(refs, unstore=True, purge=True)
    assert reasons(repo) == {}


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["nowhere"], "There is no collection 'nowhere'"),
        (["spectra", "--dataset-type", "channel_spectra"], "'channel_spectra' are means of 'spectra'"),
        (["spectra", "--images", "SPHEREx/levl2"], "Did you mean 'SPHEREx/level2'"),
        (["SPHEREx/level2"], "has no spectra in SPHEREx/level2"),
        (["spectra", "--dataset-type", "spectre"], "There is no dataset type 'spectre'"),
        (["SPHEREx/level2", "--dataset-type", "level2"], "'level2' is not a dataset type of spectra"),
        (["spectra", "--images", "elsewhere"], "elsewhere"),
        (["spectra", "--calibrations", "elsewhere"], "elsewhere"),
        (["spectra", "--catalogs", "elsewhere/{catalog}"], f"elsewhere/{CATALOG}"),
        (["spectra", "--catalogs", "spectra"], f"no target_catalog of {CATALOG} in spectra"),
        (["spectra", "--reason", "no pixels"], "--reason is for --failed"),
        (["spectra", "--where", "detector ="], "is not a query"),
        (["spectra", "--where", "instrument = 'SPHEREx' AND detector = 9"], "is a name in this query misspelt?"),
    ],
)
def test_what_makes_no_sense_is_refused(repo, words, match):
    outcome = butler_command("stale-spectra", repo.root, *words)
    assert outcome.code in (1, 2)
    assert match in outcome.output


@pytest.mark.slow
def test_the_query_of_patches_remakes_only_their_quanta(repo):
    before = spectra_id(repo, "east")
    repo.add_image(1, run="v2", flux=99.0)
    repo.add_image(3)
    query = stale(repo, "--print-query", "patches").output.splitlines()[0]
    assert query == f"catalog = '{CATALOG}' AND patch IN ({patch_of(repo, 'west')})"
    quanta = pipetask(repo, query)
    assert quanta == {"measureTargets": 4, "gatherSpectra": 1, "combineChannels": 1}
    assert fluxes(repo, "west") == [10.0, 99.0, 12.0, 13.0]
    assert spectra_id(repo, "east") == before
    assert reasons(repo) == {}


@pytest.mark.slow
def test_the_query_of_images_measures_only_what_changed(repo):
    before = spectra_id(repo, "east")
    repo.add_image(1, run="v2", flux=99.0)
    repo.add_image(3)
    images = stale(repo, "--print-query", "images").output.splitlines()[0]
    patches = stale(repo, "--print-query", "patches").output.splitlines()[0]
    assert pipetask(repo, images, subset="#measurements") == {"measureTargets": 2}
    quanta = pipetask(repo, patches, inputs=f"spectra,catalogs/{CATALOG}", subset="#spectra")
    assert quanta == {"gatherSpectra": 1, "combineChannels": 1}
    assert fluxes(repo, "west") == [10.0, 99.0, 12.0, 13.0]
    assert spectra_id(repo, "east") == before
    assert reasons(repo) == {}


def test_the_query_of_many_images_finds_these_alone(repo):
    new = {repo.add_image(exposure, detector).dataId for exposure in range(20, 70) for detector in (1, 2, 3)}
    # Detectors 4 and 5 have the same exposures, and 6 has some of those of the others.
    new |= {repo.add_image(exposure, detector).dataId for exposure in (20, 71) for detector in (4, 5)}
    new |= {repo.add_image(exposure, 6).dataId for exposure in (20, 21, 72)}
    new |= {repo.add_image(73, 3, target="east").dataId}
    query = stale(repo, "--print-query", "images").output.splitlines()[0]
    with repo.butler.query() as found:
        found = found.where(query).join_dataset_search("level2", "SPHEREx/level2")
        assert set(found.data_ids(["exposure", "detector"])) == new


@pytest.mark.slow
def test_an_image_that_fails_costs_a_second_command_and_no_spectrum(repo):
    repo.add_image(3, broken=True)
    repo.add_image(4)
    query = stale(repo, "--print-query", "patches").output.splitlines()[0]
    pipetask(repo, query, succeeds=False)
    assert len(fluxes(repo, "west")) == 3
    pipetask(repo, query, inputs=f"spectra,catalogs/{CATALOG}", subset="#spectra")
    assert len(fluxes(repo, "west")) == 4
    assert reasons(repo) == {"west": "1 image new"}


def test_remade_spectra_are_of_the_newest_table_of_targets(repo):
    """The chain that `pipetask run -o` makes contains the table of that time."""
    page = (ROOT / "doc" / "stale_spectra.md").read_text()
    (inputs,) = re.findall(r"#spectra -i (\S+) --output-run spectra/3 ", page)
    (old,) = repo.butler.collections.get_info(f"catalogs/{CATALOG}").children
    repo.butler.collections.extend_chain("spectra", [old])
    repo.register_targets(PLACES | {"beside": (9.9, 20.0)})
    assert patch_of(repo, "beside") == patch_of(repo, "west")
    repo.add_image(1, run="v2", targets=["west", "beside"])
    images, patches = (stale(repo, "--print-query", kind).output.splitlines()[0] for kind in ("images", "patches"))
    pipetask(repo, images, subset="#measurements")
    pipetask(repo, patches, inputs=inputs.replace("catalogs/mine", f"catalogs/{CATALOG}"), subset="#spectra")
    assert len(fluxes(repo, "beside")) == 1


def test_measurements_that_were_removed_are_made_again_with_those_that_changed(repo):
    (first,) = repo.butler.collections.get_info("spectra").children
    repo.add_image(1, run="v2")
    images = stale(repo, "--print-query", "images").output.splitlines()[0]
    pipetask(repo, images, subset="#measurements")
    before = fluxes(repo, "west")
    pipetask(repo, f"catalog = '{CATALOG}'", inputs=f"spectra,SPHEREx/calib,catalogs/{CATALOG}", subset="#spectra")
    assert butler_command("remove-runs", repo.root, first, "--no-confirm", "--force").code == 0
    assert reasons(repo) == {}
    repo.add_image(2, run="v3")
    assert reasons(repo) == {"west": "1 image superseded, 1 image of the patch without their measurements"}
    images, patches = (stale(repo, "--print-query", kind).output.splitlines()[0] for kind in ("images", "patches"))
    warning = "The measurements of 1 image of these patches are no longer in spectra. Before #spectra, measure what"
    assert warning in stale(repo, "--print-query", "patches").output
    assert pipetask(repo, images, subset="#measurements") == {"measureTargets": 2}
    assert warning not in stale(repo, "--print-query", "patches").output
    pipetask(repo, patches, inputs=f"spectra,SPHEREx/calib,catalogs/{CATALOG}", subset="#spectra")
    assert len(fluxes(repo, "west")) == len(before) == 3
    assert reasons(repo) == {}
