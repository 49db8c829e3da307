"""The README points at what exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_relative_link_of_the_documents_leads_somewhere():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert links
    assert [link for page, link in links if not (page.parent / link).exists()] == []
