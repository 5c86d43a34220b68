"""Layout of the source: the rooms, their order, and what a person wants to know of their size.

``python -m tests.layout``, from the root of the clone, prints the figures and
the violations. The tests of `tests.test_layout` use the same rules.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import io
import pathlib
import statistics
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator

SOURCE = pathlib.Path(__file__).resolve().parents[1] / "python"

ROOMS = (
    "detectors",
    "errors",
    "remote",
    "numbers",
    "file_names",
    "yamls",
    "votables",
    "headers",
    "archive",
    "geometry",
    "image",
    "fits",
    "photometry",
    "spectra",
    "formatters",
    "instrument",
    "unknown_names",
    "repository",
    "calibrations",
    "targets",
    "ingest",
    "search",
    "provenance",
    "tasks",
    "making",
    "obscore",
    "cli",
)
"""Rooms of the package from bottom to top. A room imports only from rooms below it."""

NEVER = {
    "archive": {"lsst", "headers"},
    "headers": {"lsst"},
    "remote": {"lsst"},
    "votables": {"lsst"},
    "image": {"lsst", "geometry"},
    "geometry": {"detectors", "archive"},
    "photometry": {"lsst", "fits", "archive", "geometry"},
    "formatters": {"spectra", "photometry", "geometry"},
    "instrument": {"fits", "image", "spectra"},
    "targets": {"image", "fits", "photometry", "formatters", "calibrations"},
    "ingest": {"formatters", "click"},
    "search": {"ingest", "click"},
    "provenance": {"ingest", "search", "click"},
    "tasks": {"ingest", "search", "provenance", "targets"},
    "making": {"ingest", "search", "click"},
    "obscore": {"ingest", "search", "provenance", "tasks", "fits", "image", "click"},
}
"""What a room does not import although the order would allow it: rooms and foreign packages."""

MOST_MODULES = 120
LEAST_MEDIAN = 150
MOST_LINES = 800
LONG_MODULE = "This module is long because"
"""Words in the docstring of a module of more lines, followed by the reason."""


@dataclasses.dataclass(frozen=True)
class Import:
    """An import statement, wherever it stands in a module.

    Parameters
    ----------
    module
        Full name of what is imported from.
    names
        What is imported from it; empty for ``import module``.
    relative
        Whether it is written with leading dots.
    typing_only
        Whether it is done by type checkers only.
    line
        Its line.
    """

    module: str
    names: tuple[str, ...]
    relative: bool
    typing_only: bool
    line: int


@dataclasses.dataclass(frozen=True)
class Module:
    """A file of Python source.

    Parameters
    ----------
    name
        Full name, of the package for an ``__init__`` file.
    path
        The file.
    """

    name: str
    path: pathlib.Path

    @property
    def is_package(self) -> bool:
        """Whether it is an ``__init__`` file."""
        return self.path.name == "__init__.py"

    @property
    def room(self) -> str | None:
        """Room of the package, None for ``spherex`` itself."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else None

    @functools.cached_property
    def text(self) -> str:
        """The source."""
        return self.path.read_text()

    @functools.cached_property
    def tree(self) -> ast.Module:
        """The source, parsed."""
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        """Number of lines."""
        return len(self.text.splitlines())

    @property
    def code_lines(self) -> int:
        """Number of lines without those that are blank, comments or docstrings only."""
        layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
        code: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in layout:
                code.update(range(token.start[0], token.end[0] + 1))
        for node in ast.walk(self.tree):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                code.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        return len(code)

    @functools.cached_property
    def imports(self) -> tuple[Import, ...]:
        """All import statements, those in functions too."""
        return tuple(self._imports(self.tree, typing_only=False))

    def _imports(self, node: ast.AST, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, (), False, typing_only, child.lineno)
            elif isinstance(child, ast.ImportFrom):
                module = child.module or ""
                if child.level:
                    above = child.level - 1 if self.is_package else child.level
                    parts = self.name.split(".")
                    module = ".".join([*parts[: len(parts) - above], *filter(None, [module])])
                yield Import(
                    module, tuple(alias.name for alias in child.names), child.level > 0, typing_only, child.lineno
                )
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for statement in child.body:
                    yield from self._imports(ast.Module([statement], []), typing_only=True)
                for statement in child.orelse:
                    yield from self._imports(ast.Module([statement], []), typing_only)
            else:
                yield from self._imports(child, typing_only)

    @property
    def helpers(self) -> dict[str, int]:
        """Private functions of the module, with the number of places that use each."""
        names = [
            node.name
            for node in self.tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("_")
        ]
        uses = Counter(node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name))
        return {name: uses[name] for name in names if not name.startswith("__")}


@functools.cache
def modules_of(package: str) -> tuple[Module, ...]:
    """Return all files of a package.

    Parameters
    ----------
    package
        Name of a package in the source directory.
    """
    modules = []
    for path in sorted((SOURCE / package).rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        modules.append(Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return tuple(modules)


def wrong_order() -> list[str]:
    """List the imports that run against the order of the rooms, or that NEVER forbids."""
    found = []
    for module in modules_of("spherex"):
        if module.room is None:
            continue
        forbidden = NEVER.get(module.room, set())
        for item in module.imports:
            top, _, rest = item.module.partition(".")
            if top == "spherex":
                rooms = [rest.partition(".")[0]] if rest else list(item.names)
                for room in rooms:
                    if room == module.room:
                        continue
                    if room not in ROOMS or ROOMS.index(room) > ROOMS.index(module.room) or room in forbidden:
                        found.append(f"{module.name}:{item.line} imports {item.module} ({', '.join(item.names)})")
            elif top == "spherex_simulator" or top in forbidden:
                found.append(f"{module.name}:{item.line} imports {item.module}")
    return found


def wrong_style(package: str) -> list[str]:
    """List the imports past a package, and those that are relative or absolute where they should not be.

    Parameters
    ----------
    package
        Name of a package in the source directory.
    """
    found = []
    for module in modules_of(package):
        for item in module.imports:
            parts = item.module.split(".")
            if parts[0] == package == "spherex" and module.room is not None:
                inside = len(parts) > 1 and parts[1] == module.room
                if item.relative != inside:
                    found.append(f"{module.name}:{item.line} imports {item.module}, {_STYLE[inside]}")
            if parts[0] == "spherex" and len(parts) > 2 and parts[1] != module.room:
                found.append(f"{module.name}:{item.line} imports {item.module}, past the package")
    return found


_STYLE = {True: "of its own room, without dots", False: "of another room, by dots"}


def circles(package: str) -> list[str]:
    """List the groups of modules that import each other, directly or not.

    Imports by type checkers only are left out: they cannot fail at run time.

    Parameters
    ----------
    package
        Name of a package in the source directory.
    """
    names = {module.name for module in modules_of(package)}
    edges: dict[str, set[str]] = {}
    for module in modules_of(package):
        targets = edges.setdefault(module.name, set())
        for item in module.imports:
            if item.typing_only or item.module not in names:
                continue
            submodules = {f"{item.module}.{name}" for name in item.names} & names
            targets |= submodules
            if len(submodules) < len(item.names) or not item.names:
                targets.add(item.module)
    reach = {name: _reachable(edges, name) for name in edges}
    groups = {
        frozenset(other for other in reach[name] if name in reach[other]) for name in edges if name in reach[name]
    }
    return sorted(" <-> ".join(sorted(group)) for group in groups if group)


def _reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for target in edges[waiting.pop()] - reached:
            reached.add(target)
            waiting.append(target)
    return reached


def too_long(package: str) -> list[str]:
    """List the modules above MOST_LINES whose docstring does not give the reason.

    Parameters
    ----------
    package
        Name of a package in the source directory.
    """
    return [
        f"{module.name}: {module.lines} lines"
        for module in modules_of(package)
        if module.lines > MOST_LINES and LONG_MODULE not in (ast.get_docstring(module.tree) or "")
    ]


@dataclasses.dataclass(frozen=True)
class Figures:
    """Size of a package; its ``__init__`` files count for the lines only.

    Parameters
    ----------
    modules
        Number of modules.
    lines, code_lines
        Number of lines, and of those with code.
    median, longest
        Lines of the median and of the longest module.
    longest_name
        Name of the longest module.
    helpers, used_once
        Number of private functions at module level, and of those used in one place.
    """

    modules: int
    lines: int
    code_lines: int
    median: float
    longest: int
    longest_name: str
    helpers: int
    used_once: int


def figures_of(package: str) -> Figures:
    """Count what there is in a package.

    Parameters
    ----------
    package
        Name of a package in the source directory.
    """
    everything = modules_of(package)
    modules = [module for module in everything if not module.is_package]
    longest = max(modules, key=lambda module: module.lines)
    uses = [number for module in everything for number in module.helpers.values()]
    return Figures(
        modules=len(modules),
        lines=sum(module.lines for module in everything),
        code_lines=sum(module.code_lines for module in everything),
        median=statistics.median(module.lines for module in modules),
        longest=longest.lines,
        longest_name=longest.name,
        helpers=len(uses),
        used_once=uses.count(1),
    )


def main() -> int:
    """Print the figures of both packages; return the number of violations, at most 1."""
    print("| package | modules | lines | code lines | median lines | longest | private helpers | used once |")
    print("|---|---|---|---|---|---|---|---|")
    for package in ("spherex", "spherex_simulator"):
        figures = figures_of(package)
        print(
            f"| {package} | {figures.modules} | {figures.lines} | {figures.code_lines} | {figures.median:g} "
            f"| {figures.longest} ({figures.longest_name}) | {figures.helpers} | {figures.used_once} |"
        )
    violations = {
        "imports against the order of the rooms": wrong_order(),
        "imports in another style": wrong_style("spherex") + wrong_style("spherex_simulator"),
        "import circles": circles("spherex") + circles("spherex_simulator"),
        f"modules of more than {MOST_LINES} lines without a reason": too_long("spherex")
        + too_long("spherex_simulator"),
    }
    for title, found in violations.items():
        print(f"\n{len(found)} {title}", *found, sep="\n  ")
    return int(any(violations.values()))


if __name__ == "__main__":
    sys.exit(main())
