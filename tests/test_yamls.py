"""YAML from other sites: bounded work; promise 3 of doc/safe_formats.md."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset

from spherex.errors import CatalogError, ProductError
from spherex.ingest.locations import read_list
from spherex.targets import read_catalog
from spherex.yamls import MOST_BYTES, load_yaml

from .calibrations_helpers import ingest

LONG = b"x: " + b":".join([b"10"] * 70_000)
"""A number of 210,000 characters, which takes 20 s."""

LAUGHS = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + i, 98 + i, b", ".join([b"*%c" % (97 + i)] * 9)) for i in range(9)
)
"""Ten lines that stand for 3e9 values."""

MERGES = b"a: &a {x: 1}\n" + b"".join(
    b"%c: &%c {<<: [%s]}\n" % (98 + i, 98 + i, b", ".join([b"*%c" % (97 + i)] * 9)) for i in range(9)
)

BAD = {
    "sexagesimal number": (LONG, "line 1: int 10:10:10:10:10:10:10... has 209999 characters"),
    "digits": (b"x: " + b"9" * 200_000, "has 200000 characters"),
    "fraction": (b"a: 1\nx: 0." + b"9" * 200, "line 2: float 0.999999999999999999... has 202 characters"),
    "named number": (b"x: !!int '" + b"1" * 5000 + b"'", "has 5000 characters"),
    "aliases": (LAUGHS, "it expands to more than 1000000 values"),
    "merges": (MERGES, "it expands to more than 1000000 values"),
    "brackets": (b"[" * 100_000, "collections are nested more than 50 deep"),
    "lists": (b"- " * 1000, "collections are nested more than 50 deep"),
    "itself": (b"a: &a [*a]", "the alias a stands for itself"),
    "object": (b"!!python/object/apply:os.system [ls]", "could not determine a constructor for the tag"),
    "month": (b"x: 2026-99-99", "month must be in 1..12"),
    "no float": (b"x: !!float ''", "not YAML"),
    "no truth": (b"x: !!bool y", "not YAML"),
    "not closed": (b"{a: 1", "not YAML"),
    "not text": (b"\xff\xfe\x00", "not YAML"),
    "size": (b"#" * (MOST_BYTES + 1), "more than 10000000"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name: str) -> None:
    content, message = BAD[name]
    begin = time.process_time()
    with pytest.raises(ProductError) as caught:
        load_yaml(content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.process_time() - begin < 2.0


def test_values_are_those_of_pyyaml() -> None:
    content = b"""
a: 1
b: [1.5, 0x1f, 1:30, 190:20:30.15, 1_000, ~, yes, .inf, 2026-01-01]
c: &c {k: 1, l: [2, x]}
d: *c
e: {<<: *c, m: 2}
"""
    value = load_yaml(content)
    assert value == yaml.safe_load(content)
    assert value["b"][-1] == datetime.date(2026, 1, 1)
    assert load_yaml(b"") is None


@pytest.mark.parametrize("content", [LONG, LAUGHS, MERGES], ids=["number", "aliases", "merges"])
def test_bad_yaml_is_not_ingested(repo_root: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "in" / "gain_factors_spx_base-2025-158.yaml"
    path.parent.mkdir()
    path.write_bytes(content)
    begin = time.process_time()
    outcome = ingest(repo_root, path.parent)
    assert time.process_time() - begin < 10.0
    assert outcome.code == 1
    assert f"failed: {path}: not YAML (" in outcome.output


def described(name: str, lines: list[str], path: Path) -> Path:
    """Write a table with a description of columns in YAML; return its path."""
    path = path / name
    table = Table({"name": ["a"], "ra": [10.0], "dec": [20.0], "uri": ["a.fits"]})
    if name.endswith(".parquet"):
        arrow = pa.table({key: table[key].tolist() for key in table.colnames})
        pq.write_table(arrow.replace_schema_metadata({"table_meta_yaml": "\n".join(lines)}), path)
    elif name.endswith(".fits"):
        hdu = fits.table_to_hdu(table)
        begin, end = (f"--{word}-ASTROPY-SERIALIZED-COLUMNS--" for word in ("BEGIN", "END"))
        cards = [line[i : i + 70] + "\\" * (i + 70 < len(line)) for line in lines for i in range(0, len(line), 70)]
        for card in (begin, *cards, end):
            hdu.header.add_comment(card)
        hdu.writeto(path)
    else:
        text = "\n".join(["%ECSV 1.0", "---", *lines])
        rows = "name ra dec uri\na 10 20 a.fits\n"
        path.write_text("".join(f"# {line}\n" for line in text.split("\n")) + rows)
    return path


DESCRIPTION = [
    "datatype:",
    "- {name: name, datatype: string}",
    "- {name: ra, datatype: float64}",
    "- {name: dec, datatype: float64}",
    "- {name: uri, datatype: string}",
]


@pytest.mark.parametrize("name", ["a.ecsv", "a.csv", "a.fits", "a.parquet"])
@pytest.mark.parametrize("content", [LONG, LAUGHS, MERGES], ids=["number", "aliases", "merges"])
def test_bad_yaml_in_tables_is_not_read(tmp_path: Path, name: str, content: bytes) -> None:
    if name == "a.fits":
        # Each card is parsed by astropy, which takes longer than the YAML.
        content = content.replace(LONG, LONG[:2000])
    path = described(name, [*DESCRIPTION, "meta:", *(f"  {line}" for line in content.decode().splitlines())], tmp_path)
    begin = time.process_time()
    with pytest.raises(CatalogError, match=r"not YAML \(line \d+: (int 10:10|it expands to more than)"):
        read_catalog(str(path))
    if name != "a.parquet":
        with pytest.raises(ProductError, match=r"not YAML \(line \d+: (int 10:10|it expands to more than)"):
            read_list(str(path))
    assert time.process_time() - begin < 2.0


@pytest.mark.parametrize("name", ["a.ecsv", "a.csv", "a.fits", "a.parquet"])
def test_good_yaml_in_tables_is_read(tmp_path: Path, name: str) -> None:
    # astropy writes the last one into all FITS files with such a header.
    kept = ["- unit: !astropy.units.Unit {unit: Jy}", f"- text: {'x' * 200}", "- __serialized_columns__: {}"]
    meta = ["meta: !!omap", *kept]
    path = described(name, [*DESCRIPTION, *meta], tmp_path)
    assert read_catalog(str(path))["ra"].tolist() == [10.0]
    assert [item.place for item in read_list(str(path))[0]] == ["row 1"]


def test_bad_yaml_is_not_read(repo_root: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(LONG)
    with Butler.from_config(str(repo_root), writeable=True, run="run") as butler:
        kind = DatasetType("numbers", (), "StructuredDataDict", universe=butler.dimensions)
        butler.registry.registerDatasetType(kind)
        ref = butler.put({"a": [1, 2.5, "x"]}, kind)
        assert butler.get(ref) == {"a": [1, 2.5, "x"]}
        butler.pruneDatasets([ref], unstore=True, purge=True, disassociate=True)
        ref = DatasetRef(kind, ref.dataId, run="run")
        butler.ingest(FileDataset(path=str(path), refs=ref), transfer="copy")
        with pytest.raises(Exception, match=r"bad|numbers") as caught:
            butler.get(ref)
    assert "has 209999 characters" in str(caught.value) + str(caught.value.__cause__)
