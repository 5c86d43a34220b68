"""SubtractTask on images in memory and on a real repository."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from lsst.pipe.base import PipelineTaskConnections
from lsst.pipe.base.testUtils import (
    assertValidInitOutput,
    assertValidOutput,
    lintConnections,
    makeQuantum,
    runTestQuantum,
)

from spherex.image import FlagTable, SPHERExImage
from spherex.tasks import SubtractConfig, SubtractConnections, SubtractTask


def make(value: float, variance: float, flags: int, **kwargs: object) -> SPHERExImage:
    shape = (6, 5)
    header = fits.Header({"DETECTOR": 3, "XPOSURE": 100.0} | dict(kwargs.pop("cards", {})))
    kwargs.setdefault("unit", "electron")
    return SPHERExImage(
        np.full(shape, value, np.float32),
        variance=np.full(shape, variance, np.float32),
        flags=np.full(shape, flags, np.int32),
        header=header,
        **kwargs,
    )


def test_pixels_variance_and_flags():
    first, second = make(10, 4, 0b001), make(3, 1, 0b100)
    first.data[2, 2] = np.nan
    output = SubtractTask().run(first, second).outputImage
    expected = np.full((6, 5), 7, np.float32)
    expected[2, 2] = np.nan
    np.testing.assert_array_equal(output.data, expected)
    np.testing.assert_array_equal(output.variance, 5)
    np.testing.assert_array_equal(output.flags, 0b101)
    assert output.data.dtype == output.variance.dtype == np.float32
    np.testing.assert_array_equal(second.data, 3)
    assert "factor 1" in str(output.header["HISTORY"])


@pytest.mark.parametrize("without", [None, "first", "second"])
def test_the_result_shares_no_pixels_with_the_inputs(without):
    first, second = make(10, 4, 1), make(3, 1, 2)
    if without is not None:
        (first if without == "first" else second).flags = None
    output = SubtractTask().run(first, second).outputImage
    for image in (first, second):
        for name in ("data", "variance", "flags"):
            given = getattr(image, name)
            assert given is None or not np.shares_memory(getattr(output, name), given)


def test_integer_pixels_are_not_overwritten():
    first = SPHERExImage(np.full((2, 2), 10, np.int16), unit="adu")
    output = SubtractTask().run(first, SPHERExImage(np.full((2, 2), 0.5, np.float32), unit="adu")).outputImage
    np.testing.assert_array_equal(output.data, 9.5)
    np.testing.assert_array_equal(first.data, 10)


def test_flags_of_different_tables_are_matched_by_name():
    first = make(1, 1, 0b01, flag_table=FlagTable({"HOT": 0, "COLD": 1}))
    second = make(1, 1, 0b11, flag_table=FlagTable({"COLD": 0, "SOURCE": 1}))
    output = SubtractTask().run(first, second).outputImage
    assert output.flag_plane.has("HOT").all()
    assert output.flag_plane.has("COLD").all()
    assert output.flag_plane.has("SOURCE").all()
    assert output.flag_table["COLD"] == 1


def test_scaling_by_exposure_time():
    config = SubtractConfig(scaleByExposureTime=True)
    second = make(3, 1, 0, cards={"XPOSURE": 50.0})
    task = SubtractTask(config=config)
    output = task.run(make(10, 4, 0), second).outputImage
    np.testing.assert_array_equal(output.data, 4)
    np.testing.assert_array_equal(output.variance, 8)
    assert task.metadata["scale"] == 2.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "adu"}, "in electron, the one to subtract in adu"),
        ({"cards": {"DETECTOR": 4}}, "detector 3, the one to subtract of detector 4"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        SubtractTask().run(make(1, 1, 0), make(1, 1, 0, **changes))


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(6, 5\), but the image to subtract has shape \(3, 5\)"):
        SubtractTask().run(make(1, 1, 0), make(1, 1, 0)[:3])


def test_a_missing_variance_is_refused():
    with pytest.raises(ValueError, match="image to subtract has no variance"):
        SubtractTask().run(make(1, 1, 0), SPHERExImage(np.ones((6, 5), np.float32), unit="electron"))


@pytest.mark.parametrize("time", [None, np.inf, 0, "long"])
def test_an_unknown_exposure_time_is_refused(time):
    task = SubtractTask(config=SubtractConfig(scaleByExposureTime=True))
    second = make(1, 1, 0)
    if time is np.inf:
        second.header["XPOSURE"] = 1e300
        second.header["XPOSURE"] = 0.0
    else:
        second.header["XPOSURE"] = time
    with pytest.raises(ValueError, match="exposure time .* image to subtract"):
        task.run(make(1, 1, 0), second)


def test_rates_are_not_scaled():
    task = SubtractTask(config=SubtractConfig(scaleByExposureTime=True))
    with pytest.raises(ValueError, match="are rates"):
        task.run(make(1, 1, 0, unit="electron/s"), make(1, 1, 0, unit="electron/s"))


def test_statistics_go_to_the_metadata(rng):
    first = SPHERExImage(rng.normal(5, 2, (700, 600)).astype(np.float32), unit="electron/s")
    task = SubtractTask()
    task.run(first, SPHERExImage(np.ones((700, 600), np.float32), unit="electron/s"))
    assert task.metadata["pixels"] == 420000
    assert task.metadata["median"] == pytest.approx(4, abs=0.05)
    assert task.metadata["robust_sigma"] == pytest.approx(2, abs=0.05)


def test_connections_are_sound():
    assert issubclass(SubtractConnections, PipelineTaskConnections)
    lintConnections(SubtractConnections)


def test_on_a_repository(butler, register):
    for name in ("rawexp", "dark", "postDark"):
        register(name, "SPHERExImage")
    data_id = butler.registry.expandDataId(instrument="simulator", exposure=1, detector=3)
    butler.put(make(10, 4, 1), "rawexp", data_id)
    dark = butler.put(make(3, 1, 2), "dark", data_id)
    task = SubtractTask()
    ids = dict.fromkeys(["inputImage", "subtractImage", "outputImage"], data_id)
    quantum = makeQuantum(task, butler, data_id, ids)
    runTestQuantum(task, butler, quantum, mockRun=False)
    output = butler.get("postDark", data_id)
    np.testing.assert_array_equal(output.data, 7)
    np.testing.assert_array_equal(output.flags, 3)
    assert f"[CALIB] dark {dark.id}" in list(output.header["HISTORY"])
    assertValidOutput(task, task.run(make(10, 4, 1), make(3, 1, 2)))
    assertValidInitOutput(task)


@pytest.mark.parametrize(("dtype", "expected"), [(np.int16, 80), (np.uint16, 80), (np.int32, 80), (np.float64, 80)])
def test_counts_are_scaled_without_rounding(dtype, expected):
    images = [
        SPHERExImage(
            np.full((2, 2), value, dtype),
            unit="electron",
            variance=np.full((2, 2), 3, dtype),
            header=fits.Header({"XPOSURE": time}),
        )
        for value, time in ((100, 50.0), (40, 100.0))
    ]
    output = SubtractTask(config=SubtractConfig(scaleByExposureTime=True)).run(*images).outputImage
    np.testing.assert_array_equal(output.data, expected)
    np.testing.assert_array_equal(output.variance, 3.75)


def test_unsigned_counts_become_negative():
    images = [SPHERExImage(np.full((2, 2), value, np.uint16), unit="adu") for value in (30, 40)]
    np.testing.assert_array_equal(SubtractTask().run(*images).outputImage.data, -10)


def test_flags_that_do_not_fit_leave_the_image_as_it_was():
    first = make(10, 4, 0b1, flag_table=FlagTable({"A": 0}))
    with pytest.raises(ValueError, match="not named"):
        SubtractTask().run(first, make(3, 1, 0b110, flag_table=FlagTable({"B": 1})))
    np.testing.assert_array_equal(first.data, 10)
