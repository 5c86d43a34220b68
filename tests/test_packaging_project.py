"""Files about the project: they agree with pyproject.toml, and the tools that read them accept them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"
CONDA_NAMES = {"matplotlib": "matplotlib-base"}


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def read_yaml(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text())


def test_the_citation_has_the_version_and_the_licence() -> None:
    citation, project = read_yaml("CITATION.cff"), pyproject()["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["authors"][0]["name"].removeprefix("The") in (ROOT / "LICENSE").read_text()


def test_read_the_docs_builds_what_the_workflow_builds() -> None:
    config = read_yaml(".readthedocs.yaml")
    assert (ROOT / config["sphinx"]["configuration"]).is_file()
    assert config["sphinx"]["fail_on_warning"] is True
    (install,) = config["python"]["install"]
    assert set(install["extra_requirements"]) <= set(pyproject()["project"]["optional-dependencies"])
    steps = read_yaml(".github/workflows/pages.yaml")["jobs"]["build"]["steps"]
    assert config["build"]["tools"]["python"] in [step.get("with", {}).get("python-version") for step in steps]
    assert any("'.[docs]'" in step.get("run", "") for step in steps)


def test_the_conda_recipe_has_the_dependencies_of_the_package() -> None:
    recipe, project = read_yaml(".github/conda-forge/recipe.yaml"), pyproject()["project"]
    assert recipe["context"]["version"] == project["version"]
    needed = {}
    for requirement in map(Requirement, project["dependencies"]):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": "3.12"}):
            needed[CONDA_NAMES.get(requirement.name, requirement.name)] = str(requirement.specifier)
    listed = dict((*line.split(maxsplit=1), "")[:2] for line in recipe["requirements"]["run"])
    assert listed.pop("python") == ">=3.12"
    # conda does not know extras; this is what lsst-resources[s3] adds.
    assert listed.pop("boto3") == ""
    assert listed == needed


@pytest.mark.parametrize(("tag", "status"), [("v{}", 0), ("{}", 1), ("v9.9.9", 1)])
def test_only_a_tag_with_the_version_is_published(tag: str, status: int) -> None:
    steps = read_yaml(".github/workflows/publish.yaml")["jobs"]["build"]["steps"]
    (check,) = [step["run"] for step in steps if step.get("name") == "The tag is the version"]
    environment = {"PATH": "/usr/bin:/bin", "GITHUB_REF_NAME": tag.format(pyproject()["project"]["version"])}
    assert subprocess.run(["bash", "-e", "-c", check], cwd=ROOT, env=environment).returncode == status


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.yaml")), ids=lambda path: path.name)
def test_jobs_of_workflows_end_and_have_few_rights(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert [name for name, job in workflow["jobs"].items() if "timeout-minutes" not in job] == []


@pytest.mark.parametrize("kind", ["feature", "change", "bugfix", "removal"])
def test_a_fragment_becomes_a_line_of_the_changelog(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("towncrier")
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "doc" / "changes", tmp_path / "doc" / "changes")
    assert f"`{kind}`" in (tmp_path / "doc" / "changes" / "README.md").read_text()
    fragment = tmp_path / "doc" / "changes" / f"+poles.{kind}.md"
    fragment.write_text("Images at the poles.\n")
    command = [sys.executable, "-m", "towncrier", "build", "--yes", "--version", "9.0.0", "--date", "2027-01-01"]
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    before, after = (place / "CHANGELOG.md" for place in (ROOT, tmp_path))
    start, _, older = before.read_text().partition("<!-- towncrier release notes start -->\n")
    new = after.read_text().removeprefix(start).removesuffix(older)
    assert re.search(r"\n## 9\.0\.0, 2027-01-01\n\n### \w+\n(?:.*\n)*[-*] Images at the poles\.\n", new), new
    assert not fragment.exists()


def test_fragments_have_names_that_towncrier_reads() -> None:
    kinds = "|".join(kind["directory"] for kind in pyproject()["tool"]["towncrier"]["type"])
    names = [path.name for path in (ROOT / "doc" / "changes").iterdir() if path.name != "README.md"]
    assert [name for name in names if not re.fullmatch(rf"(\+\w+|\d+)\.({kinds})(\.\d+)?\.md", name)] == []
