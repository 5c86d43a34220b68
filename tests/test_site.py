"""The pages of the site: each is in a list, and each public name is described."""

from __future__ import annotations

import re
from pathlib import Path

import spherex

DOC = Path(__file__).parents[1] / "doc"


def test_the_start_page_lists_each_page_once():
    lists = re.findall(r"^```\{toctree\}\n(.*?)^```$", (DOC / "index.md").read_text(), re.MULTILINE | re.DOTALL)
    listed = [line for text in lists for line in text.splitlines() if line and not line.startswith(":")]
    pages = {path.relative_to(DOC).with_suffix("") for path in DOC.rglob("*.md")}
    assert sorted(listed) == sorted(str(page) for page in pages if page.parts[0] not in ("index", "changes"))


def test_the_page_of_the_api_describes_each_public_name():
    described = re.findall(r"^\.\. auto\w+:: spherex\.(\w+)$", (DOC / "api.md").read_text(), re.MULTILINE)
    assert sorted(described) == sorted(spherex.__all__)
