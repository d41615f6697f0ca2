"""What `autoscaler external-metrics` stands between in its benchmark: an API server that says yes, and a controller that publishes.

A program of its own: python -m tests.benchmarks.external_metrics_world OBJECTS FOLDER. Prints one line of JSON, then ticks until its input
ends; the line "freeze" stops the ticks, as a Prometheus and a controller that hang would.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import numpy as np

from autoscaler.clock import SystemClock
from autoscaler.controller import Controller
from autoscaler.core.model import Publication, ScalingSpec
from autoscaler.dashboard.board import Board
from autoscaler.dashboard.feed import Feed
from autoscaler.dashboard.server import make_app, serve
from autoscaler.dashboard.watching import Watched
from autoscaler.publishing import Publisher
from tests.fakes.kube_api import FakeKubeApi
from tests.realparts.certificates import Authority
from tests.realparts.ports import LOOPBACK
from tests.ticks import PER_REPLICA, MadeCluster, MadeMetrics, a_spec

INTERVAL_S = 5.0
NAMESPACES = 100
MAX_AGE_S = 30.0


def services(count: int) -> list[ScalingSpec]:
    publication = Publication(signals=("running",), max_age_s=MAX_AGE_S)
    return [a_spec(f"s{i}", f"team-{i % NAMESPACES}", mode="Recommend", publication=publication) for i in range(count)]


async def world(objects: int, folder: Path) -> None:
    authority, proxy = Authority("serving", folder), Authority("front-proxy", folder)
    server = authority.server("server", names=["localhost", LOOPBACK])
    client = proxy.client("client", user="front-proxy-client")
    async with FakeKubeApi() as api:
        api.may = lambda _spec: True
        data = {
            "client-ca-file": authority.certificate.read_text(),
            "requestheader-client-ca-file": proxy.certificate.read_text(),
            "requestheader-allowed-names": '["front-proxy-client"]',
            "requestheader-username-headers": '["X-Remote-User"]',
            "requestheader-group-headers": '["X-Remote-Group"]',
            "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        }
        name = "extension-apiserver-authentication"
        api.create("configmaps", {"metadata": {"name": name}, "data": data}, "kube-system")
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "fake", "cluster": {"server": api.url}}],
                    "users": [{"name": "me", "user": {"token": "token"}}],
                    "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
                    "current-context": "fake",
                }
            )
        )
        clock = SystemClock()
        publisher = Publisher(clock)
        rng = np.random.default_rng(1)
        load = rng.uniform(10.0, 300.0, objects)
        metrics = MadeMetrics(
            {
                "concurrency": lambda _at_s, row: float(load[row]),
                "queue": lambda _at_s, _row: 3.0,
                "running": lambda _at_s, _row: 20.0,
            }
        )
        controller = Controller(
            clock=clock,
            metrics=Watched(metrics),
            cluster=MadeCluster(services(objects)),
            policies={"per-replica": PER_REPLICA},
            reporters=[publisher],
            interval_s=INTERVAL_S,
        )
        async with serve(make_app(Board(), feed=Feed(publisher, "bench")), LOOPBACK, 0) as port:
            stop = asyncio.Event()
            ticking = asyncio.create_task(controller.run(stop))
            await controller.ticked.wait()
            said = {
                "kubeconfig": str(kubeconfig),
                "controller": f"http://{LOOPBACK}:{port}",
                "ca": str(authority.certificate),
                "server_cert": str(server.certificate),
                "server_key": str(server.key),
                "cert": str(client.certificate),
                "key": str(client.key),
            }
            print(json.dumps(said), flush=True)
            lines = asyncio.StreamReader()
            await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
            while word := await lines.readline():
                if word.strip() == b"freeze":
                    stop.set()
                    await ticking
            stop.set()
            await ticking


if __name__ == "__main__":
    asyncio.run(world(int(sys.argv[1]), Path(sys.argv[2])))
