"""The EUPS table, pyproject.toml and the imports of the code tell the same."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "ups" / "spherex_butler.table"


def table_lines():
    """Give the statements of the table as (function, arguments)."""
    statements = []
    for line in TABLE.read_text().splitlines():
        text = line.split("#")[0].strip()
        if text:
            match = re.fullmatch(r"(\w+)\((.*)\)", text)
            assert match, f"{TABLE}: not a statement: {line}"
            statements.append((match[1], [argument.strip() for argument in match[2].split(",")]))
    return statements


def table_products(kind="setupRequired"):
    return {arguments[0] for function, arguments in table_lines() if function == kind}


def requirements(extra=None):
    """Give the requirements of the package, or of an extra."""
    with open(ROOT / "pyproject.toml", "rb") as stream:
        project = tomllib.load(stream)["project"]
    lines = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def imported_modules():
    """Give the names of the modules that the packages below python/ import from elsewhere."""
    modules = set()
    for path in (ROOT / "python").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module)
    return {module for module in modules if module.split(".")[0] not in ("spherex", "spherex_simulator")}


def imported_products():
    """Give the EUPS products whose packages the packages below python/ import."""
    products = set()
    for parts in (module.split(".") for module in imported_modules()):
        if parts[0] == "lsst":
            length = 3 if parts[1] in ("daf", "dax", "pipe", "pex", "ctrl") else 2
            products.add("_".join(parts[1:length]))
    return products


def test_one_table():
    # With two, `setup -r .` cannot tell which product it is.
    assert list((ROOT / "ups").glob("*.table")) == [TABLE]


def test_paths_exist():
    paths = {arguments[0]: arguments[1] for function, arguments in table_lines() if function == "envPrepend"}
    assert paths == {
        "PATH": "${PRODUCT_DIR}/bin",
        "PYTHONPATH": "${PRODUCT_DIR}/python",
        "DAF_BUTLER_PLUGINS": "${PRODUCT_DIR}/python/spherex/cli/resources.yaml",
    }
    for path in paths.values():
        assert Path(path.replace("${PRODUCT_DIR}", str(ROOT))).exists()


def test_table_and_pyproject_agree():
    names = [requirement.name for requirement in requirements() if requirement.name.startswith("lsst-")]
    products = {name.removeprefix("lsst-").replace("-", "_") for name in names}
    assert products | {"sconsUtils"} == table_products()


def test_table_names_what_is_imported():
    # Nothing is imported from these: they have the commands pipetask, bps and scons.
    commands = {"ctrl_mpexec", "ctrl_bps", "ctrl_bps_parsl", "sconsUtils"}
    assert imported_products() | commands == table_products() | table_products("setupOptional")


def test_page_names_the_packages_of_each_extra():
    text = (ROOT / "doc" / "installation.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+)` \| .*?`pip install ([^`]*)`", text, re.MULTILINE))
    products = table_products("setupOptional")
    for extra in ("archive", "bps", "hats", "html", "obscore", "postgres"):
        names = {canonicalize_name(requirement.name) for requirement in requirements(extra)}
        of_stack = {name for name in names if name.removeprefix("lsst-").replace("-", "_") in products}
        # parsl comes with the product in a stack, but its environment may lack it.
        assert set(listed.get(extra, "").split()) - {"parsl"} == names - of_stack, extra


def test_pyproject_names_what_is_imported():
    """Also what would come with another package anyway: until that does without it."""
    distributions = packages_distributions()
    packages = {module.split(".")[0] for module in imported_modules()} - sys.stdlib_module_names - {"lsst"}
    # Imported where they are needed, with a message where they are missing.
    listed = [*requirements(), *requirements("archive"), *requirements("html")]
    named = {canonicalize_name(requirement.name) for requirement in listed}
    lacking = {name for name in packages if named.isdisjoint(map(canonicalize_name, distributions.get(name, [name])))}
    assert lacking == set()


@pytest.mark.parametrize("extra", ["archive", "html"])
def test_the_tests_have_what_an_extra_has(extra):
    assert set(map(str, requirements(extra))) <= set(map(str, requirements("test")))


def test_every_supported_python_has_each_requirement_once():
    for python in ("3.11", "3.12", "3.13"):
        names = [
            requirement.name
            for requirement in requirements()
            if requirement.marker is None or requirement.marker.evaluate({"python_version": python})
        ]
        assert sorted(names) == sorted({requirement.name for requirement in requirements()})


def test_installed_lsst_packages_are_one_weekly():
    versions = {name: version(name) for name in ("lsst-daf-butler", "lsst-pipe-base", "lsst-ctrl-mpexec")}
    try:
        weeklies = {Version(text) for text in versions.values()}
    except InvalidVersion:
        pytest.skip("the LSST packages were built by EUPS, which sees to their versions")
    assert len(weeklies) == 1, f"not of one weekly: {versions}"
