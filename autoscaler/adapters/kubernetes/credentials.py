"""Where the API server is and who we are there: in-cluster service account or kubeconfig, with credentials that are renewed.

kubernetes_asyncio reads the configuration (every kind of kubeconfig user included) and nothing else; its traps are avoided here:
the in-cluster token's line end is stripped, exec plug-ins run again before their credential expires, and environment proxies are
looked up once instead of with every request.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.errors import OutsideError, UsageError

DEFAULT_KUBECONFIG = "~/.kube/config"
REREAD_S = 60.0
"""Token files and kubeconfig users without an expiry of their own are read again this often."""


class Credentials:
    """Access to one API server.

    url: without a path. ssl: for every connection (None: plain http, for tests and kubectl proxy). proxy: URL or None.
    """

    def __init__(
        self,
        url: str,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_name: str | None = None,
        proxy: str | None = None,
        authorization: Callable[[], Awaitable[str | None]] | None = None,
        monotonic_s: Callable[[], float],
    ) -> None:
        self.url = url.rstrip("/")
        self.ssl_context = ssl_context
        self.server_name = server_name
        self.proxy = proxy if proxy is not None else environment_proxy(self.url)
        self._renew = authorization
        self._monotonic_s = monotonic_s
        self._header: str | None = None
        self._read_at_s = float("-inf")
        self._reading = asyncio.Lock()

    async def authorization(self) -> str | None:
        """The Authorization header's value, read again when due. Raises ApiError where it can't be had."""
        if self._renew is None:
            return None
        if self._monotonic_s() - self._read_at_s >= REREAD_S:
            async with self._reading:  # one plug-in run serves all who wait
                if self._monotonic_s() - self._read_at_s >= REREAD_S:
                    await self._read()
        return self._header

    def refused(self) -> None:
        """The server said 401: read again with the next request, but not in a storm."""
        self._read_at_s = min(self._read_at_s, self._monotonic_s() - REREAD_S + 1.0)

    async def _read(self) -> None:
        assert self._renew is not None
        try:
            header = await self._renew()
        except Exception as fault:  # plug-ins and files fail in every way there is
            if self._header is None:
                raise ApiError(0, "Unreachable", f"no credential for the API server: {fault}") from fault
            # The old one may still be good; the server decides.
            header = self._header
        self._header = header
        self._read_at_s = self._monotonic_s()


async def in_cluster(monotonic_s: Callable[[], float]) -> Credentials:
    """The pod's service account. Raises UsageError outside a pod."""
    from kubernetes_asyncio import client, config
    from kubernetes_asyncio.config import incluster_config

    configuration = _blank(client)
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException as fault:
        raise UsageError(f"not in a cluster: {fault} Give --kubeconfig.") from fault
    path = incluster_config.SERVICE_TOKEN_FILENAME

    async def authorization() -> str:
        with open(path, encoding="ascii") as file:  # noqa: ASYNC230 - a few hundred bytes from memory, once a minute
            return "Bearer " + file.read().strip()

    return Credentials(configuration.host, ssl_context=_tls(configuration), authorization=authorization, monotonic_s=monotonic_s)


async def from_kubeconfig(path: str | None, context: str | None, monotonic_s: Callable[[], float]) -> Credentials:
    """A kubeconfig's user. Raises UsageError where the file can't be used."""
    from kubernetes_asyncio import client, config

    configuration = _blank(client)
    try:
        loader = await config.load_kube_config(
            config_file=path, context=context, client_configuration=configuration, persist_config=False
        )
    except Exception as fault:  # ConfigException, YAML, a failing plug-in, a missing file
        raise UsageError(f"kubeconfig {path or 'by default'} can't be used: {fault}") from fault
    tls = _tls(configuration)

    async def authorization() -> str | None:
        # The loader runs an exec plug-in only when its credential is about to expire, and reads token files again.
        before = configuration.cert_file
        await loader.load_and_set(configuration)
        if tls is not None and configuration.cert_file and configuration.cert_file != before:
            tls.load_cert_chain(configuration.cert_file, configuration.key_file)  # for the next connections
        return _stripped(configuration)

    return Credentials(
        configuration.host,
        ssl_context=tls,
        server_name=configuration.tls_server_name,
        proxy=configuration.proxy,
        authorization=authorization,
        monotonic_s=monotonic_s,
    )


async def find(kubeconfig: str | None, monotonic_s: Callable[[], float]) -> Credentials:
    """As kubectl does: the file that was named, else the service account inside a pod, else the default kubeconfig. Raises OutsideError
    where there is none of them."""
    if kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return await in_cluster(monotonic_s)
    if kubeconfig is None and (missing := _no_default_kubeconfig()):
        raise OutsideError(
            f"no cluster to talk to: this is not a pod (KUBERNETES_SERVICE_HOST is not set), and {missing}. Give --kubeconfig FILE, or "
            "set KUBECONFIG to the file that kubectl uses. Without a cluster, `autoscaler demo` shows the same controller on a simulated one."
        )
    return await from_kubeconfig(kubeconfig, None, monotonic_s)


def _no_default_kubeconfig() -> str:
    """Why there is no default kubeconfig, in words; "" where there is one. KUBECONFIG may name several files."""
    named = os.environ.get("KUBECONFIG", "")
    files = [file for file in named.split(os.pathsep) if file] or [DEFAULT_KUBECONFIG]
    if any(os.path.isfile(os.path.expanduser(file)) for file in files):
        return ""
    return f"the kubeconfig that KUBECONFIG names is not there ({named})" if named else f"there is no {DEFAULT_KUBECONFIG}"


def environment_proxy(url: str) -> str | None:
    """The proxy that the environment names for this server, as every other Kubernetes client takes it."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _blank(client: Any) -> Any:
    # Not Configuration(): its metaclass hands out a copy of a process-wide default that another library may have set.
    return type.__call__(client.Configuration)


def _stripped(configuration: Any) -> str | None:
    key = configuration.api_key.get("BearerToken")
    return key.strip() if key else None


def _tls(configuration: Any) -> ssl.SSLContext | None:
    if not configuration.host.startswith("https"):
        return None
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    # Private CAs, of clusters above all, are often not strict RFC 5280; other Kubernetes clients do not ask for that either.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
