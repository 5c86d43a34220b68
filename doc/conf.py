"""Configuration of the site that sphinx-build makes of this folder; the page site.md has the command."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from pathlib import Path

from docutils import nodes

import spherex

DOC = Path(__file__).parent

project = "spherex-butler"
author = "The developers of spherex-butler"
# The number alone: a site of two commits of one version is the same.
version = release = spherex.__version__.partition("+")[0]

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc"]
# Each build runs the notebooks; a cell that fails is an error.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 1800
# Fragments of CHANGELOG.md.
exclude_patterns = ["_build", "changes"]
html_theme = "pydata_sphinx_theme"
html_title = project
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
# All pages in the side bar: that of the theme has the pages below the top level only, and there are none.
html_sidebars = {"**": ["globaltoc.html"], "index": []}
html_theme_options = {
    "navbar_align": "left",
    "navbar_center": [],
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
}

# Links within pages, such as spectra.md#export, as the web view of a repository has them.
myst_heading_anchors = 4

# Everything that is referred to must exist. The inventories of other packages come from the network,
# which a build must not need. Their names are therefore text, not links: whole ones, and those that
# signatures have, which type checkers alone import.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", rf"{package}(\..*)?")
    for package in ("astropy", "collections", "lsst", "matplotlib", "numpy", "os", "pathlib", "typing")
]
nitpick_ignore = [
    ("py:class", name)
    for name in (
        "AnyImage",
        "Axes",
        "Butler",
        "Figure",
        "Quantity",
        "QTable",
        "ResourcePath",
        "SkyCoord",
        "Table",
        "Time",
    )
]
# An attribute of SPHERExImage that `__init__` sets, and that the class therefore does not have.
nitpick_ignore.append(("py:obj", "flag_table"))
default_role = "py:obj"
numpydoc_show_class_members = False
autodoc_member_order = "groupwise"


def name_folders(app: object, page: str, source: list[str]) -> None:
    """Replace links to folders, which have no page, by their text.

    Links to files are left: the site has the files to download.
    """

    def replace(link: re.Match[str]) -> str:
        target = (DOC / page).parent / link["target"]
        return link["text"] if target.is_dir() else link[0]

    source[0] = re.sub(r"\[(?P<text>[^\]]*)\]\((?P<target>\.\./[^)#\s]*)\)", replace, source[0])


def exists(name: str) -> bool:
    """Whether a module of the package that is in use has this name, or the end of it."""
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] != "spherex":
            continue
        value: object = module
        for part in name.removeprefix(f"{module_name}.").split("."):
            value = getattr(value, part, None)
        if value is not None:
            return True
    return False


def name_undocumented(app: object, env: object, node: nodes.Element, text: nodes.Element) -> nodes.Element | None:
    """Return the text of a reference to a name of the package that api.md does not describe.

    Sphinx reports the names that do not exist.
    """
    return text if node.get("refdomain") == "py" and exists(node["reftarget"]) else None


def prepare_notebooks(doctrees: Path) -> None:
    """Set the environment of the notebooks; they run in the order of their names, in one directory."""
    os.environ["SPHEREX_NOTEBOOKS"] = str(doctrees.resolve() / "notebooks")
    # Pages that notebooks make beside the own ones of the site.
    pages = doctrees.resolve() / "pages"
    pages.mkdir(parents=True, exist_ok=True)
    os.environ["SPHEREX_PAGES"] = str(pages)
    # Python 3.11 says that its debugger misses breakpoints.
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    try:
        importlib.metadata.distribution("spherex-butler")
    except importlib.metadata.PackageNotFoundError:
        os.environ["DAF_BUTLER_PLUGINS"] = str(DOC.parent / "python/spherex/cli/resources.yaml")
    # Jupyter would write into the home folder.
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        directory = doctrees.resolve() / "jupyter" / name.lower()
        directory.mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(directory)

    # A kernel warns that others on this machine could read what it sends.
    profile = Path(os.environ["IPYTHONDIR"], "profile_default")
    profile.mkdir(exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text("get_config().IPKernelApp.log_level = 'ERROR'\n")


def setup(app: object) -> None:
    """Connect the functions above to Sphinx."""
    prepare_notebooks(Path(app.doctreedir))  # type: ignore[attr-defined]
    app.config.html_extra_path.append(os.environ["SPHEREX_PAGES"])  # type: ignore[attr-defined]
    app.connect("source-read", name_folders)  # type: ignore[attr-defined]
    app.connect("missing-reference", name_undocumented)  # type: ignore[attr-defined]
