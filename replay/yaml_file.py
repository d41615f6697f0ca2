"""A file with one YAML document, and what is wrong with it by line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoscaler.errors import Fault, InvalidSetting, OutsideError, UsageError
from autoscaler.structure import dotted, shown
from autoscaler.yaml_tree import Document, documents
from autoscaler.yaml_tree import Path as TreePath


@dataclass(slots=True)
class YamlFile:
    """about: what the file is, for messages. faults: found so far, the text's own first."""

    path: Path
    about: str
    document: Document = field(default_factory=Document)
    faults: list[Fault] = field(default_factory=list)

    @property
    def tree(self) -> Any:
        return self.document.tree

    def line_of(self, path: TreePath) -> int:
        return self.document.line_of(path)

    def flaw(self, path: TreePath, value: Any, message: str) -> None:
        """Notes a fault at a node."""
        self.faults.append(self._fault(self.line_of(path), dotted(path), shown(value), message))

    def check(self) -> None:
        """Raises InvalidSetting with every fault, by line, if there is any."""
        if self.faults:
            raise InvalidSetting(sorted(self.faults, key=lambda fault: fault.line))

    def _fault(self, line: int, path: str, value: str, message: str) -> Fault:
        return Fault(file=str(self.path), line=line, object=self.about, path=path, value=value, message=message)


def read_yaml(path: Path, about: str) -> YamlFile:
    """Raises UsageError (no such file), OutsideError (can't be read), InvalidSetting (no text)."""
    file = YamlFile(path, about)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"{path}: no such file") from None
    except UnicodeDecodeError as fault:
        raise InvalidSetting([file._fault(0, "", "", f"not UTF-8 text (byte {fault.start})")]) from None
    except OSError as fault:
        raise OutsideError(f"{path}: {fault.strerror}") from None
    found = list(documents(text))
    file.document = found[0] if found else Document()
    file.faults = [
        file._fault(problem.line, dotted(problem.path), problem.value, problem.message)
        for document in found
        for problem in document.problems
    ]
    if len(found) > 1 and not file.faults:
        file.faults.append(file._fault(found[1].line, "", "", "one document is expected"))
    return file
