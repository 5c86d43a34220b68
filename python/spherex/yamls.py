"""YAML from other sites: a reader whose work and result are bounded by the size of the file.

The safe loader of PyYAML runs no code from a file. But a number of 200,000
sexagesimal digits takes 20 s, a few lines of aliases stand for billions of
values, and brackets in brackets end in a RecursionError.
"""

from __future__ import annotations

__all__ = ["MOST_NODES", "load_yaml"]

from typing import Any

import yaml

from spherex.errors import ProductError, first_line

MOST_BYTES = 10_000_000
"""Largest size of a file."""

MOST_NODES = 1_000_000
"""Largest number of values, with those of each alias: they take 1 to 2 minutes."""

DEEPEST = 50
"""Largest number of collections in each other."""

LONGEST_NUMBER = 100
"""Largest number of characters in a number or a time."""


class _Loader(yaml.SafeLoader):
    """Safe loader that counts values before it makes them."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._depth = 0
        self._nodes = 0
        self._sizes: dict[Any, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node; see `yaml.composer.Composer`."""
        event = self.peek_event()
        before = self._nodes
        if self._depth > DEEPEST:
            raise _error(event, f"collections are nested more than {DEEPEST} deep")
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if anchor not in self._sizes and anchor in self.anchors:
                raise _error(event, f"the alias {anchor} stands for itself")
            # The parser refuses unknown ones.
            self._nodes += self._sizes.get(anchor, 0)
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise _error(event, f"it expands to more than {MOST_NODES} values")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if anchor is not None and not isinstance(event, yaml.AliasEvent):
            self._sizes[anchor] = self._nodes - before
        return node

    def construct_short(self, node: yaml.ScalarNode) -> Any:
        """Return a number or a time, unless its text is too long."""
        if len(node.value) > LONGEST_NUMBER:
            kind = node.tag.rpartition(":")[2]
            raise _error(node, f"{kind} {node.value[:20]}... has {len(node.value)} characters")
        return yaml.SafeLoader.yaml_constructors[node.tag](self, node)


def _error(place: Any, text: str) -> yaml.YAMLError:
    return yaml.YAMLError(f"line {place.start_mark.line + 1}: {text}")


for _tag in ("int", "float", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_short)


def load_yaml(content: bytes) -> Any:
    """Return the value in a YAML file, without any Python object.

    Parameters
    ----------
    content
        Content of the file.

    Raises
    ------
    ProductError
        If it is not YAML, or stands for much more than its size.
    """
    if len(content) > MOST_BYTES:
        raise ProductError(f"it has {len(content)} bytes, more than {MOST_BYTES}")
    loader = None
    try:
        loader = _Loader(content)
        return loader.get_single_data()
    except Exception as error:
        # PyYAML raises errors of many kinds.
        raise ProductError(f"not YAML ({first_line(error)})") from None
    finally:
        if loader is not None:
            loader.dispose()
