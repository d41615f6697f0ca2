"""On a Dask cluster of real processes: the same outcome as here, also when a worker dies in the middle."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from replay.tune.batch import Batch
from replay.tune.cluster import Cluster
from replay.tune.run import prepared
from replay.tune.search import Player, search
from replay.tune.trial import needed_ratio
from replay.tune.workers import Here, Scores, Workers
from tests.conftest import ROOT
from tests.tune.made import asked, trace, tuned


class Machines:
    """A scheduler and two workers, each a process, on loopback."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "scheduler.json"
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._start("distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(self._file))
        until_s = time.monotonic() + 60
        while not self._address() and time.monotonic() < until_s:
            time.sleep(0.02)  # the file is how a scheduler says where it is
        self.address = self._address()
        for _ in range(2):
            local = ("--local-directory", str(folder), "--nthreads", "1", "--no-nanny", "--no-dashboard")
            self._start("distributed.cli.dask_worker", self.address, *local)
        self.workers = self._started[1:]

    def _start(self, module: str, *arguments: str) -> None:
        words = [sys.executable, "-m", module, "--host", "127.0.0.1", *arguments]
        with (self._folder / f"{len(self._started)}.log").open("wb") as log:
            self._started.append(subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log))

    def _address(self) -> str:
        try:
            return str(orjson.loads(self._file.read_bytes())["address"])
        except (OSError, orjson.JSONDecodeError):
            return ""

    def end(self) -> None:
        for process in reversed(self._started):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    made = Machines(tmp_path_factory.mktemp("dask"))
    try:
        yield made
    finally:
        made.end()


class LosesOne:
    """Plays on the cluster, and kills a worker when the first scores are there and others are still being worked on."""

    def __init__(self, cluster: Cluster, victim: subprocess.Popen[bytes]) -> None:
        self._cluster = cluster
        self._victim = victim

    def play(self, work: Sequence[Batch]) -> Iterator[Scores]:
        for scores in self._cluster.play(work):
            if self._victim.poll() is None:
                self._victim.kill()
                self._victim.wait()
            yield scores

    def __enter__(self) -> LosesOne:
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.__exit__(None, None, None)


def test_the_outcome_is_that_of_one_machine(machines: Machines, tmp_path: Path) -> None:
    what = asked([trace(tmp_path)], trials=16)
    here = tuned(what, tmp_path / "here.yaml").results[0].as_json()
    there = tuned(what, tmp_path / "there.yaml", scheduler=machines.address).results[0].as_json()
    assert there == here
    assert (tmp_path / "there.yaml").read_bytes() == (tmp_path / "here.yaml").read_bytes()


def test_a_worker_that_dies_in_the_middle_changes_nothing(machines: Machines, tmp_path: Path) -> None:
    what = asked([trace(tmp_path)], trials=32, generation=32)
    (one,) = prepared(what.loaded())

    def searched(workers: Workers) -> Any:
        with workers:
            player = Player(service="default/standard", workers=workers, study=None, parts=one.parts)
            return search(player, one.space, trials=32, seed=0, needed_ratio=needed_ratio(0.995, 0.25), generation=32)

    here = searched(Here(one.setting))
    cluster = Cluster(one.setting, machines.address)
    cluster.wait_for(2)
    there = searched(LosesOne(cluster, machines.workers[0]))
    assert machines.workers[0].poll() is not None
    assert there == here
