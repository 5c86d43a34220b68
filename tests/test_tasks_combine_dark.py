"""CombineDarkTask on images of a real repository, with known truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.stats import sigma_clip
from lsst.daf.butler import Butler, DatasetType, DeferredDatasetHandle
from lsst.pipe.base.testUtils import (
    assertValidInitOutput,
    assertValidOutput,
    lintConnections,
    makeQuantum,
    runTestQuantum,
)

from spherex.image import FlagTable, Plane, SPHERExImage
from spherex.tasks import CombineDarkConfig, CombineDarkConnections, CombineDarkTask
from spherex.tasks.clipping import clip

SHAPE = (60, 50)
NOISE = 0.1


def make(pixels: Any, **kwargs: Any) -> SPHERExImage:
    pixels = np.broadcast_to(np.asarray(pixels, np.float32), kwargs.pop("shape", SHAPE)).copy()
    header = fits.Header({"DETECTOR": 3, "XPOSURE": 100.0} | dict(kwargs.pop("cards", {})))
    kwargs.setdefault("unit", "electron/s")
    kwargs.setdefault("variance", np.full(pixels.shape, NOISE**2, np.float32))
    kwargs.setdefault("flags", np.zeros(pixels.shape, np.int32))
    return SPHERExImage(pixels, header=header, **kwargs)


@pytest.fixture
def handles(butler: Butler, register: Callable[[str, str], DatasetType]) -> Callable[..., list[DeferredDatasetHandle]]:
    """Return a function that puts darks of exposures 100, 101, ... into the repository."""

    def put(images: Sequence[SPHERExImage]) -> list[DeferredDatasetHandle]:
        register("dark", "SPHERExImage")
        found = []
        for exposure, image in enumerate(images, start=100):
            place = {"instrument": "simulator", "exposure": exposure, "detector": 3}
            record = {"instrument": "simulator", "id": exposure, "name": f"sim_{exposure}", "group_name": "x"}
            butler.registry.insertDimensionData("exposure", record)
            butler.registry.insertDimensionData("exposure_detector_region", place)
            found.append(butler.getDeferred(butler.put(image, "dark", place)))
        return found

    return put


@pytest.fixture
def truth(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(1, 2, SHAPE)


def combine(handles: Sequence[DeferredDatasetHandle], **config: Any) -> SPHERExImage:
    return CombineDarkTask(config=CombineDarkConfig(**config)).run(handles).outputDark


@pytest.mark.parametrize("source", ["inputs", "spread"])
@pytest.mark.parametrize("number", [8, 40])
def test_the_mean_is_the_truth_within_its_variance(handles, rng, truth, number, source):
    images = [make(truth + rng.normal(0, NOISE, SHAPE)) for _ in range(number)]
    for image in images[:2]:
        # Far off, in other pixels of each image, and not flagged.
        hit = rng.uniform(size=SHAPE) < 0.02
        image.data[hit] += 50
    output = combine(handles(images), varianceFrom=source)
    pull = (output.data - truth) / np.sqrt(output.variance)
    assert abs(pull.mean()) < 4 * pull.std() / np.sqrt(pull.size)
    width = 1.4826 * np.median(np.abs(pull - np.median(pull)))
    # The variance from the spread of few values has Student's distribution.
    assert width == pytest.approx(1, abs=0.25 if (number, source) == (8, "spread") else 0.06)
    number_plane = output.planes["NINPUT"].data
    assert number_plane.max() == number
    assert output.header["VARFROM"] == source
    assert output.header["NCOMBINE"] == number
    if source == "inputs":
        np.testing.assert_allclose(output.variance, NOISE**2 / number_plane, rtol=1e-5)


@pytest.mark.parametrize("sigma", [2.0, 3.0, 5.0])
def test_clipping_is_that_of_astropy(rng, sigma):
    pixels = rng.normal(1e4, 3, (35, 40, 30)).astype(np.float32)
    pixels[rng.uniform(size=pixels.shape) < 0.03] += 1000
    pixels[4, rng.uniform(size=(40, 30)) < 0.1] = np.nan
    pixels[:, 7, 7] = np.nan
    pixels[:, 8, 8] = 5.0
    for robust, names in ((False, ("mean", "std")), (True, ("median", "mad_std"))):
        values = np.ma.masked_invalid(pixels)
        times = 1 if robust else 5
        expected = sigma_clip(values, sigma=sigma, maxiters=times, cenfunc=names[0], stdfunc=names[1], axis=0)
        expected = expected.astype(float)
        ours = pixels.copy()
        clipped = clip(ours, sigma, 5, robust)
        np.testing.assert_array_equal(np.isnan(ours), expected.mask)
        np.testing.assert_array_equal(clipped.number, expected.count(axis=0))
        np.testing.assert_allclose(clipped.mean, expected.mean(axis=0).filled(np.nan), rtol=1e-6)
        np.testing.assert_allclose(
            clipped.squares, (expected.var(axis=0) * expected.count(axis=0)).filled(0), rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("times", [(100.0,), (100.0, 100.1, 100.2, 100.3)])
@pytest.mark.parametrize(("number", "mean", "scatter"), [(8, 100.3, 0.35), (20, 2.3, 0.4), (8, 0.2, 0.2)])
def test_rounded_values_are_not_clipped(handles, rng, number, mean, scatter, times):
    # More than half of the values of most pixels are equal, or nearly so after scaling.
    pixels = np.rint(rng.normal(mean, scatter, (number, *SHAPE))).astype(np.int16)
    times = [times[place % len(times)] for place in range(number)]
    images = [
        SPHERExImage(one, unit="adu", variance=np.ones(SHAPE, np.float32), header=fits.Header({"XPOSURE": time}))
        for one, time in zip(pixels, times, strict=True)
    ]
    scaled = pixels * (np.median(times) / np.array(times))[:, None, None]
    expected = scaled.mean(axis=0)
    # What no rounding explains is clipped all the same, however many there are of it.
    images[0].data[7, 7], images[1].data[7, 7] = 20000, 3000
    expected[7, 7] = scaled[2:, 7, 7].mean()
    output = combine(handles(images))
    assert output.planes["NINPUT"].data[7, 7] == number - 2
    np.testing.assert_allclose(output.data, expected, rtol=1e-6, atol=1e-6)


def test_the_grain_is_that_of_the_scaled_values(handles):
    # A value that is two units off in a short exposure is five off when it is scaled.
    values, times = (295, 300, 300, 300, 300, 301), (40.0, 100.0, 100.0, 100.0, 100.0, 100.0)
    images = [
        SPHERExImage(
            np.full(SHAPE, round(value * time / 100), np.int16),
            unit="adu",
            variance=np.ones(SHAPE, np.float32),
            header=fits.Header({"XPOSURE": time}),
        )
        for value, time in zip(values, times, strict=True)
    ]
    assert set(combine(handles(images)).planes["NINPUT"].data.ravel().tolist()) == {6}


@pytest.mark.parametrize("values", [[1, 1, 600], [1] * 5 + [600] * 2, [1] * 8 + [50, 600]])
def test_outliers_among_equal_values_are_clipped(handles, values):
    output = combine(handles([make(value) for value in values]))
    np.testing.assert_array_equal(output.data, 1)


def test_size_of_blocks_changes_nothing(handles, rng):
    shape = (300, 601)
    images = [make(rng.normal(1, NOISE, shape), shape=shape) for _ in range(12)]
    for image in images:
        image.variance[...] = rng.uniform(0.5, 1, shape)
        image.variance[rng.uniform(size=shape) < 0.1] = np.nan
        image.flags[rng.uniform(size=shape) < 0.1] = image.flag_table.bits("TRANSIENT")
    inputs = handles(images)
    # The first reads three bands of three blocks, the second one block.
    small, large = (combine(inputs, blockSize=size) for size in (1, 40))
    np.testing.assert_array_equal(small.data, large.data)
    np.testing.assert_array_equal(small.variance, large.variance)
    np.testing.assert_array_equal(small.flags, large.flags)


def test_spoiled_pixels_are_left_out(handles):
    images = [make(1.0) for _ in range(5)]
    transient, missing = (images[0].flag_table.bits(name) for name in ("TRANSIENT", "MISSING_DATA"))
    images[2].data[4, 5], images[2].flags[4, 5] = 1e5, transient
    images[3].data[6, 7] = np.nan
    for image in images:
        image.flags[8, 9] = transient
        image.data[10, 11] = np.nan
    output = combine(handles(images))
    expected = np.full(SHAPE, 5)
    expected[4, 5] = expected[6, 7] = 4
    expected[8, 9] = expected[10, 11] = 0
    np.testing.assert_array_equal(output.planes["NINPUT"].data, expected)
    np.testing.assert_array_equal(output.data[expected > 0], 1)
    assert np.isnan(output.data[[8, 10], [9, 11]]).all()
    assert np.isnan(output.variance[[8, 10], [9, 11]]).all()
    np.testing.assert_array_equal(output.flag_plane.has("MISSING_DATA"), expected == 0)
    # What some inputs have is no property of the dark, what all have is one.
    assert output.flags[4, 5] == 0
    assert output.flags[8, 9] == transient | missing


def test_pixels_of_unknown_variance_are_flagged(handles):
    images = [make(1.0) for _ in range(4)]
    for image in images:
        image.variance[3, 3] = np.nan
    images[1].variance[5, 5] = np.nan
    images[2].variance[6, 6] = -1
    output = combine(handles(images))
    np.testing.assert_array_equal(np.argwhere(output.flag_plane.has("MISSING_DATA")), [[3, 3]])
    assert output.data[3, 3] == 1
    np.testing.assert_allclose(output.variance[[5, 6], [5, 6]], NOISE**2 / 4, rtol=1e-6)


def test_a_single_value_has_no_spread(handles):
    images = [make(1.0), make(2.0)]
    images[0].data[2, 2] = np.nan
    output = combine(handles(images), varianceFrom="spread")
    np.testing.assert_array_equal(np.argwhere(output.flag_plane.has("MISSING_DATA")), [[2, 2]])
    assert output.variance[0, 0] == pytest.approx(0.25)


def test_flags_of_different_tables_are_matched_by_name(handles):
    first = make(1.0, flags=np.full(SHAPE, 0b01, np.int32), flag_table=FlagTable({"HOT": 0, "COLD": 1}))
    second = make(1.0, flags=np.full(SHAPE, 0b11, np.int32), flag_table=FlagTable({"COLD": 0, "HOT": 1}))
    output = combine(handles([first, second]))
    assert output.flag_plane.has("HOT").all()
    assert not output.flag_plane.has("COLD").any()


def test_images_need_no_flags(handles):
    output = combine(handles([make(1.0, flags=None), make(1.0, flags=None)]))
    assert output.flags is not None
    assert not output.flags.any()


def test_hot_pixels_go_to_the_flags(handles, rng):
    images = [make(rng.normal(1, NOISE, SHAPE)) for _ in range(10)]
    for image in images:
        image.data[20, 30] += 5
        image.data[40, 10] -= 5
    task = CombineDarkTask()
    output = task.run(handles(images)).outputDark
    np.testing.assert_array_equal(np.argwhere(output.flag_plane.has("HOT")), [[20, 30]])
    np.testing.assert_array_equal(np.argwhere(output.flag_plane.has("COLD")), [[40, 10]])
    assert (task.metadata["hot_pixels"], task.metadata["cold_pixels"], task.metadata["inputs"]) == (1, 1, 10)


def test_counts_are_scaled_to_the_median_exposure_time(handles):
    times = (50.0, 100.0, 200.0)
    images = [make(3 * time, unit="electron", variance=np.full(SHAPE, time), cards={"XPOSURE": time}) for time in times]
    output = combine(handles(images))
    np.testing.assert_allclose(output.data, 300)
    np.testing.assert_allclose(output.variance, (50 * 4 + 100 + 200 / 4) / 9)
    assert output.header["XPOSURE"] == 100
    assert output.header["TSCALED"] is True


@pytest.mark.parametrize("unit", ["V", "J", "Jy s"])
def test_what_grows_with_time_is_scaled(handles, unit):
    images = [make(time, unit=unit, cards={"XPOSURE": time}) for time in (50.0, 100.0)]
    np.testing.assert_allclose(combine(handles(images)).data, 75)


def test_counts_are_left_as_they_are_on_demand(handles):
    images = [make(10.0, unit="electron", cards={"XPOSURE": time}) for time in (50.0, 100.0)]
    output = combine(handles(images), scaleCounts=False)
    np.testing.assert_array_equal(output.data, 10)
    assert "XPOSURE" not in output.header


def test_the_detector_may_be_a_text(handles):
    output = combine(handles([make(1.0), make(3.0, cards={"DETECTOR": "3"})]))
    np.testing.assert_array_equal(output.data, 2)


@pytest.mark.parametrize("unit", ["electron/s", "MJy/sr", "uJy"])
def test_rates_are_not_scaled(handles, unit):
    output = combine(handles([make(10.0, unit=unit, cards={"XPOSURE": time}) for time in (50.0, 100.0)]))
    np.testing.assert_array_equal(output.data, 10)
    assert output.header["TSCALED"] is False


def test_headers_are_merged(handles, header):
    cards = [{"OBSID": "a", "TELESCOP": "SPHEREx", "MJD-BEG": 5.0, "MJD-END": 6.0, "DATE-BEG": "2026-01-02"}]
    cards.append({"OBSID": "b", "TELESCOP": "SPHEREx", "MJD-BEG": 4.0, "MJD-END": 5.0, "DATE-BEG": "2026-01-01"})
    images = [make(1.0, cards=dict(header) | one) for one in cards]
    for image in images:
        image.header.add_history("made by somebody")
        image.planes["ZODI"] = Plane(fits.ImageHDU(np.ones(SHAPE, np.float32), name="ZODI"))
    output = combine(handles(images))
    assert output.header["TELESCOP"] == "SPHEREx"
    assert "OBSID" not in output.header
    assert (output.header["MJD-BEG"], output.header["MJD-END"], output.header["DATE-BEG"]) == (4, 6, "2026-01-01")
    assert output.wcs is None
    assert "CRVAL1" not in output.header
    assert "somebody" not in str(output.header["HISTORY"])
    assert list(output.planes) == ["NINPUT"]


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="no images"):
        CombineDarkTask().run([])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"shape": (30, 50)}, r"exposure: 100.* has \(60, 50\), .*exposure: 101.* has \(30, 50\)"),
        ({"shape": (90, 50)}, r"exposure: 100.* has \(60, 50\), .*exposure: 101.* has \(90, 50\)"),
        ({"shape": (60, 40)}, r"exposure: 100.* has \(60, 50\), .*exposure: 101.* has \(60, 40\)"),
        ({"unit": "adu"}, r"exposure: 100.* is in electron / s, .*exposure: 101.* in adu"),
        ({"cards": {"DETECTOR": 4}}, r"exposure: 100.* of detector 3, .*exposure: 101.* of detector 4"),
        ({"variance": None}, r"no variance: .*exposure: 101.*Set varianceFrom='spread'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(handles, other, message):
    inputs = handles([make(1.0), make(1.0, **other)])
    with pytest.raises(ValueError, match=message):
        combine(inputs)


@pytest.mark.parametrize(
    ("begins", "scales", "expected"),
    [
        ((5.0, 4.0), (None, "UTC"), 4.0),
        ((5.0, 4.0), ("TAI", "TAI"), 4.0),
        ((5.0, 4.0), ("TAI", "tai"), 4.0),
        ((5.0, 4.0), ("UTC", "TAI"), None),
        # The same number, but 37 s apart.
        ((4.0, 4.0), ("UTC", "TAI"), None),
    ],
)
def test_times_of_different_scales_are_not_mixed(handles, begins, scales, expected):
    cards = [{"MJD-BEG": begin, "TIMESYS": scale} for begin, scale in zip(begins, scales, strict=True)]
    output = combine(handles([make(1.0, cards=one) for one in cards]))
    assert output.header.get("MJD-BEG") == expected
    if expected is not None:
        assert output.header["TIMESYS"] == (scales[0] or "UTC")


def test_an_unknown_exposure_time_of_counts_is_refused(handles):
    inputs = handles([make(1.0, unit="electron"), make(1.0, unit="electron", cards={"XPOSURE": None})])
    with pytest.raises(ValueError, match=r"exposure time \(XPOSURE\) of the image .*exposure: 101"):
        combine(inputs)


def test_the_spread_of_one_image_is_refused(handles):
    with pytest.raises(ValueError, match="exposure: 100.* has no spread"):
        combine(handles([make(1.0)]), varianceFrom="spread")


def test_a_damaged_image_is_named(handles, butler):
    inputs = handles([make(1.0), make(1.0)])
    path = butler.getURI(inputs[1].ref).ospath
    with open(path, "r+b") as stream:
        stream.write(b" " * 80)
    with pytest.raises(ValueError, match="dark_101_3"):
        combine(inputs)


def test_connections_are_sound():
    lintConnections(CombineDarkConnections)


def test_on_a_repository(butler, handles):
    inputs = handles([make(1.0), make(3.0)])
    butler.registry.registerDatasetType(
        DatasetType(
            "combined_dark", ("instrument", "detector"), "SPHERExImage", universe=butler.dimensions, isCalibration=True
        )
    )
    data_id = butler.registry.expandDataId(instrument="simulator", detector=3)
    task = CombineDarkTask()
    ids = {"inputDarks": [handle.dataId for handle in inputs], "outputDark": data_id}
    runTestQuantum(task, butler, makeQuantum(task, butler, data_id, ids), mockRun=False)
    output = butler.get("combined_dark", data_id)
    np.testing.assert_array_equal(output.data, 2)
    np.testing.assert_array_equal(output.planes["NINPUT"].data, 2)
    assert output.unit == "electron/s"
    history = list(output.header["HISTORY"])
    for exposure, handle in enumerate(inputs, start=100):
        assert f"[INPUT] dark {exposure} {handle.ref.id}" in history
    assert output.header["LSST BUTLER N_INPUTS"] == 2
    assertValidOutput(task, task.run(inputs))
    assertValidInitOutput(task)
