"""What stands in the README and in docs/: command lines, inline code, links."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from tests.conftest import ROOT

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.M | re.S)


def shell_lines(page: Path) -> list[str]:
    """The commands of a page's shell blocks, in order, without comments."""
    blocks = [textwrap.dedent(body) for _, kind, body in _FENCE.findall(page.read_text(encoding="utf-8")) if kind == "sh"]
    return [line for block in blocks for text in block.splitlines() if (line := re.sub(r"\s+#.*", "", text).strip())]


def inline_code(page: Path) -> list[str]:
    """What stands between single backticks, outside of blocks."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", text)]


def links(page: Path) -> list[str]:
    """Targets of the page's links."""
    return re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
