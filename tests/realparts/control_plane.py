"""A real Kubernetes control plane on loopback: etcd, API server, controllers, scheduler, and kwok in place of kubelets."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import pathlib
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import aiohttp
import yaml

from tests.realparts import parts
from tests.realparts.api import Api, Object, is_ready
from tests.realparts.certificates import Authority, service_account_key
from tests.realparts.fault_proxy import FaultProxy
from tests.realparts.kubeconfig import write_kubeconfig
from tests.realparts.ports import LOOPBACK, free_port
from tests.realparts.processes import Process

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kubectl")
NAMESPACE_LABEL = "realparts.test/namespace"  # of a node: only pods of this namespace run there

_HERE = pathlib.Path(__file__).parent
_ISSUER = "https://kubernetes.default.svc"

# The controllers that tests rely on. Left out on purpose: the node lifecycle (kwok sends no heartbeats, so it would
# call each node lost after 40 s) and the volumes.
_CONTROLLERS = (
    "clusterrole-aggregation",
    "cronjob",
    "daemonset",
    "deployment",
    "disruption",
    "endpoints",
    "endpointslice",
    "garbage-collector",
    "horizontal-pod-autoscaler",
    "job",
    "namespace",
    "replicaset",
    "resourcequota",
    "root-ca-certificate-publisher",
    "serviceaccount",
    "statefulset",
)

# Taken out: ServiceAccount puts a volume with a token into each pod, and TaintNodesByCondition a taint on each new
# node that only the node lifecycle controller takes off again. Put in: PodNodeSelector keeps the pods of a namespace
# on the nodes that a test made for it, so that tests do not take each other's GPUs.
_ADMISSION_OFF = "ServiceAccount,TaintNodesByCondition"
_ADMISSION_ON = "PodNodeSelector"
_SELECTOR_ANNOTATION = "scheduler.alpha.kubernetes.io/node-selector"


class Finished(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


class ControlPlane:
    """`async with ControlPlane(directory) as cp:` starts all of it, and leaves nothing running.

    Takes a few seconds and half a gigabyte: one per test session, a namespace per test.
    """

    def __init__(self, directory: pathlib.Path, *, hpa_sync_period_s: float = 1.0) -> None:
        programs = parts.need(*PROGRAMS)
        self.directory = directory
        self._kubectl = programs["kubectl"]
        self._file_number = itertools.count(1)
        secrets = directory / "certificates"
        secrets.mkdir(parents=True, exist_ok=True)
        self.authority = Authority("authority", secrets)
        self.front_proxy_authority = Authority("front-proxy-authority", secrets)
        self.url = f"https://{LOOPBACK}:{free_port()}"
        self.audit_log = directory / "audit.log"
        self._admin = self.authority.client("admin", user="admin", groups=["system:masters"])
        self.admin_context: ssl.SSLContext = self.authority.client_context(self._admin)
        self.admin_kubeconfig = self.user_kubeconfig("admin", groups=["system:masters"])
        self.api = Api(self.url, self.admin_context)  # as admin
        self._stack = contextlib.AsyncExitStack()

        etcd_url = f"http://{LOOPBACK}:{free_port()}"
        self.etcd = self._etcd(programs["etcd"], etcd_url)
        self.apiserver = self._apiserver(programs["kube-apiserver"], etcd_url, secrets)
        self.controller_manager = self._controller_manager(programs["kube-controller-manager"], secrets, hpa_sync_period_s)
        self.scheduler = self._scheduler(programs["kube-scheduler"], secrets)
        self.kwok = self._kwok(programs["kwok"])

    @property
    def processes(self) -> list[Process]:
        """Every program, in the order of their start."""
        return [self.etcd, self.apiserver, self.controller_manager, self.scheduler, self.kwok]

    async def __aenter__(self) -> ControlPlane:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.api)
            stack.push_async_callback(self._stop)
            await self.etcd.start()
            await self.apiserver.start()
            await asyncio.gather(*(process.start() for process in (self.controller_manager, self.scheduler, self.kwok)))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def _stop(self) -> None:
        # The API server waits for its clients' watches to end: clients first. etcd last.
        await asyncio.gather(*(process.stop() for process in (self.controller_manager, self.scheduler, self.kwok)))
        await self.apiserver.stop()
        await self.etcd.stop()

    # Acting as somebody.

    def user_kubeconfig(self, user: str, *, groups: Sequence[str] = (), namespace: str = "default") -> pathlib.Path:
        """A kubeconfig for a user with these groups; without groups that RBAC knows, one who may do nothing."""
        path = self._new_file(user)
        pair = self.authority.client(path.stem, user=user, groups=groups)
        return write_kubeconfig(
            path, server=self.url, authority=self.authority.certificate, certificate=pair, namespace=namespace
        )

    async def service_account_token(self, namespace: str, name: str, *, expires_s: int = 3600) -> str:
        """A token of an existing service account, from the TokenRequest API; the server allows no less than 600 s."""
        answer = await self.api.create(
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": expires_s}},
        )
        return str(answer["status"]["token"])

    async def service_account_kubeconfig(self, namespace: str, name: str, *, server: str | None = None) -> pathlib.Path:
        """A kubeconfig that acts as an existing service account: what a pod would be allowed, and no more.

        `server`: go through a proxy (`fault_proxy()`) instead of to the API server itself.
        """
        token = await self.service_account_token(namespace, name)
        return write_kubeconfig(
            self._new_file(f"{namespace}-{name}"),
            server=server or self.url,
            authority=self.authority.certificate,
            token=token,
            namespace=namespace,
        )

    async def until_allowed(
        self, user: str, *, verb: str, resource: str, group: str = "", namespace: str = "", name: str = "", within_s: float = 10.0
    ) -> None:
        """Return when RBAC lets the user do this: the API server learns of a new binding a moment after it is stored."""
        attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": attributes},
        }
        async with asyncio.timeout(within_s):
            while True:
                answer = await self.api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
                if answer["status"]["allowed"]:
                    return
                await asyncio.sleep(0.02)

    def fault_proxy(self) -> FaultProxy:
        """A proxy before the API server, to be used with `async with`; clients trust it like the server itself."""
        pair = self.authority.server(self._new_file("fault-proxy").stem, names=["localhost", LOOPBACK])
        server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server_context.load_cert_chain(pair.certificate, pair.key)
        return FaultProxy(self.url, target_context=self.authority.client_context(), server_context=server_context)

    # Tools.

    async def kubectl(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002 - as subprocess calls it
        kubeconfig: pathlib.Path | None = None,
        timeout_s: float = 60.0,
    ) -> Finished:
        """Run the real kubectl, as admin unless a kubeconfig says otherwise."""
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.directory),
            "KUBECONFIG": str(kubeconfig or self.admin_kubeconfig),
            "KUBECACHEDIR": str(self.directory / "kubectl-cache"),
        }
        process = await asyncio.create_subprocess_exec(
            self._kubectl,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL if input is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate(None if input is None else input.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Finished(process.returncode or 0, out.decode(), err.decode())

    async def apply(self, manifest: str | Mapping[str, Any] | Sequence[Mapping[str, Any]], *, namespace: str = "default") -> None:
        """Server-side apply of YAML text, an object or several, as admin; an error with kubectl's words if refused."""
        if not isinstance(manifest, str):
            manifest = json.dumps(manifest) if isinstance(manifest, Mapping) else yaml.safe_dump_all(manifest)
        done = await self.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", input=manifest)
        if done.code:
            raise AssertionError(f"kubectl apply: {done.err}")

    async def create_namespace(self, name: str) -> None:
        """A namespace whose pods run on its own nodes only (`add_gpu_node(…, namespace=name)`)."""
        selector = {_SELECTOR_ANNOTATION: f"{NAMESPACE_LABEL}={name}"}
        metadata = {"name": name, "annotations": selector}
        await self.api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    async def keep_off_nodes(self, namespace: str) -> None:
        """The pods of a namespace that others made run nowhere: they would take room on the nodes of tests, and hold them."""
        selector = {_SELECTOR_ANNOTATION: f"{NAMESPACE_LABEL}={namespace}"}
        await self.api.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"annotations": selector}})
        await self.api.delete(f"/api/v1/namespaces/{namespace}/pods", gracePeriodSeconds="0")

    async def delete_namespace(self, name: str) -> None:
        """Take away a namespace, its pods and its nodes. Its last objects go in the background."""
        await self.api.delete(f"/api/v1/namespaces/{name}")  # first: what is terminating gets no new pods
        await self.api.delete(f"/api/v1/namespaces/{name}/pods", gracePeriodSeconds="0")
        await self.api.delete("/api/v1/nodes", labelSelector=f"{NAMESPACE_LABEL}={name}")

    async def add_gpu_node(
        self, name: str, gpus: int, *, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> str:
        """A node with that many GPUs that "runs" pods; returns its name when it is ready.

        With a namespace it serves only pods of that one, and is called `<namespace>-<name>`.
        """
        full_name = f"{namespace}-{name}" if namespace else name
        resources = {"cpu": "64", "memory": "512Gi", "pods": "200", "ephemeral-storage": "1Ti", "nvidia.com/gpu": str(gpus)}
        own = {NAMESPACE_LABEL: namespace} if namespace else {}
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": full_name,
                "labels": {
                    "kubernetes.io/hostname": full_name,
                    "kubernetes.io/os": "linux",
                    "nvidia.com/gpu.present": "true",
                    **own,
                    **(labels or {}),
                },
            },
            "status": {"capacity": resources, "allocatable": resources},
        }
        await self.api.create("/api/v1/nodes", node)
        await self.api.until(
            "/api/v1/nodes",
            lambda nodes: full_name in nodes and is_ready(nodes[full_name]),
            fieldSelector=f"metadata.name={full_name}",
        )
        return full_name

    async def restart_apiserver(self, *, crash: bool = False) -> None:
        """Stop the API server (crash: with SIGKILL), start it again on the same port, and return when it is ready."""
        if crash:
            await self.apiserver.kill()
        await self.apiserver.restart()

    # The audit log.

    def audit_events(self) -> Iterator[Object]:
        """Every request so far, oldest first: who (`user`), what (`verb`, `objectRef`), how answered (`responseStatus`).

        A watch appears twice: when its answer starts, and when it ends.
        """
        with self.audit_log.open(encoding="utf-8") as file:
            for line in file:
                if not line.endswith("\n"):  # it is being written
                    return
                with contextlib.suppress(ValueError):  # a server that was killed may leave half a line
                    yield json.loads(line)

    async def audited(self, condition: Callable[[Object], bool], *, timeout_s: float = 10.0) -> Object:
        """The first audited request that meets the condition; waits for it, as a request is logged after its answer."""
        async with asyncio.timeout(timeout_s):
            while True:
                for event in self.audit_events():
                    if condition(event):
                        return event
                await asyncio.sleep(0.05)

    # How each program is started.

    def _etcd(self, program: pathlib.Path, url: str) -> Process:
        peer = f"http://{LOOPBACK}:{free_port()}"
        command = [
            str(program),
            "--name=test",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=test={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        return Process("etcd", command, directory=self.directory, ready=self._answers(f"{url}/readyz"))

    def _apiserver(self, program: pathlib.Path, etcd_url: str, secrets: pathlib.Path) -> Process:
        server = self.authority.server("kube-apiserver", names=["localhost", LOOPBACK, "kubernetes.default.svc"])
        proxy = self.front_proxy_authority.client("front-proxy-client", user="front-proxy-client")
        signing = service_account_key(secrets / "service-accounts.key")
        command = [
            str(program),
            f"--etcd-servers={etcd_url}",
            f"--bind-address={LOOPBACK}",
            f"--advertise-address={LOOPBACK}",
            f"--secure-port={self.url.rsplit(':', 1)[1]}",
            f"--cert-dir={secrets}",
            f"--tls-cert-file={server.certificate}",
            f"--tls-private-key-file={server.key}",
            f"--client-ca-file={self.authority.certificate}",
            f"--service-account-key-file={signing}",
            f"--service-account-signing-key-file={signing}",
            f"--service-account-issuer={_ISSUER}",
            f"--requestheader-client-ca-file={self.front_proxy_authority.certificate}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={proxy.certificate}",
            f"--proxy-client-key-file={proxy.key}",
            "--authorization-mode=Node,RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none",
            f"--disable-admission-plugins={_ADMISSION_OFF}",
            f"--enable-admission-plugins={_ADMISSION_ON}",
            f"--audit-policy-file={_HERE / 'kubernetes' / 'audit-policy.yaml'}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=4096",  # MB; one file for the whole run
            "--shutdown-watch-termination-grace-period=2s",  # else it waits a minute for watches to end by themselves
            "--profiling=false",
        ]
        return Process("kube-apiserver", command, directory=self.directory, ready=self._answers(f"{self.url}/readyz"))

    def _controller_manager(self, program: pathlib.Path, secrets: pathlib.Path, hpa_sync_period_s: float) -> Process:
        kubeconfig = self.user_kubeconfig("system:kube-controller-manager")
        controllers = [f"{name}-controller" for name in _CONTROLLERS]
        arguments = [
            # Each controller acts as its own service account: the plain user has no rights of theirs.
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={secrets / 'service-accounts.key'}",
            f"--root-ca-file={self.authority.certificate}",
            f"--controllers={','.join(controllers)}",
            f"--horizontal-pod-autoscaler-sync-period={hpa_sync_period_s:g}s",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]
        command, url = self._kubernetes_client("kube-controller-manager", program, kubeconfig, secrets)
        # It is healthy before it has made its controllers, and gives up when the API server goes away meanwhile.
        ready = self._answers(f"{url}/healthz?verbose", *(f"{name} ok" for name in controllers))
        return Process("kube-controller-manager", [*command, *arguments], directory=self.directory, ready=ready)

    def _scheduler(self, program: pathlib.Path, secrets: pathlib.Path) -> Process:
        kubeconfig = self.user_kubeconfig("system:kube-scheduler")
        command, url = self._kubernetes_client("kube-scheduler", program, kubeconfig, secrets)
        command += ["--kube-api-qps=500", "--kube-api-burst=1000"]
        return Process("kube-scheduler", command, directory=self.directory, ready=self._answers(f"{url}/readyz"))

    def _kubernetes_client(
        self, name: str, program: pathlib.Path, kubeconfig: pathlib.Path, secrets: pathlib.Path
    ) -> tuple[list[str], str]:
        """What controller manager and scheduler have in common: the command, and the URL on which they listen."""
        port = free_port()
        server = self.authority.server(f"{name}-server", names=["localhost", LOOPBACK])
        command = [
            str(program),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={port}",
            f"--cert-dir={secrets}",
            f"--tls-cert-file={server.certificate}",
            f"--tls-private-key-file={server.key}",
            "--leader-elect=false",
            "--profiling=false",
        ]
        return command, f"https://{LOOPBACK}:{port}"

    def _kwok(self, program: pathlib.Path) -> Process:
        address = f"{LOOPBACK}:{free_port()}"
        kubeconfig = self.user_kubeconfig("kwok", groups=["system:masters"])
        command = [
            str(program),
            f"--kubeconfig={kubeconfig}",
            f"--config={_HERE / 'kwok' / 'stages.yaml'}",
            "--manage-all-nodes",
            "--node-lease-duration-seconds=0",  # with leases, a restarted kwok waits for the end of its old one
            "--cidr=10.64.0.0/12",  # of the pods; the services have 10.0.0.0/24
            f"--server-address={address}",
        ]
        return Process("kwok", command, directory=self.directory, ready=self._answers(f"http://{address}/healthz"))

    def _answers(self, url: str, *words: str) -> Callable[[], Awaitable[bool]]:
        """A readiness probe: whether a GET is answered with 200 and all of these words."""

        async def probe() -> bool:
            timeout = aiohttp.ClientTimeout(total=5)
            connector = aiohttp.TCPConnector(ssl=self.admin_context, force_close=True)
            try:
                async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http, http.get(url) as answer:
                    text = await answer.text()
                    return answer.status == 200 and all(word in text for word in words)
            except (aiohttp.ClientError, TimeoutError):
                return False

        return probe

    def _new_file(self, name: str) -> pathlib.Path:
        """A path for a kubeconfig; a user's name may hold signs that a file's may not."""
        safe = "".join(sign if sign.isalnum() or sign in "-." else "-" for sign in name)
        return self.directory / "certificates" / f"{safe}-{next(self._file_number)}.kubeconfig"
