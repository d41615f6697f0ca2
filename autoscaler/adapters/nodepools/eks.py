"""The backend ``EKS``: a managed node group of Amazon EKS.

DescribeNodegroup, UpdateNodegroupConfig, DescribeUpdate: docs.aws.amazon.com/eks/latest/APIReference. Of a scalingConfig any members may be
given alone (NodegroupScalingConfig); its own minSize and maxSize are never changed but for setBy Minimum, which changes the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from autoscaler.adapters.nodepools.aws_keys import AwsIdentity, dns_suffix
from autoscaler.adapters.nodepools.backend import PoolState, ReadyNodes, Sets, Wish
from autoscaler.adapters.nodepools.json_http import JsonHttp
from autoscaler.adapters.nodepools.kube_objects import dig, whole
from autoscaler.adapters.nodepools.operation import Operation
from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason, problem_of, reason_in
from autoscaler.adapters.nodepools.sigv4 import sign
from autoscaler.errors import RequestFailed
from autoscaler.hidden import Hidden
from autoscaler.ports import Clock
from autoscaler.spec import Eks as Settings


def eks_url(region: str) -> str:
    """The regional endpoint."""
    return f"https://eks.{region}.{dns_suffix(region)}"


class Eks:
    """One managed node group. endpoint: of EKS in its region."""

    def __init__(
        self,
        http: JsonHttp,
        identity: AwsIdentity,
        clock: Clock,
        settings: Settings,
        ready: ReadyNodes,
        *,
        endpoint: str | None = None,
    ) -> None:
        self._http = http
        self._identity = identity
        self._clock = clock
        self._region = settings.region
        self._group = settings.nodegroup
        self._minimum = settings.set_by == "Minimum"
        self._ready = ready
        self._cluster = f"{endpoint or eks_url(settings.region)}/clusters/{settings.cluster}"
        self._update = Operation()
        self.sets: Sets = "Minimum" if self._minimum else "Nodes"

    async def get(self, deadline_s: float) -> PoolState:
        told, changing = await asyncio.gather(
            self._call("GET", f"{self._cluster}/node-groups/{self._group}", deadline_s), self._under_way(deadline_s)
        )
        group = told.get("nodegroup")
        config = dig(group, "scalingConfig")
        if not isinstance(group, dict) or not isinstance(config, dict) or whole(config.get("desiredSize")) is None:
            raise PoolProblem(PoolReason.UnexpectedAnswer, f"the node group {self._group} tells no scalingConfig")
        status = str(group.get("status") or "")
        if not changing and status in ("CREATING", "UPDATING", "DELETING"):
            changing = f"the node group is {status}"
        issues = dig(group, "health", "issues") or ()
        words = "; ".join(f"{one.get('code')}: {one.get('message')}" for one in issues) or self._update.failed
        return PoolState(
            target=whole(config.get("minSize" if self._minimum else "desiredSize")),
            ready=self._ready(),
            min_nodes=None if self._minimum else whole(config.get("minSize")),
            max_nodes=whole(config.get("maxSize")),
            owner="" if self._minimum else _owner(group),
            changing=changing,
            reason=reason_in(words),
            problem=words,
            version=whole(config.get("desiredSize")),
        )

    async def set_target(self, wish: Wish, over: PoolState, deadline_s: float) -> PoolState:
        if over.target == wish.nodes or over.changing:
            return over
        # A lower bound above the present size is refused, so both go up together; the owner brings the size down again by itself.
        config = {"minSize": wish.nodes} if self._minimum else {"desiredSize": wish.nodes}
        if self._minimum and over.version is not None and over.version < wish.nodes:
            config["desiredSize"] = wish.nodes
        url = f"{self._cluster}/node-groups/{self._group}/update-config"
        answer = await self._call("POST", url, deadline_s, {"scalingConfig": config})
        name = dig(answer, "update", "id")
        self._update.began(name if isinstance(name, str) else None)
        return replace(over, target=wish.nodes, changing=f"update {name}")

    async def _under_way(self, deadline_s: float) -> str:
        """Our last update, if it goes on still."""
        name = self._update.name
        if name is None:
            return ""
        url = f"{self._cluster}/updates/{name}?nodegroupName={self._group}"
        try:
            told = await self._call("GET", url, deadline_s)
        except PoolProblem as problem:
            if problem.reason != PoolReason.NotFound:
                raise
            told = {}
        status = dig(told, "update", "status")
        if status == "InProgress":
            return f"update {name} is InProgress"
        errors = dig(told, "update", "errors") or ()
        words = "; ".join(f"{one.get('errorCode')}: {one.get('errorMessage')}" for one in errors)
        self._update.ended(f"update {name} {status}: {words}" if status in ("Failed", "Cancelled") else "")
        return ""

    async def _call(self, method: str, url: str, deadline_s: float, body: Any = None) -> Mapping[str, Any]:
        hidden = await self._identity.get(deadline_s)
        keys = hidden.reveal()
        data = b"" if body is None else orjson.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        signed = sign(method, url, headers, data, region=self._region, service="eks", keys=keys, at_s=self._clock.now_s())
        secrets = (keys.secret_key, keys.session, Hidden(signed["Authorization"]))
        try:
            answer = await self._http.request(
                method, url, headers=signed, body=data or None, secrets=secrets, timeout_s=deadline_s
            )
        except RequestFailed as fault:
            problem = problem_of(fault)
            if problem.reason == PoolReason.CredentialsRefused:
                self._identity.refused()
            raise problem from None
        return answer.document


def _owner(group: Mapping[str, Any]) -> str:
    for tag in group.get("tags") or ():
        if str(tag).startswith("k8s.io/cluster-autoscaler/"):
            return f"cluster-autoscaler sizes it (tag {tag} of the node group); take setBy Minimum or the backend Headroom"
    return ""
