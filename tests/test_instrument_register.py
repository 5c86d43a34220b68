from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lsst.daf.butler import Butler
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.pipe.base import Instrument

import spherex.instrument
from spherex.detectors import DETECTORS
from spherex.instrument import SimulatorInstrument, SPHERExInstrument

from .ingest_helpers import butler_command

CLASS = "spherex.instrument.SimulatorInstrument"


def test_register_instrument_command_can_be_repeated(repo_root: Path) -> None:
    for _ in range(2):
        assert butler_command("register-instrument", repo_root, CLASS).code == 0
    with Butler.from_config(str(repo_root)) as butler:
        (record,) = butler.query_dimension_records("instrument")
        assert record.toDict() == {
            "name": "simulator",
            "exposure_max": 1_000_000,
            "detector_max": 7,
            "class_name": CLASS,
        }
        detectors = butler.query_dimension_records("detector", instrument="simulator", order_by="detector")
        assert [(d.id, d.full_name, d.lmin, d.lmax, d.r, d.desc) for d in detectors] == [
            (d.id, f"array{d.id}", d.lmin, d.lmax, d.r, d.desc) for d in DETECTORS
        ]


def test_instrument_is_found_by_name(repo_root: Path) -> None:
    butler_command("register-instrument", repo_root, CLASS)
    with Butler.from_config(str(repo_root)) as butler:
        instrument = Instrument.fromName("simulator", butler.registry)
    assert type(instrument) is SimulatorInstrument
    assert isinstance(instrument, SPHERExInstrument)


def test_instrument_of_another_package_is_found_by_name(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "other_telescope"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cameras.py").write_text(
        "from spherex.instrument import SPHERExInstrument\n"
        "class TestCamera(SPHERExInstrument):\n"
        "    name = 'test_camera'\n"
        "    exposure_max = 10\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert butler_command("register-instrument", repo_root, "other_telescope.cameras.TestCamera").code == 0
    with Butler.from_config(str(repo_root)) as butler:
        (record,) = butler.query_dimension_records("instrument")
        instrument = Instrument.fromName("test_camera", butler.registry)
    assert record.class_name == "other_telescope.cameras.TestCamera"
    assert type(instrument) is sys.modules["other_telescope.cameras"].TestCamera


@pytest.mark.parametrize("name", ["SPHEREx", "SimulatorInstrument"])
def test_instruments_keep_the_names_of_repositories_made_before(repo_root: Path, name: str) -> None:
    instrument: SPHERExInstrument = getattr(spherex.instrument, name)()
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        instrument.register(butler.registry)
        (record,) = butler.query_dimension_records("instrument")
        assert record.class_name == f"spherex.instrument.{name}"
        assert type(Instrument.fromName(instrument.name, butler.registry)) is type(instrument)


def test_changed_records_need_update(repo_root: Path) -> None:
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        SimulatorInstrument().register(butler.registry)
        detector = {"instrument": "simulator", "id": 2, "full_name": "array2", "lmin": 9.0}
        butler.registry.insertDimensionData("detector", detector, replace=True)
        with pytest.raises(ConflictingDefinitionError):
            SimulatorInstrument().register(butler.registry)
        SimulatorInstrument().register(butler.registry, update=True)
        (record,) = butler.query_dimension_records("detector", instrument="simulator", detector=2)
        assert record.lmin == DETECTORS[1].lmin


def test_another_universe_is_refused(tmp_path: Path) -> None:
    Butler.makeRepo(str(tmp_path / "lsst"))
    with (
        Butler.from_config(str(tmp_path / "lsst"), writeable=True) as butler,
        pytest.raises(RuntimeError, match="universe 'daf_butler' version \\d+, not 'spherex'.*butler create"),
    ):
        SimulatorInstrument().register(butler.registry)


def test_raw_formatter() -> None:
    from spherex.formatters import SPHERExImageFormatter

    assert SimulatorInstrument().getRawFormatter({}) is SPHERExImageFormatter


def test_table_of_detectors_does_not_import_pipe_base() -> None:
    code = "import sys, spherex.detectors; assert not any(name.startswith('lsst') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_base_class_names_the_class_to_use() -> None:
    with pytest.raises(TypeError, match=r"use spherex\.instrument\.SPHEREx"):
        SPHERExInstrument.getName()
