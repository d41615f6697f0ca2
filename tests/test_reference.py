"""The reference page says what the types say."""

from __future__ import annotations

from autoscaler.reference import page
from tests.conftest import ROOT


def test_the_page_is_what_the_types_say() -> None:
    assert (ROOT / "docs" / "manifest.md").read_text("utf-8") == page(), "python -m autoscaler.reference > docs/manifest.md"
