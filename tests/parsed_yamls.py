"""The texts of YAML that the stock Butler reads, parsed once.

It reads its defaults anew for each repository that it opens, which took a tenth
of the processor time of the tests.
"""

from __future__ import annotations

import functools
import io
import pickle
from pathlib import Path
from typing import Any

import yaml
from lsst.daf.butler import _config


def keep_parsed_yamls(*folders: Path) -> None:
    """Keep what this process parses from now on, beginning with the files in some folders."""
    parse = yaml.load

    @functools.cache
    def parsed(content: bytes) -> bytes:
        return pickle.dumps(parse(content, Loader=_config.Loader))

    def load(stream: Any, Loader: Any) -> Any:  # noqa: N803
        # Where files are included, their place depends on the name of the stream, and so do messages.
        if Loader is _config.Loader and isinstance(stream, io.BytesIO) and b"!include" not in stream.getvalue():
            try:
                return pickle.loads(parsed(stream.getvalue()))
            except yaml.YAMLError:
                pass
        return parse(stream, Loader=Loader)

    yaml.load = load
    for folder in folders:
        for file in folder.rglob("*.yaml"):
            stream = io.BytesIO(file.read_bytes())
            stream.name = str(file)
            load(stream, _config.Loader)
