"""Finding and building the real parts: what happens where something is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.realparts import build, parts


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache, no prebuilt programs, no Go."""
    monkeypatch.setenv("INFERENCE_AUTOSCALER_REALPARTS", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("CI", raising=False)


def program(path: Path, script: str = "") -> Path:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def cached(name: str, go: str = "go1.26.8") -> Path:
    """A program in the cache, as a build leaves it."""
    part = build.PART_OF[name]
    return program(build.cache_root() / f"{part.name}-{part.fingerprint}-{go}" / name)


def test_without_go_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3, one plain message, nothing on stdout."""
    assert build.main(["etcd", "--json"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "Go 1.26.0 or later is needed to build etcd, and there is no `go` on PATH" in err


def test_with_an_old_go_it_says_which_one_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The version that is there is named too."""
    program(tmp_path / "bin" / "go", "echo go1.19.8")
    assert build.main(["prometheus"]) == 3
    assert "Go 1.26.7 or later is needed to build prometheus: this is go1.19.8" in capsys.readouterr().err


def test_a_failed_build_shows_the_end_of_its_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing half-built is left, and the next call tries again."""
    program(tmp_path / "bin" / "go", '[ "$1" = env ] && echo go1.30.1 && exit; echo "dial tcp: no route to host" >&2; exit 1')
    assert build.main(["kwok"]) == 3
    assert "dial tcp: no route to host" in capsys.readouterr().err
    assert build.find("kwok") is None


def test_an_edit_is_made_in_a_copy_of_the_module_or_the_build_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A newer version of a part that reads otherwise there is not built as if it had been edited; its files lie beside the program."""
    module = tmp_path / "module"
    for name in ("pkg/apis/crds/nodepools.yaml", "kwok/apis/crds/classes.yaml", "pkg/operator/operator.go"):
        (module / name).parent.mkdir(parents=True, exist_ok=True)
        (module / name).write_text("package operator")
    compiled = tmp_path / "compiled"
    script = f"""
[ "$1" = env ] && echo go1.30.1 && exit
[ "$1" = mod ] && echo '{{"Dir": "{module}"}}' && exit
while [ "$1" != -o ]; do case "$1" in -modfile=*) file="${{1#-modfile=}}";; esac; shift; done
cp "$(tail -1 "$file" | cut -d ' ' -f 4)/pkg/operator/operator.go" {compiled}; printf '#!/bin/sh' > "$2"; chmod +x "$2"
"""
    program(tmp_path / "bin" / "go", script)
    (tmp_path / "bin" / "go").write_text(f"#!/bin/sh\nPATH={os.defpath}\n{script}")
    assert build.main(["karpenter"]) == 3
    assert "operator.go holds" in capsys.readouterr().err
    (module / "pkg/operator/operator.go").write_text(
        "\n".join(old for old in build.PART_OF["karpenter-kwok"].edits["pkg/operator/operator.go"])
    )
    assert build.main(["karpenter"]) == 0
    found = build.find("karpenter-kwok")
    assert found is not None
    assert (found.parent / "karpenter-crds" / "nodepools.yaml").exists()
    assert compiled.read_text().count("127.0.0.1:%d") == 2
    assert "127.0.0.1" not in (module / "pkg/operator/operator.go").read_text()


def test_what_is_there_is_not_built_again(capsys: pytest.CaptureFixture[str]) -> None:
    """A second call needs no Go and prints the paths."""
    paths = {name: str(cached(name)) for name in build.PART_OF}
    assert build.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == paths


def test_prebuilt_programs_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KUBEBUILDER_ASSETS, for the programs that it holds; the newest Go's build else."""
    cached("etcd")
    prebuilt = program(tmp_path / "assets" / "etcd")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    assert build.find("etcd") == prebuilt
    cached("kubectl", "go1.26.9")
    newer = cached("kubectl", "go1.26.10")
    assert build.find("kubectl") == newer


def test_a_missing_part_skips_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what to type; in CI nothing may be skipped."""
    with pytest.raises(pytest.skip.Exception, match=r"^needs etcd, kwok: make realparts$"):
        parts.need("etcd", "kwok")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(parts.MissingPartError, match="needs etcd: make realparts"):
        parts.need("etcd")


@pytest.mark.parametrize("part", build.PARTS, ids=lambda part: part.name)
def test_every_part_is_pinned(part: build.Part) -> None:
    """Each has a version, its checksums and a tool directive for each program."""
    text = (part.directory / "go.mod").read_text()
    assert part.version.startswith("v")
    assert f"{part.module} {part.version} h1:" in (part.directory / "go.sum").read_text()
    assert all(package in text.split("require")[0] for package in part.programs.values())
