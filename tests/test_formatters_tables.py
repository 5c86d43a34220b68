"""Tables that the Butler keeps as parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Column, QTable, Table
from astropy.table.meta import get_header_from_yaml
from lsst.daf.butler import Butler, DatasetProvenance, DatasetType
from lsst.daf.butler.formatters.parquet import arrow_to_astropy, astropy_to_arrow

from spherex.formatters.reading import strip_provenance
from spherex.formatters.tables import to_arrow
from spherex.instrument import SimulatorInstrument
from spherex.spectra import make_plain_table

TABLE = Table({"target": ["a", "b"], "flux": [1.5, np.nan], "flags": np.array([2**40, 0])})


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list in which what pyarrow reads from is kept."""
    found = []
    read = pq.read_table

    def watched(source: Any, *args: Any, **kwargs: Any) -> pa.Table:
        found.append(source)
        return read(source, *args, **kwargs)

    monkeypatch.setattr(pq, "read_table", watched)
    return found


@pytest.fixture(params=["disk", "bucket"])
def stores(
    request: pytest.FixtureRequest, tmp_path: Path, make_repo: Callable[..., Path]
) -> Iterator[tuple[Butler, DatasetType]]:
    """Return a Butler whose files are on disk or in a bucket, with a dataset type of tables."""
    changes = {}
    if request.param == "bucket":
        changes["datastore__root"] = request.getfixturevalue("bucket") + "/store/"
    root = make_repo(tmp_path / "repo", **changes)
    with Butler.from_config(str(root), writeable=True, run="run") as butler:
        SimulatorInstrument().register(butler.registry)
        kind = DatasetType("table", ["instrument"], "AstropyParquet", universe=butler.dimensions)
        butler.registry.registerDatasetType(kind)
        yield butler, kind


def test_table_comes_back_without_a_file_object_of_python(
    stores: tuple[Butler, DatasetType], sources: list[Any]
) -> None:
    butler, kind = stores
    ref = butler.put(TABLE, kind, instrument="simulator")
    got = butler.get(ref)
    assert got.colnames == TABLE.colnames
    assert [list(got[name]) for name in ("target", "flags")] == [["a", "b"], [2**40, 0]]
    np.testing.assert_array_equal(got["flux"], TABLE["flux"])
    assert butler.get(ref, storageClass="ArrowParquet").num_rows == 2
    assert butler.get(ref, parameters={"columns": ["flux"]}).colnames == ["flux"]
    assert len(sources) == 3
    # Threads of pyarrow that own memory of Python abort a program at its end.
    assert {type(one) for one in sources} == {pa.OSFile}


def test_the_provenance_of_an_earlier_table_is_not_written(
    butler: Butler, register: Callable[[str, str], DatasetType]
) -> None:
    register("measured", "AstropyParquet")
    register("again", "AstropyParquet")
    register("copy", "AstropyQTable")
    data_id = {"instrument": "simulator", "exposure": 1, "detector": 3}
    table = Table(TABLE, meta={"epoch": 2016.0})
    # This adds to the metadata of the table.
    first = butler.put(table, "measured", data_id)
    assert table.meta["LSST.BUTLER.DATASETTYPE"] == "measured"
    # As from the header of an image.
    provenance = DatasetProvenance()
    provenance.add_input(first)
    table.meta.update(provenance.to_flat_dict(first, prefix="LSST BUTLER", sep=" ", simple_types=True))
    second = butler.put(table.copy(), "again", data_id)
    # The Butler leaves the metadata out when it reads a table.
    meta = arrow_to_astropy(pq.read_table(butler.getURI(second).ospath)).meta
    assert not [key for key in meta if "INPUT 0" in key or key.startswith("LSST BUTLER")]
    assert (meta["LSST.BUTLER.ID"], meta["LSST.BUTLER.N_INPUTS"], meta["epoch"]) == (str(second.id), 0, 2016.0)
    table.meta[1] = "a"
    copy = butler.put(QTable(table), "copy", data_id)
    assert dict(butler.get(copy).meta) == {"epoch": 2016.0, 1: "a"}
    # What was put is left as it was.
    assert {"LSST.BUTLER.ID", "LSST BUTLER ID"} <= set(table.meta)


def test_provenance_of_each_style_is_removed() -> None:
    provenance = {"LSST BUTLER INPUT 0 ID": "a", "LSST.BUTLER.INPUT.0.ID": "b", "lsst.butler.dataid.exposure": 1}
    others = {"run": "c", "id": 2, "datasettype": "d", "LSST BUTLERS": 3, 4: "e"}
    metadata = provenance | others
    assert strip_provenance(metadata)
    assert metadata == others
    assert not strip_provenance(metadata)


TABLES = {
    "plain": TABLE,
    "measured": make_plain_table({"target": ["a", "bcd", ""], "flux": [1.0, np.nan, -2.0], "good": True}, 3),
    "no rows": make_plain_table({}, 0),
    "no columns": Table(),
    "metadata": Table({"n": [1]}, meta={"b": "2026-01-01", "a": {"list": [1, 2.5]}, "text": "# 'x'"}),
    "provenance": Table(
        {"n": [1]},
        meta={
            "LSST.BUTLER.RUN": "u/run",
            "yes": "no",
            "1": "1e3",
            "k: v": "# \"x\" \\ 'y'",
            "~": "null",
            "count": 3,
            "is": True,
            "none": None,
            " ": "x " * 200,
        },
    ),
    "other texts": Table({"n": [1]}, meta={"text": "\u00b5m \U0001f31f", "lines": "a\nb"}),
    "pandas index": Table({"n": [1]}, meta={"lsst::arrow::astropy_pandas_index": "n"}),
    "mask": Table({"n": np.ma.array([1, 2], mask=[False, True]), "text": ["a", "b"]}),
    "two axes": Table({"n": np.ones((2, 3), np.float32)}),
    "bytes, format": Table([Column([b"a", b"bc"], "bytes"), Column([1.0, 2.0], "x", format=".2f")]),
    "nested metadata": Table([Column([1, 2], "n", meta={"limits": [0, 1]})]),
}


@pytest.mark.parametrize("name", TABLES)
def test_arrow_tables_are_those_of_the_butler(name: str) -> None:
    table = TABLES[name].copy()
    # Twice: the second time the columns are known. Then others of the same names.
    for _ in range(2):
        _check_as_by_the_butler(table)
    for one in table.itercols():
        one.info.description = "another"
    _check_as_by_the_butler(table)


def _check_as_by_the_butler(table: Table) -> None:
    expected, found = astropy_to_arrow(table), to_arrow(table)
    assert list(found.schema) == list(expected.schema)
    assert [field.metadata for field in found.schema] == [field.metadata for field in expected.schema]
    assert _parsed(found.schema.metadata) == _parsed(expected.schema.metadata)
    # As texts, because NaN is not equal to NaN.
    assert repr(found.to_pydict()) == repr(expected.to_pydict())


def _parsed(metadata: dict[bytes, bytes]) -> dict[bytes, Any]:
    """Return metadata with the YAML read: there are several ways to write a text."""
    header = get_header_from_yaml(metadata[b"table_meta_yaml"].decode().split("\n"))
    # As texts, because True is equal to 1.
    return metadata | {b"table_meta_yaml": repr(header)}
