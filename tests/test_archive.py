"""Names and identifiers of the archive, on published ones."""

from __future__ import annotations

import datetime
import random
import uuid

import pytest

from spherex.archive import (
    CalibrationName,
    CalibrationReference,
    Level2Name,
    ObservationId,
    ProcessingRun,
    calibration_references,
    time_of_uuid,
)
from spherex.errors import ArchiveNameError


@pytest.mark.parametrize(
    ("obsid", "detector", "expidn"),
    [
        ("2025W51_1A_0684_2", 3, 202551101068423),
        ("2025W19_1B_0011_1", 1, 202519102001111),
        ("2025W31_2A_0029_3", 1, 202531201002931),
        ("2026W02_2A_0291_3", 1, 202602201029131),
        ("2025W20_2D_0139_1", 6, 202520204013916),
    ],
)
def test_observation_ids_are_those_of_real_headers(obsid: str, detector: int, expidn: int) -> None:
    observation = ObservationId.parse(obsid)
    assert observation.expidn(detector) == expidn
    assert ObservationId.from_expidn(expidn) == (observation, detector)
    assert observation.exposure == expidn // 10
    assert len(str(observation.exposure)) == 14
    assert str(observation) == obsid
    assert observation.planning_period == obsid[:10]


@pytest.mark.parametrize(
    "text", ["", "2025W51_1A_684_2", "2025W51_1a_0684_2", "2025W51_1A_0684_2D3", "x2025W51_1A_0684_2"]
)
def test_what_is_no_observation_id_is_refused(text: str) -> None:
    with pytest.raises(ArchiveNameError, match="observation ID"):
        ObservationId.parse(text)


@pytest.mark.parametrize("number", [0, 20255110106842, 202551101068427, 202551127068423, 202551100068423])
def test_what_is_no_expidn_is_refused(number: int) -> None:
    with pytest.raises(ArchiveNameError, match="integer exposure ID"):
        ObservationId.from_expidn(number)


def test_runs_are_ordered_by_their_processing() -> None:
    oldest_first = [
        "base-2024-366",
        "base-2025-158",
        "l2b-2025-160",
        "l2b-v0-2025-160",
        "l2b-v9-2025-160",
        "l2b-v12-2025-175",
        "l2b_retry-v12-2025-175",
        "l2b-v12-2025-176",
        "l2b-v20-2025-247",
        "l2b-v20-2025-349",
        "l2b-v21-2025-354",
        "l2b-v27-2026-222",
        "l2b-v100-2027-001",
    ]
    mixed = oldest_first.copy()
    random.Random(1).shuffle(mixed)
    runs = sorted(map(ProcessingRun.parse, mixed), key=lambda run: run.age_key)
    assert [str(run) for run in runs] == oldest_first


@pytest.mark.parametrize(
    "text",
    [
        *("", "l2b-v20", "l2b-v20-2025-29", "v20-2025", "L2B-v20-2025-299", "l2b-v20-2025-299.fits"),
        *("l2b-v020-2025-299", "l2b-v00-2025-299", "l2b-v20-v21-2025-299", "l2b-v20-2025-٢٩٩"),
        *("l2b-v20-2025-000", "l2b-v20-2025-366", "l2b-v20-2024-367", "l2b-v20-2025-999", "l2b-v20-0000-001"),
    ],
)
def test_what_is_no_run_is_refused(text: str) -> None:
    with pytest.raises(ArchiveNameError, match="processing run"):
        ProcessingRun.parse(text)


@pytest.mark.parametrize(
    ("name", "tree"),
    [
        (
            "level2_2025W43_1A_0516_1D5_spx_l2b-v20-2025-299.fits",
            "2025W43_1A/l2b-v20-2025-299/5/level2_2025W43_1A_0516_1D5_spx_l2b-v20-2025-299.fits",
        ),
        (
            "level2_2025W20_1C_0314_1D2_spx_l2b_retry-v12-2025-175.fits",
            "2025W20_1C/l2b_retry-v12-2025-175/2/level2_2025W20_1C_0314_1D2_spx_l2b_retry-v12-2025-175.fits",
        ),
    ],
)
def test_level2_names(name: str, tree: str) -> None:
    parsed = Level2Name.parse(name)
    assert str(parsed) == name
    assert parsed.tree == tree


@pytest.mark.parametrize(
    "name",
    [
        "level2_2025W43_1A_0516_1D7_spx_l2b-v20-2025-299.fits",
        "level2_2025W43_1A_0516_1D5_spx_l2b-v20-2025-299.fits.gz",
        "level2_2025W43_1A_0516_1D5_spx_.fits",
        "my_level2_2025W43_1A_0516_1D5_spx_l2b-v20-2025-299.fits",
    ],
)
def test_other_names_are_no_level2_names(name: str) -> None:
    with pytest.raises(ArchiveNameError, match="Level 2"):
        Level2Name.parse(name)


@pytest.mark.parametrize(
    ("name", "type_", "detector", "run", "tree"),
    [
        (
            "spectral_wcs_D4_spx_cal-wcs-v4-2025-254.fits",
            "spectral_wcs",
            4,
            "cal-wcs-v4-2025-254",
            "spectral_wcs/cal-wcs-v4-2025-254/4/",
        ),
        ("nonfunc_v2_D1_spx_base-2026-191.fits", "nonfunc_v2", 1, "base-2026-191", "nonfunc_v2/base-2026-191/1/"),
        ("gain_factors_spx_base-2025-158.yaml", "gain_factors", None, "base-2025-158", "gain_factors/base-2025-158/"),
        (
            "spectral_channels_spx_cal-sch-v1-2026-106.fits",
            "spectral_channels",
            None,
            "cal-sch-v1-2026-106",
            "spectral_channels/cal-sch-v1-2026-106/",
        ),
        (
            "solid_angle_pixel_map_D6_spx_cal-sapm-v2-2025-164.fits",
            "solid_angle_pixel_map",
            6,
            "cal-sapm-v2-2025-164",
            "solid_angle_pixel_map/cal-sapm-v2-2025-164/6/",
        ),
        (
            "xtalk_class2_D3_spx_cal-xtalk-v1-2026-191.fits",
            "xtalk_class2",
            3,
            "cal-xtalk-v1-2026-191",
            "xtalk_class2/cal-xtalk-v1-2026-191/3/",
        ),
    ],
)
def test_calibration_names(name: str, type_: str, detector: int | None, run: str, tree: str) -> None:
    parsed = CalibrationName.parse(name)
    assert (parsed.type, parsed.detector, str(parsed.run)) == (type_, detector, run)
    assert str(parsed) == name
    assert parsed.tree == tree + name


@pytest.mark.parametrize(
    "name", ["dark_D7_spx_cal-drk-v4-2025-161.fits", "dark_D3.fits", "level2_D3_spx_l2b-v20-2025-299.fits", "x.yaml"]
)
def test_other_names_are_no_calibration_names(name: str) -> None:
    with pytest.raises(ArchiveNameError, match="calibration product"):
        CalibrationName.parse(name)


def test_calibrations_of_history_come_once_each() -> None:
    history = [
        "Correct Preamplifier, SSDC-MS-006 v1.5",
        "[CALIB] gain_factors 74478304-abf1-4a9c-9eb2-926090a84446",
        "[CALIB] nonfunc 019b2942-3cad-7a1a-911e-7beac6326a2c",
        "[CALIB] gain_factors 74478304-abf1-4a9c-9eb2-926090a84446",
        "[CALIB] dark not-a-uuid",
    ]
    assert calibration_references(history) == (
        CalibrationReference("gain_factors", uuid.UUID("74478304-abf1-4a9c-9eb2-926090a84446")),
        CalibrationReference("nonfunc", uuid.UUID("019b2942-3cad-7a1a-911e-7beac6326a2c")),
    )
    assert [str(one) for one in calibration_references(history)] == history[1:3]


def test_uuids_of_version_7_tell_their_time() -> None:
    time = time_of_uuid(uuid.UUID("019b2942-2772-73f3-8000-000000000000"))
    assert time is not None
    assert time.replace(microsecond=0) == datetime.datetime(2025, 12, 16, 22, 22, time.second, tzinfo=datetime.UTC)
    assert time_of_uuid(uuid.UUID("74478304-abf1-4a9c-9eb2-926090a84446")) is None
