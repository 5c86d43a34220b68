"""Validity ranges: newer calibrations take the place of older ones, and never the other way."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, CollectionType, DatasetRef, DatasetType, Timespan

from spherex.archive import ProcessingRun
from spherex.calibrations import CertifyTrial, certified_datasets, certify_newest, decertify, timespan_between
from spherex.errors import ArchiveNameError
from spherex.instrument import SimulatorInstrument

CALIB = "SPHEREx/calib"
PREFIX = "SPHEREx/calib/"
ALWAYS = Timespan(None, None)


def age_of(run: str) -> tuple[object, ...] | None:
    """Order runs by their processing."""
    try:
        return ProcessingRun.parse(run.removeprefix(PREFIX)).age_key
    except ArchiveNameError:
        return None


@pytest.fixture
def repository(tmp_path: Path, make_repo: Callable[..., Path]) -> Iterator[Butler]:
    """Return a repository that knows the dataset type ``gain`` and a detector-less ``table``."""
    with Butler.from_config(str(make_repo(tmp_path / "repo")), writeable=True) as butler:
        SimulatorInstrument().register(butler.registry)
        for name, dimensions in (("gain", ("instrument", "detector")), ("table", ("instrument",))):
            butler.registry.registerDatasetType(
                DatasetType(name, dimensions, "StructuredDataDict", universe=butler.dimensions, isCalibration=True)
            )
        butler.collections.register(CALIB, CollectionType.CALIBRATION)
        yield butler


@pytest.fixture
def put(repository: Butler) -> Callable[..., DatasetRef]:
    """Return a function that puts one dataset."""

    def make(name: str, run: str, **data_id: int) -> DatasetRef:
        repository.collections.register(PREFIX + run)
        return repository.put({"run": run}, name, run=PREFIX + run, instrument="simulator", **data_id)

    return make


def valid(butler: Butler, name: str, date: str, **data_id: int) -> str | None:
    """Return the run of the dataset that is valid on a date."""
    moment = timespan_between(date, None).begin
    ref = butler.find_dataset(
        name, collections=CALIB, timespan=Timespan.fromInstant(moment), instrument="simulator", **data_id
    )
    return None if ref is None else ref.run.removeprefix(PREFIX)


def test_a_newer_run_takes_the_place_of_an_older_one_where_they_overlap(
    repository: Butler, put: Callable[..., DatasetRef]
) -> None:
    old, new = put("gain", "cal-v4-2025-161", detector=2), put("gain", "cal-v7-2025-218", detector=2)
    other = put("gain", "cal-v4-2025-161", detector=3)
    assert certify_newest(repository, CALIB, [old, other], ALWAYS, age_of) == []
    (change,) = certify_newest(repository, CALIB, [new], timespan_between("2025-08-01", "2025-09-01"), age_of)
    assert (change.ref, change.existing, change.is_replaced) == (new, old, True)
    assert change.timespan == timespan_between("2025-08-01", "2025-09-01")
    runs = [valid(repository, "gain", date, detector=2) for date in ("2025-07-31", "2025-08-01", "2025-09-01")]
    assert runs == ["cal-v4-2025-161", "cal-v7-2025-218", "cal-v4-2025-161"]
    assert valid(repository, "gain", "2025-08-15", detector=3) == "cal-v4-2025-161"


def test_an_older_run_only_gets_what_no_newer_one_has(repository: Butler, put: Callable[..., DatasetRef]) -> None:
    new, old = put("gain", "cal-v7-2025-218", detector=2), put("gain", "cal-v4-2025-161", detector=2)
    certify_newest(repository, CALIB, [new], timespan_between("2025-08-01", "2025-09-01"), age_of)
    (change,) = certify_newest(repository, CALIB, [old], ALWAYS, age_of)
    assert (change.ref, change.existing, change.is_replaced) == (old, new, False)
    runs = [valid(repository, "gain", date, detector=2) for date in ("2025-07-31", "2025-08-01", "2025-09-01")]
    assert runs == ["cal-v4-2025-161", "cal-v7-2025-218", "cal-v4-2025-161"]


def test_the_order_in_one_call_does_not_matter(repository: Butler, put: Callable[..., DatasetRef]) -> None:
    new, old = put("table", "cal-swcs-v1-2026-191"), put("table", "cal-wcs-v4-2025-254")
    certify_newest(repository, CALIB, [new, old], ALWAYS, age_of)
    assert valid(repository, "table", "2025-08-01") == "cal-swcs-v1-2026-191"


def test_certifying_again_changes_nothing(repository: Butler, put: Callable[..., DatasetRef]) -> None:
    ref = put("gain", "cal-v4-2025-161", detector=2)
    certify_newest(repository, CALIB, [ref], timespan_between("2025-01-01", "2025-06-01"), age_of)
    before = certified_datasets(repository, CALIB, "gain")
    assert certify_newest(repository, CALIB, [ref], timespan_between("2025-02-01", "2025-06-01"), age_of) == []
    assert certified_datasets(repository, CALIB, "gain") == before
    assert certify_newest(repository, CALIB, [ref], timespan_between("2025-05-01", None), age_of) == []
    assert valid(repository, "gain", "2026-01-01", detector=2) == "cal-v4-2025-161"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_trial_foretells_call_after_call(
    repository: Butler, put: Callable[..., DatasetRef], order: tuple[int, ...]
) -> None:
    span = timespan_between("2025-08-01", "2025-09-01")
    known, own = put("gain", "cal-v4-2025-161", detector=2), put("gain", "my own run", detector=2)
    certify_newest(repository, CALIB, [known], ALWAYS, age_of)
    certified = timespan_between("2025-08-10", "2025-08-11")
    decertify(repository, CALIB, "gain", certified, [own.dataId])
    repository.registry.certify(CALIB, [own], certified)
    before = certified_datasets(repository, CALIB, "gain")
    refs = [put("gain", run, detector=2) for run in ("cal-v3-2025-100", "cal-v5-2025-200", "cal-v6-2025-300")]
    trial = CertifyTrial(repository, CALIB, span, age_of)
    foretold = [trial.certify([refs[number]]) for number in order]
    assert certified_datasets(repository, CALIB, "gain") == before
    done = [certify_newest(repository, CALIB, [refs[number]], span, age_of) for number in order]
    for one, other in zip(foretold, done, strict=True):
        assert sorted(map(str, one)) == sorted(map(str, other))
    assert len(done[0]) == 3


def test_what_somebody_else_certified_stays(repository: Butler, put: Callable[..., DatasetRef]) -> None:
    own, archive = put("gain", "my own run", detector=2), put("gain", "cal-v4-2025-161", detector=2)
    repository.registry.certify(CALIB, [own], timespan_between("2025-08-01", "2025-09-01"))
    (change,) = certify_newest(repository, CALIB, [archive], ALWAYS, age_of)
    assert (change.existing, change.is_replaced) == (own, False)
    assert valid(repository, "gain", "2025-08-15", detector=2) == "my own run"


def test_decertify_takes_one_detector_out_of_a_range(repository: Butler, put: Callable[..., DatasetRef]) -> None:
    refs = [put("gain", "cal-v4-2025-161", detector=detector) for detector in (1, 2)]
    certify_newest(repository, CALIB, refs, ALWAYS, age_of)
    span = timespan_between("2025-08-01", "2025-09-01")
    taken = decertify(repository, CALIB, "gain", span, [refs[1].dataId])
    assert [one.ref for one in taken] == [refs[1]]
    assert valid(repository, "gain", "2025-08-15", detector=2) is None
    assert valid(repository, "gain", "2025-07-15", detector=2) == "cal-v4-2025-161"
    assert valid(repository, "gain", "2025-09-15", detector=2) == "cal-v4-2025-161"
    assert valid(repository, "gain", "2025-08-15", detector=1) == "cal-v4-2025-161"
    assert decertify(repository, CALIB, "gain", span, [refs[1].dataId]) == []


@pytest.mark.parametrize(
    ("begin", "end", "match"),
    [("yesterday", None, "'yesterday' is not a date"), ("2025-08-01", "2025-08-01", "not after the begin")],
)
def test_what_is_no_range_is_refused(begin: str, end: str | None, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        timespan_between(begin, end)


def test_a_collection_that_is_not_there_has_nothing_certified(repository: Butler) -> None:
    assert certified_datasets(repository, "elsewhere", "gain") == []
    assert certified_datasets(repository, CALIB, "no_such_type") == []
