"""Prints the part of requirements.lock that the named packages need, versions and hashes included.

`pip install --require-hashes -r` takes the result, whatever pip stands on the machine: only the newest accept a hash that lies in a
constraints file. The lock's own "# via" lines say who needs whom; nothing is resolved anew.

    python deploy/locked_requirements.py . dev uvloop > requirements.in

`.` stands for the project itself, the name of an extra for what that extra brings; all else is a package's name.

Source of the format: `uv pip compile --generate-hashes` (pip's requirements file, a comment `# via PARENT` under each package).
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def name_of(requirement: str) -> str:
    """The normalised package name that a requirement begins with."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    if found is None:
        sys.exit(f"not a requirement: {requirement!r}")
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def entries_of(lock: str) -> list[tuple[str, str, set[str]]]:
    """Each entry of the lock: its name, its text without comments, the names of those that need it."""
    entries = []
    for text in re.split(r"\n(?=[A-Za-z0-9])", lock.strip()):
        lines = text.splitlines()
        pinned = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
        parents = {
            name_of(word) for line in lines if (word := re.sub(r"^\s*#\s*(via\s*)?", "", line)) and line.lstrip().startswith("#")
        }
        entries.append((name_of(text), pinned, parents))
    return entries


def main(words: list[str]) -> None:
    """Prints the entries that the words (`.`, extras, packages) and all that they bring along need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    meanings = {".": project["dependencies"], **project["optional-dependencies"]}
    needed = {name_of(requirement) for word in words for requirement in meanings.get(word, [word])}
    entries = entries_of((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    if missing := sorted(needed - {name for name, _, _ in entries}):
        sys.exit(f"requirements.lock has no {', '.join(missing)}: run `make lock`")
    while more := {name for name, _, parents in entries if parents & needed} - needed:
        needed |= more
    print("\n".join(pinned for name, pinned, _ in entries if name in needed))


if __name__ == "__main__":
    main(sys.argv[1:])
