"""Every link of a page leads somewhere, and every file that a page names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.pages import PAGES, inline_code, links

MADE_BY_COMMANDS = ("out/", "build/")
FILE = re.compile(r"(?:[\w-]+/)+[\w.-]+\.(?:py|yaml|toml|csv|csv\.gz|md)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links(page: Path) -> None:
    for link in links(page):
        target, _, heading = link.partition("#")
        if "://" in target:
            continue  # the suite stays on loopback
        assert (page.parent / target).exists(), link
        if heading:
            text = (page.parent / target if target else page).read_text(encoding="utf-8")
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)", text, re.M)}
            assert heading in anchors, link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_named_files(page: Path) -> None:
    for code in inline_code(page):
        if FILE.fullmatch(code) and not code.startswith(MADE_BY_COMMANDS):
            assert (ROOT / code).exists(), code


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in readme]
