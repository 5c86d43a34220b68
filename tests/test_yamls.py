"""YAML from other sites: bounded work; promise 3 of doc/safe_formats.md."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import pytest
import yaml
from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset

from spherex.errors import ProductError
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
