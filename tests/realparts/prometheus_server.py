"""A real Prometheus on loopback that tests write series into and query, stop and freeze."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import aiohttp

from tests.realparts import parts
from tests.realparts.ports import LOOPBACK, free_port
from tests.realparts.processes import Process
from tests.realparts.remote_write import HEADERS, Series, encode

# Series of one test may begin before those of an earlier one, and a test may write the past after the present.
_CONFIGURATION = """\
global: {scrape_interval: 1h, evaluation_interval: 1h}
storage:
  tsdb: {out_of_order_time_window: 60d}
"""

Labels = dict[str, str]


class PrometheusServer:
    """`async with PrometheusServer(directory) as prom:`; it scrapes nothing and holds what tests write.

    Tests share it, so each gives its series a label of its own (the namespace).
    """

    def __init__(self, directory: pathlib.Path) -> None:
        program = parts.need("prometheus")["prometheus"]
        directory.mkdir(parents=True, exist_ok=True)
        configuration = directory / "prometheus.yaml"
        configuration.write_text(_CONFIGURATION)
        address = f"{LOOPBACK}:{free_port()}"
        self.url = f"http://{address}"
        command = [
            str(program),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={directory / 'data'}",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address={address}",
            "--web.enable-remote-write-receiver",
            "--log.level=warn",
        ]
        self.process = Process("prometheus", command, directory=directory, ready=self._is_ready)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> PrometheusServer:
        self._session = aiohttp.ClientSession(
            self.url, connector=aiohttp.TCPConnector(force_close=True), timeout=aiohttp.ClientTimeout(total=20)
        )
        try:
            await self.process.start()
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.process.stop()
        await self._http.close()

    async def write(self, series: Sequence[Series]) -> None:
        """Store samples: a list of (labels with `__name__`, [(Unix seconds, value), …]). Raises ClientError while it is away or starting."""
        async with self._http.post("/api/v1/write", data=encode(series), headers=HEADERS) as answer:
            if answer.status == 503:  # as good as not listening yet
                raise aiohttp.ClientConnectionError("Prometheus is still starting")
            if answer.status >= 300:
                raise AssertionError(f"remote write: {answer.status} {await answer.text()}")

    async def query(self, promql: str, at_s: float) -> list[tuple[Labels, float]]:
        """An instant query; each series' labels and value. A scalar has no labels."""
        data = await self._ask("/api/v1/query", {"query": promql, "time": repr(at_s)})
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(item["metric"], float(item["value"][1])) for item in data["result"]]

    async def query_range(
        self, promql: str, start_s: float, end_s: float, step_s: float
    ) -> list[tuple[Labels, list[tuple[float, float]]]]:
        """A range query; each series' labels and its (Unix seconds, value)."""
        parameters = {"query": promql, "start": repr(start_s), "end": repr(end_s), "step": repr(step_s)}
        data = await self._ask("/api/v1/query_range", parameters)
        return [(item["metric"], [(time_s, float(value)) for time_s, value in item["values"]]) for item in data["result"]]

    async def stop(self) -> None:
        """Stop it: connections are refused from now on. Its data stay."""
        await self.process.stop()

    async def start(self) -> None:
        """Start it again, on the same port and the same data."""
        await self.process.start()

    async def restart(self) -> None:
        """Stop and start."""
        await self.process.restart()

    def freeze(self) -> None:
        """It takes connections and answers nothing."""
        self.process.freeze()

    def thaw(self) -> None:
        """It goes on, and answers what was asked meanwhile."""
        self.process.thaw()

    async def _ask(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        async with self._http.post(path, data=parameters) as answer:
            document = await answer.json()
        if document["status"] != "success":
            raise AssertionError(f"{parameters['query']}: {document['errorType']}: {document['error']}")
        return dict(document["data"])

    async def _is_ready(self) -> bool:
        try:
            async with self._http.get("/-/ready", timeout=aiohttp.ClientTimeout(total=2)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use `async with`")
        return self._session
