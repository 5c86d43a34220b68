"""The configurations for a PostgreSQL server and for BPS; doc/scale_out.md."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy
import yaml
from lsst.daf.butler import Butler, ButlerConfig, Config, DimensionConfig, DimensionUniverse
from lsst.pipe.base import Pipeline

from .conftest import DIMENSIONS, SEED
from .test_readme import ROOT, blocks_of

PAGE = ROOT / "doc" / "scale_out.md"
POSTGRES = "resource://spherex/configs/butler_postgres.yaml"
BPS = ("local", "slurm")


def bps_config(name: str) -> Config:
    return Config(f"resource://spherex/configs/bps_{name}.yaml")


def test_a_server_changes_only_the_database() -> None:
    plain, server = Config(SEED), Config(POSTGRES)
    assert server["registry", "db"].startswith("postgresql+psycopg2://")
    assert server["registry", "namespace"]
    del server["registry", "namespace"]
    server["registry", "db"] = plain["registry", "db"]
    assert server == plain


def test_a_seed_of_ones_own(tmp_path: Path, postgresql: str) -> None:
    (block,) = (block for block in blocks_of(PAGE, "yaml") if "butler_postgres.yaml" in block)
    seed = yaml.safe_load(block)
    seed["registry"]["db"] = postgresql
    (tmp_path / "seed.yaml").write_text(yaml.safe_dump(seed))
    Butler.makeRepo(
        str(tmp_path / "repo"),
        config=Config(str(tmp_path / "seed.yaml")),
        dimensionConfig=DIMENSIONS,
        forceConfigRoot=False,
    )
    assert ButlerConfig(str(tmp_path / "repo"))["registry", "db"] == postgresql
    engine = sqlalchemy.create_engine(postgresql, poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as connection:
        assert sqlalchemy.inspect(connection).has_table("exposure", schema=seed["registry"]["namespace"])


@pytest.mark.parametrize("name", BPS)
def test_every_task_is_in_one_cluster_by_dimensions_that_it_has(name: str) -> None:
    config = bps_config(name)
    graph = Pipeline.from_uri(config["pipelineYaml"]).to_graph()
    graph.resolve(dimensions=DimensionUniverse(DimensionConfig(DIMENSIONS)))
    clusters = [(cluster["pipetasks"].split(","), cluster["dimensions"].split(",")) for cluster in clusters_of(config)]
    assert sorted(label for labels, _ in clusters for label in labels) == sorted(graph.tasks)
    for labels, dimensions in clusters:
        for label in labels:
            assert set(dimensions) <= graph.tasks[label].dimensions.names


@pytest.mark.parametrize("name", BPS)
def test_the_site_of_a_configuration_is_described(name: str) -> None:
    config = bps_config(name)
    assert config["computeSite"] == name
    assert config["site", name, "class"].startswith("lsst.ctrl.bps.parsl.sites.")
    assert config["finalJob", "requestCpus"] == 1
    # YAML would read a time without quotation marks as a number.
    assert isinstance(config.get(("site", name, "walltime"), ""), str)


@pytest.mark.parametrize("name", BPS)
def test_bps_takes_a_configuration_of_ones_own(name: str, tmp_path: Path) -> None:
    bps = pytest.importorskip("lsst.ctrl.bps", reason="there is no BPS: install the extra bps")
    (block,) = (block for block in blocks_of(PAGE, "yaml") if f"bps_{name}.yaml" in block)
    (tmp_path / "mine.yaml").write_text(block)
    config = bps.BpsConfig(str(tmp_path / "mine.yaml"), search_order=["payload"])
    for key, expected in {
        "payloadName": "spectra_mine",
        "inCollection": "SPHEREx/level2,SPHEREx/calib,catalogs/mine",
        "dataQuery": "instrument='SPHEREx' AND catalog='mine'",
        "butlerConfig": "DATA",
    }.items():
        assert config.search(key)[1] == expected


def test_the_page_has_the_clusters() -> None:
    text = PAGE.read_text()
    for cluster in clusters_of(bps_config("local")):
        tasks, dimensions = (cluster[key].split(",") for key in ("pipetasks", "dimensions"))
        row = f"| {', '.join(f'`{task}`' for task in tasks)} | {', '.join(dimensions)} |"
        assert row in text


def clusters_of(config: Config) -> list[Config]:
    return [config["cluster", name] for name in config["cluster"]]
