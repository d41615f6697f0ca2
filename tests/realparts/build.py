"""Build the real parts that tests run against: etcd, Kubernetes, kwok, Prometheus, KEDA, Karpenter.

    python tests/realparts/build.py [PART…] [--json]

Plain standard library, any Python 3.11: this also runs where the project is not installed.
Each part is a Go module beside this file that pins versions and holds no code of ours. Binaries lie outside
the tree, in a folder whose name holds a hash of what was built and the Go version that built it, so that
branches and clones share them and a changed pin builds anew. A second call finds them and returns at once.

Exit code 3: Go is missing or too old, or a download or a build failed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping

HERE = pathlib.Path(__file__).resolve().parent

# The usual convention for prebuilt test binaries: a folder that holds some of these. They are taken before our own.
ASSETS = frozenset({"etcd", "kube-apiserver", "kubectl"})


class BuildError(Exception):
    """Something outside the project is missing or failed; the message says what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One Go module and the programs that come out of it."""

    name: str
    module: str  # whose version is the part's version
    programs: Mapping[str, str]  # program -> package
    version_variable: str = ""  # Go variable that the linker sets to the version, or a client would see v0.0.0
    tags: str = ""
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)  # name beside the programs -> folder of the module
    edits: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)  # file of the module -> old: new

    @property
    def directory(self) -> pathlib.Path:
        """Where go.mod and go.sum lie."""
        return HERE / self.name

    @property
    def version(self) -> str:
        """The pinned version of the part, from go.mod."""
        found = re.search(rf"^(?:require)?\s*{re.escape(self.module)} (v\S+)", self._go_mod(), re.MULTILINE)
        if not found:
            raise BuildError(f"{self.directory / 'go.mod'} does not require {self.module}")
        return found[1]

    @property
    def go_needed(self) -> tuple[int, ...]:
        """The oldest Go that go.mod allows."""
        found = re.search(r"^go (\S+)", self._go_mod(), re.MULTILINE)
        return go_version(found[1]) if found else (1, 26)

    @property
    def fingerprint(self) -> str:
        """Changes when anything changes that could change the programs, but for the Go version."""
        digest = hashlib.sha256()
        for name in ("go.mod", "go.sum"):
            digest.update((self.directory / name).read_bytes())
        digest.update("\0".join(self.build_arguments()).encode())
        if self.files or self.edits:
            digest.update(json.dumps([self.files, self.edits], sort_keys=True).encode())
        return digest.hexdigest()[:12]

    def build_arguments(self) -> list[str]:
        """Flags of `go build`: no debug symbols, no paths of this machine."""
        link = ["-s", "-w"]
        if self.version_variable:
            link += ["-X", f"{self.version_variable}={self.version}"]
        tags = ["-tags", self.tags] if self.tags else []
        return ["-trimpath", "-buildvcs=false", *tags, "-ldflags", " ".join(link)]

    def _go_mod(self) -> str:
        return (self.directory / "go.mod").read_text()


PARTS = (
    Part(name="etcd", module="go.etcd.io/etcd/server/v3", programs={"etcd": "go.etcd.io/etcd/server/v3"}),
    Part(
        name="kubernetes",
        module="k8s.io/kubernetes",
        programs={
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in ("kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler")
        },
        version_variable="k8s.io/component-base/version.gitVersion",
    ),
    Part(name="kwok", module="sigs.k8s.io/kwok", programs={"kwok": "sigs.k8s.io/kwok/cmd/kwok"}),
    Part(
        name="prometheus",
        module="github.com/prometheus/prometheus",
        programs={name: f"github.com/prometheus/prometheus/cmd/{name}" for name in ("prometheus", "promtool")},
        tags="remove_all_sd",  # service discovery of two dozen clouds is most of the build, and tests use none
    ),
    Part(
        name="keda",
        module="github.com/kedacore/keda/v2",
        programs={f"keda-{name}": f"github.com/kedacore/keda/v2/cmd/{name}" for name in ("adapter", "operator")},
        files={"keda-crds": "config/crd/bases"},
        # It has no flag for the address of its own /metrics, and nothing of the test bed listens beyond loopback.
        edits={
            "cmd/adapter/main.go": {
                'fmt.Sprintf(":%v", metricsAPIServerPort)': 'fmt.Sprintf("127.0.0.1:%v", metricsAPIServerPort)'
            }
        },
    ),
    Part(
        name="karpenter",
        module="sigs.k8s.io/karpenter",
        programs={"karpenter-kwok": "sigs.k8s.io/karpenter/kwok"},
        files={"karpenter-crds": "pkg/apis/crds", "karpenter-kwok-crds": "kwok/apis/crds"},
        # It has flags for the ports of its metrics and probes, and none for their address.
        edits={
            "pkg/operator/operator.go": {
                f'fmt.Sprintf(":%d", {port})': f'fmt.Sprintf("127.0.0.1:%d", {port})'
                for port in ("options.FromContext(ctx).MetricsPort", "options.FromContext(ctx).HealthProbePort")
            }
        },
    ),
)
PART_OF = {program: part for part in PARTS for program in part.programs}


def cache_root() -> pathlib.Path:
    """Where the binaries of all versions lie, outside every checkout."""
    own = os.environ.get("INFERENCE_AUTOSCALER_REALPARTS")
    if own:
        return pathlib.Path(own)
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "inference-autoscaler" / "realparts"


def asset(program: str) -> pathlib.Path | None:
    """The prebuilt program of KUBEBUILDER_ASSETS, if there is one."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder or program not in ASSETS:
        return None
    return _executable(pathlib.Path(folder).absolute() / program)


def find(program: str) -> pathlib.Path | None:
    """The program, prebuilt or built earlier by any Go version; None if it has to be built. Never runs Go."""
    prebuilt = asset(program)
    if prebuilt:
        return prebuilt
    part = PART_OF[program]
    folders = cache_root().glob(f"{part.name}-{part.fingerprint}-go*")
    newest_first = sorted(folders, key=lambda folder: go_version(folder.name.rsplit("-go", 1)[1]), reverse=True)
    return next((path for folder in newest_first if (path := _executable(folder / program))), None)


def go_version(text: str) -> tuple[int, ...]:
    """The numbers of a Go version such as `go1.26.8` or `1.27rc1`."""
    found = re.match(r"(?:go)?(\d+(?:\.\d+)*)", text)
    return tuple(int(number) for number in found[1].split(".")) if found else (0,)


def check_go(part: Part) -> str:
    """The version of Go that would build this part, e.g. `go1.26.8`; an error in plain words if none would."""
    needed = ".".join(map(str, part.go_needed))
    remedy = (
        "Install it from https://go.dev/dl/ and put its bin folder on PATH, "
        "or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl (the other parts still need Go). "
        "Tests that need no real parts run without it: make test."
    )
    if not shutil.which("go"):
        raise BuildError(f"Go {needed} or later is needed to build {part.name}, and there is no `go` on PATH. {remedy}")
    # Asked in the part's folder: a Go that may fetch newer toolchains by itself answers with the one it would use.
    answer = subprocess.run(["go", "env", "GOVERSION"], cwd=part.directory, env=_go_environment(), capture_output=True, text=True)
    found = answer.stdout.strip()
    if answer.returncode or go_version(found) < part.go_needed:
        detail = answer.stderr.strip() or f"this is {found}"
        raise BuildError(f"Go {needed} or later is needed to build {part.name}: {detail}. {remedy}")
    return found


def build(part: Part, programs: list[str], go: str) -> None:
    """Build these programs of a part into the cache. A program that is in the cache is whole: it was renamed into it."""
    root = cache_root()
    target = root / f"{part.name}-{part.fingerprint}-{go}"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{part.name}-", dir=root) as scratch:
        for name, folder in part.files.items():  # before the programs: whoever finds those finds these
            (target / name).mkdir(exist_ok=True)
            for path in (module_folder(part) / folder).iterdir():
                shutil.copyfile(path, target / name / path.name)
        # One `go build` for all of them: what they share is compiled once, on all cores. A single one is named
        # by file, as a package's own name may differ from the program's (etcd's is "server").
        source = edited(part, pathlib.Path(scratch)) if part.edits else []
        if len(programs) > 1 and all(part.programs[program].endswith(f"/{program}") for program in programs):
            go_build(part, [*source, "-o", scratch, *(part.programs[program] for program in programs)])
        else:
            for program in programs:
                go_build(part, [*source, "-o", os.path.join(scratch, program), part.programs[program]])
        for program in programs:
            (pathlib.Path(scratch) / program).replace(target / program)


def go_build(part: Part, arguments: list[str]) -> None:
    """One `go build` in the part's folder."""
    command = ["go", "build", *part.build_arguments(), *arguments]
    done = subprocess.run(command, cwd=part.directory, env=_go_environment(), stderr=subprocess.PIPE, text=True)
    if done.returncode:
        tail = "\n".join(done.stderr.splitlines()[-15:])
        raise BuildError(f"go build of {part.name} {part.version} failed with exit code {done.returncode}:\n{tail}")


def module_folder(part: Part) -> pathlib.Path:
    """Where Go keeps the part's module, downloaded if need be."""
    command = ["go", "mod", "download", "-json", part.module]
    done = subprocess.run(command, cwd=part.directory, env=_go_environment(), capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"go mod download of {part.name} {part.version} failed with exit code {done.returncode}:\n{done.stderr}")
    return pathlib.Path(json.loads(done.stdout)["Dir"])


def edited(part: Part, scratch: pathlib.Path) -> list[str]:
    """Flags that make `go build` take a copy of the module in which the part's edits were made. Each must be found exactly once."""
    copy = scratch / "module"
    shutil.copytree(module_folder(part), copy, copy_function=shutil.copyfile)
    for folder in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
        folder.chmod(0o755)  # Go's module cache can't be written to, and its copy has to be taken away again
    for name, exchanges in part.edits.items():
        text = (copy / name).read_text()
        for old, new in exchanges.items():
            if text.count(old) != 1:
                raise BuildError(f"{part.name} {part.version}: {name} holds {old} {text.count(old)} times, once is expected")
            text = text.replace(old, new)
        (copy / name).write_text(text)
    mod_file = scratch / "go.mod"
    mod_file.write_text(f"{(part.directory / 'go.mod').read_text()}\nreplace {part.module} => {copy}\n")
    shutil.copyfile(part.directory / "go.sum", scratch / "go.sum")
    return [f"-modfile={mod_file}"]


@contextlib.contextmanager
def locked(root: pathlib.Path) -> Iterator[None]:
    """One build at a time per cache: a second one waits and then finds the work done."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another build of the real parts is running; waiting for it …", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build_missing(parts: list[Part]) -> None:
    """Build what is neither prebuilt nor in the cache, one line of progress per part."""
    if all(find(program) for part in parts for program in part.programs):
        return
    with locked(cache_root()):
        for number, part in enumerate(parts, 1):
            missing = [program for program in part.programs if not find(program)]
            if not missing:
                continue
            go = check_go(part)
            print(
                f"[{number}/{len(parts)}] {part.name} {part.version}: {', '.join(missing)} …", end="", file=sys.stderr, flush=True
            )
            started = time.monotonic()
            try:
                build(part, missing, go)
            except BaseException:
                print(" failed", file=sys.stderr, flush=True)
                raise
            print(f" built in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=(
            "Build the real control plane, Prometheus, KEDA and Karpenter for the tests, once. From nothing: half an hour on 2 cores."
        ),
        epilog="Example: python tests/realparts/build.py etcd kubernetes --json",
    )
    parser.add_argument("part", nargs="*", help=f"which of {', '.join(part.name for part in PARTS)}; all if none is named")
    parser.add_argument("--json", action="store_true", help="print the path of each program as one JSON document")
    options = parser.parse_args(arguments)
    unknown = set(options.part) - {part.name for part in PARTS}
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    parts = [part for part in PARTS if part.name in options.part or not options.part]
    try:
        build_missing(parts)
    except BuildError as error:
        print(f"real parts: {error}", file=sys.stderr)
        return 3
    paths = {program: str(find(program)) for part in parts for program in part.programs}
    if options.json:
        print(json.dumps(paths, indent=2))
    else:
        print(f"real parts: all {len(paths)} programs are there, under {cache_root()}", file=sys.stderr)
    return 0


def _executable(path: pathlib.Path) -> pathlib.Path | None:
    return path if path.is_file() and os.access(path, os.X_OK) else None


def _go_environment() -> dict[str, str]:
    """The caller's environment, without what would make the programs depend on it: no C code, no workspace."""
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
