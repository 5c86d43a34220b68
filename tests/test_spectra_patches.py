"""Spectra of the targets of a patch in one table, and in a repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from astropy.table import QTable, Table, vstack
from lsst.daf.butler import CollectionType, DatasetType
from lsst.daf.butler.formatters.parquet import astropy_to_arrow

import spherex
from spherex.spectra import (
    CHANNEL_COLUMNS,
    COLUMNS,
    IMAGES,
    TARGETS,
    combine_channels,
    combine_patch,
    design_channels,
    gather_patch,
    gather_spectrum,
    patch_meta,
    spectrum_in,
    summarize_patch,
)

from .spectra_helpers import CATALOG, TargetRepo, measurements

NAMES = ("west", "near west", "Σ", "a")
META = {
    "catalog": CATALOG,
    "patch": 7,
    "instruments": ["SPHEREx"],
    IMAGES: [["SPHEREx", 1, 2]],
    TARGETS: {name: {"ra": 10.0, "dec": 20.0, "off_frame": 0} for name in (*NAMES, "without")},
}


def rows_of(name: str, number: int = 60) -> QTable:
    seed = 100 + len(name)
    failed = np.arange(number) % 7 == 3
    rows = measurements(number, seed, target=name, reason=np.where(failed, "x" * len(name), ""))
    rows["flux"][failed] = np.nan * rows["flux"].unit
    rows["wavelength"][3] = np.nan * rows["wavelength"].unit
    return rows


@pytest.fixture(scope="module")
def tables() -> list[pa.Table]:
    """Return tables of single images, each with a row of some targets, whose texts are of other lengths."""
    joined = vstack([Table(rows_of(name)) for name in NAMES], metadata_conflicts="silent")
    return [astropy_to_arrow(joined[joined["exposure"] == exposure]) for exposure in range(60)]


@pytest.fixture(scope="module")
def patch(tables: list[pa.Table]) -> pa.Table:
    return gather_patch(tables, META)


def assert_same(one: QTable, other: QTable) -> None:
    assert one.colnames == other.colnames
    for name in one.colnames:
        np.testing.assert_array_equal(np.asarray(one[name]), np.asarray(other[name]), err_msg=name)
        assert one[name].info.unit == other[name].info.unit
        assert one[name].info.meta == other[name].info.meta


def test_a_spectrum_is_that_of_its_own_rows(patch: pa.Table) -> None:
    assert len(patch) == 60 * len(NAMES)
    assert patch["target"].to_pylist() == sorted(patch["target"].to_pylist())
    for name in NAMES:
        expected = gather_spectrum([rows_of(name)])
        spectrum = spectrum_in(patch, name)
        assert_same(spectrum, expected)
        for key in ("images", "failed", "unplaced", "diagnostics"):
            assert spectrum.meta[key] == expected.meta[key]
        assert len(spectrum.meta["unplaced"]) == 1
        assert (spectrum.meta["target"], spectrum.meta["ra"]) == (name, 10.0)
    # For programs that know no metadata of ours.
    field = patch.schema.field("flux")
    assert field.metadata[b"unit"] == b"uJy"
    assert field.metadata[b"ucd"] == b"phot.flux.density;em.IR"


def test_the_order_of_images_changes_no_byte(tables: list[pa.Table], patch: pa.Table, tmp_path: Path) -> None:
    shuffled = [tables[place] for place in np.random.default_rng(2).permutation(len(tables))]
    for number, one in enumerate((patch, gather_patch(shuffled, dict(reversed(META.items()))))):
        pyarrow.parquet.write_table(one, tmp_path / f"{number}.parq")
        pyarrow.parquet.write_table(combine_patch(one, design_channels()), tmp_path / f"channels{number}.parq")
    for name in ("", "channels"):
        first, second = (tmp_path / f"{name}{number}.parq" for number in range(2))
        assert first.read_bytes() == second.read_bytes()


def test_means_are_those_of_each_spectrum(patch: pa.Table) -> None:
    means = combine_patch(patch, design_channels())
    assert means.column_names == [column.name for column in CHANNEL_COLUMNS]
    for name in NAMES:
        expected = combine_channels(spectrum_in(patch, name))
        found = spectrum_in(means, name)
        assert_same(found, expected)
        for key in ("channels", "left_out", "left_out_older", "without_channel"):
            assert found.meta[key] == expected.meta[key]


def test_means_of_an_earlier_version_are_without_slopes(patch: pa.Table) -> None:
    means = combine_patch(patch, design_channels()).drop_columns(["slope"])
    assert np.isnan(spectrum_in(means, NAMES[0])["slope"].value).all()


def test_a_target_without_rows_is_an_error(patch: pa.Table) -> None:
    for table in (patch, combine_patch(patch, design_channels())):
        for name in ("without", "elsewhere"):
            with pytest.raises(spherex.UserError, match=f"{name} of catalogue nearby has no measurement in patch 7"):
                spectrum_in(table, name)


def test_a_target_of_which_all_measurements_have_failed() -> None:
    rows = Table({"target": ["a", "a"], "wavelength": [np.nan, np.nan], "reason": ["x", "y"], "exposure": [1, 2]})
    patch = gather_patch([astropy_to_arrow(rows)], META)
    spectrum, means = spectrum_in(patch, "a"), spectrum_in(combine_patch(patch, design_channels()), "a")
    assert (len(spectrum), len(means), means.meta["without_channel"]) == (0, 0, 0)
    assert [one["reason"] for one in spectrum.meta["unplaced"]] == ["x", "y"]


def test_a_summary_is_that_of_the_spectrum(patch: pa.Table) -> None:
    summaries = {summary.name: summary for summary in summarize_patch(patch)}
    assert list(summaries) == sorted(NAMES)
    for name, summary in summaries.items():
        spectrum = spectrum_in(patch, name)
        assert (summary.measurements, summary.unplaced) == (len(spectrum), 1) == (59, 1)
        assert summary.good == np.count_nonzero(spectrum["good"])
        assert summary.good_share == summary.good / 60
        assert summary.signal == np.nanmedian((spectrum["flux"] / spectrum["flux_error"]).value)
        # With the one that has no wavelength.
        assert summary.reasons == {"x" * len(name): 9}
    rows = Table({"target": ["a"], "wavelength": [np.nan], "reason": ["x"], "exposure": [1]})
    (summary,) = summarize_patch(gather_patch([astropy_to_arrow(rows)], META))
    assert (summary.measurements, summary.good_share, summary.unplaced) == (0, 0, 1)
    assert np.isnan(summary.signal)
    assert not list(summarize_patch(gather_patch([], META)))


def test_bits_that_make_measurements_bad_are_counted() -> None:
    quality = [1 << 5, 1 << 5 | 1 << 9, 1 << 0, 1 << 9, 0]
    rows = Table({"target": ["a"] * 5, "wavelength": np.ones(5), "exposure": np.arange(5)})
    rows["good"], rows["quality"] = [False, False, False, True, True], np.array(quality, np.int32)
    (summary,) = summarize_patch(gather_patch([astropy_to_arrow(rows)], META))
    assert summary.bad == {"MISFIT": 2, "NO_FLUX": 1}
    assert (summary.measurements, summary.good) == (5, 2)


def test_missing_columns_are_blank_and_other_units_are_refused() -> None:
    patch = gather_patch([pa.table({"target": ["a"], "flux": [1.5]})], META)
    assert patch.column_names == [column.name for column in COLUMNS]
    assert (patch["flux"].to_pylist(), patch["image_id"].to_pylist(), patch["detector"].to_pylist()) == (
        [1.5],
        [""],
        [-1],
    )
    other = pa.schema([pa.field("target", pa.string()), pa.field("flux", pa.float64(), metadata={"unit": "mJy"})])
    with pytest.raises(ValueError, match="column flux is in mJy, not in uJy"):
        gather_patch([pa.table([["a"], [1.5]], schema=other)], META)
    with pytest.raises(ValueError, match="no metadata of the spectra of a patch"):
        patch_meta(pa.table({"target": ["a"]}))


def test_no_rows_are_an_empty_patch() -> None:
    patch = gather_patch([], META)
    assert len(patch) == len(combine_patch(patch, design_channels())) == 0


@pytest.fixture
def stored(repo_root: Path, patch: pa.Table) -> TargetRepo:
    """Return a repository with the spectra of `west` in one collection of a chain, those of another field in front."""
    repo = TargetRepo.make(repo_root)
    butler = repo.butler
    dataset_type = DatasetType("spectra", ("catalog", "patch"), "SpectraTable", universe=butler.dimensions)
    butler.registry.registerDatasetType(dataset_type)
    (record,) = butler.query_dimension_records("target", catalog=CATALOG, target="west")
    other = patch.filter(pa.compute.equal(patch["target"], "a"))
    for run, table in (("fields/first", other), ("fields/second", patch)):
        butler.collections.register(run)
        butler.put(table, "spectra", catalog=CATALOG, patch=record.patch, run=run)
    butler.collections.register("fields", CollectionType.CHAINED)
    butler.collections.redefine_chain("fields", ["fields/first", "fields/second"])
    return repo


def test_one_target_is_read_from_a_file(stored: TargetRepo, patch: pa.Table) -> None:
    with stored.butler as butler:
        (ref,) = butler.query_datasets("spectra", collections="fields/second")
        whole = butler.get(ref)
        assert whole.schema.metadata == patch.schema.metadata
        rows = butler.get(ref, parameters={"target": "west", "columns": ["flux", "exposure"]})
        assert rows.column_names == ["flux", "exposure"]
        assert len(rows) == 60
        deferred = butler.getDeferred(ref).get(parameters={"target": "Σ"})
        assert_same(spectrum_in(deferred, "Σ"), spectrum_in(patch, "Σ"))
        columns = butler.get(ref, parameters={"columns": ["target", "image_id"]})
        assert (columns.column_names, len(columns)) == (["target", "image_id"], len(patch))
        assert patch_meta(columns) == patch_meta(patch)
        assert len(butler.get(ref, parameters={"target": "elsewhere"})) == 0


def test_a_spectrum_by_its_name(stored: TargetRepo, patch: pa.Table) -> None:
    with stored.butler as butler:
        for collections in ("fields", ["fields/first", "fields/second"], "fields/second"):
            assert_same(
                spherex.get_spectrum(butler, CATALOG, "west", collections=collections), spectrum_in(patch, "west")
            )
        message = (
            "the target west of the catalogue nearby is registered, but fields/first has no spectra of it: .* "
            "butler find-images REPO .* butler make-spectrum REPO nearby"
        )
        with pytest.raises(spherex.UserError, match=message):
            spherex.get_spectrum(butler, CATALOG, "west", collections="fields/first")
        # Without any spectra of the patch, too.
        butler.collections.register("fields/empty")
        with pytest.raises(spherex.UserError, match=message.replace("fields/first", "fields/empty")):
            spherex.get_spectrum(butler, CATALOG, "west", collections="fields/empty")
        with pytest.raises(spherex.UserError, match="There is no collection 'nowhere' in REPO"):
            spherex.get_spectrum(butler, CATALOG, "west", collections=["nowhere"])
        with pytest.raises(spherex.UserError, match="There is no target 'nowhere' in the catalogue 'nearby'"):
            spherex.get_spectrum(butler, CATALOG, "nowhere", collections="fields")


def test_the_rows_of_one_target_are_a_part_of_the_file(repo_root: Path, tmp_path: Path) -> None:
    """A row group has 5,000 rows: most of a file is not read."""
    repo = TargetRepo.make(repo_root)
    names = [f"t{number:03d}" for number in range(100)]
    rows = measurements(200)
    tables = []
    for name in names:
        rows["target"] = name
        tables.append(astropy_to_arrow(Table(rows)))
    with repo.butler as butler:
        dataset_type = DatasetType("spectra", ("catalog", "patch"), "SpectraTable", universe=butler.dimensions)
        butler.registry.registerDatasetType(dataset_type)
        (record,) = butler.query_dimension_records("target", catalog=CATALOG, target="west")
        meta = META | {TARGETS: {name: {} for name in names}}
        butler.collections.register("run")
        ref = butler.put(gather_patch(tables, meta), "spectra", catalog=CATALOG, patch=record.patch, run="run")
        file = pyarrow.parquet.ParquetFile(butler.getURI(ref).ospath)
        assert file.metadata.num_row_groups == 4
        statistics = [file.metadata.row_group(number).column(0).statistics for number in range(4)]
        assert sum(one.min <= "t010" <= one.max for one in statistics) == 1
        file.close()
        assert len(butler.get(ref, parameters={"target": "t010"})) == 200
