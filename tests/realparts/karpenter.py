"""A real Karpenter with its kwok provider beside the control plane: it makes and takes Node objects, kwok "runs" them.

What it does by itself (v1.14.1; each line is held by ``test_karpenter.py``):

- A *static* NodePool (``spec.replicas``, gate StaticCapacity) has the scale subresource ``.spec.replicas``/``.status.nodes``, without a
  selector. Up and down within seconds; which node goes is Karpenter's choice, one without pods first.
- A *dynamic* NodePool makes nodes for pods that the scheduler called Unschedulable, a second after the last such pod came
  (BATCH_IDLE_DURATION), and takes empty ones away ``disruption.consolidateAfter`` after their last pod left.
- A ``CapacityBuffer`` is ``autoscaling.x-k8s.io/v1beta1`` here (the design in the module still says v1alpha1), strategy
  ``buffer.x-k8s.io/active-capacity``. ``spec.replicas`` chunks of ``scalableRef`` (apps Deployment, StatefulSet, ReplicaSet: the template is
  read from the spec, no pod has to run) or of ``podTemplateRef``. The chunks are pods in Karpenter's memory only: they hold a node against
  consolidation and make one where none has room; nothing stops real pods from taking the room, and then Karpenter makes it anew. Condition
  ``Provisioning`` is True once all chunks fit on nodes that are there. Neither admission nor defaulting sees them: what a plug-in would add
  (here the namespace's node selector) has to stand in the template itself, and so do the *requests* of its containers: a template with
  limits alone asks for no GPU, and one node then has room for any number of its chunks. Without the gate the CRD may be served all the same and
  nothing happens: the condition ``ReadyForProvisioning`` never comes.
- Placeholder pods of a low PriorityClass need no gate: real pods preempt them, they go back to Pending, and that makes the next node.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import aiohttp

from tests.realparts import parts
from tests.realparts.api import ApiError, Object, Objects, is_ready
from tests.realparts.control_plane import NAMESPACE_LABEL, ControlPlane
from tests.realparts.ports import LOOPBACK, free_port
from tests.realparts.processes import Process

NODE_POOLS = "/apis/karpenter.sh/v1/nodepools"
NODE_CLAIMS = "/apis/karpenter.sh/v1/nodeclaims"
POOL_LABEL = "karpenter.sh/nodepool"
READY_AFTER = "kwok.test/ready-after-ms"
ADVERTISED_AFTER = "kwok.test/accelerators-after-ms"

_GATES = "StaticCapacity=true,CapacityBuffer=true"
_NODE_CLASS = {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass"}


def instance_type(name: str, *, gpus: int, prices: Mapping[str, float]) -> Object:
    """An entry of the instance types file. prices: per hour, by capacity type (on-demand, spot)."""
    return {
        "name": name,
        "offerings": [
            {
                "Price": price,
                "Available": True,
                "Requirements": [
                    {"key": "karpenter.sh/capacity-type", "operator": "In", "values": [kind]},
                    {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["zone-a"]},
                ],
            }
            for kind, price in prices.items()
        ],
        "architecture": "amd64",
        "operatingSystems": ["linux"],
        "resources": {"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1Ti", "pods": "200", "nvidia.com/gpu": str(gpus)},
    }


INSTANCE_TYPES = (
    instance_type("h100-8", gpus=8, prices={"on-demand": 40.0, "spot": 16.0}),
    instance_type("a100-8", gpus=8, prices={"on-demand": 24.0, "spot": 10.0}),
)


class Karpenter:
    """`async with Karpenter(control_plane, directory) as karpenter:`; one per session, NodePools of each test's own."""

    def __init__(self, control_plane: ControlPlane, directory: pathlib.Path) -> None:
        program = parts.need("karpenter-kwok")["karpenter-kwok"]
        directory.mkdir(parents=True, exist_ok=True)
        self._control_plane = control_plane
        self._crds = [program.parent / name for name in ("karpenter-crds", "karpenter-kwok-crds")]
        types = directory / "instance-types.json"
        types.write_text(json.dumps(INSTANCE_TYPES))
        self._health = f"http://{LOOPBACK}:{(health := free_port())}/readyz"
        command = [
            str(program),
            f"--instance-types-file-path={types}",
            f"--metrics-port={free_port()}",
            f"--health-probe-port={health}",
            "--log-level=info",
        ]
        environment = {
            "KUBECONFIG": str(control_plane.user_kubeconfig("karpenter", groups=["system:masters"])),
            "SYSTEM_NAMESPACE": "kube-system",
            "DISABLE_LEADER_ELECTION": "true",
            "FEATURE_GATES": _GATES,
            "KUBERNETES_MIN_VERSION": "1.19.0-0",
        }
        self.process = Process("karpenter", command, directory=directory, ready=self._is_ready, environment=environment)

    async def __aenter__(self) -> Karpenter:
        for folder in self._crds:
            done = await self._control_plane.kubectl("apply", "--server-side", "-f", str(folder))
            if done.code:
                raise AssertionError(f"kubectl apply of {folder.name}: {done.err}")
        done = await self._control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        if done.code:
            raise AssertionError(f"the CRDs of Karpenter are not served: {done.err}")
        await self.process.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.process.stop()

    async def add_pool(
        self,
        namespace: str,
        *,
        replicas: int | None = None,
        max_nodes: int = 8,
        instance_types: tuple[str, ...] = ("a100-8",),
        capacity_type: str = "on-demand",
        registered_after: str = "0s",
        ready_after_ms: int = 0,
        advertised_after_ms: int | None = None,
        consolidate_after: str = "1s",
        suffix: str = "",
    ) -> str:
        """A NodePool whose nodes serve this namespace only; returns its name (the namespace's, with the suffix).

        replicas: static, with so many nodes; None: dynamic. A node object appears `registered_after` its NodeClaim, is Ready
        `ready_after_ms` after that (whole seconds), and advertises its GPUs so long after (None: from the start).
        """
        name = f"{namespace}{suffix}"
        annotations = {READY_AFTER: str(ready_after_ms)}
        if advertised_after_ms is not None:
            annotations[ADVERTISED_AFTER] = str(advertised_after_ms)
        node_class = {
            "apiVersion": "karpenter.kwok.sh/v1alpha1",
            "kind": "KWOKNodeClass",
            "metadata": {"name": name},
            "spec": {"nodeRegistrationDelay": registered_after},
        }
        spec: dict[str, Any] = {
            "template": {
                "metadata": {"labels": {NAMESPACE_LABEL: namespace}, "annotations": annotations},
                "spec": {
                    "nodeClassRef": {**_NODE_CLASS, "name": name},
                    "expireAfter": "Never",
                    "requirements": [
                        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": [capacity_type]},
                        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": list(instance_types)},
                    ],
                },
            },
        }
        if replicas is None:
            spec["limits"] = {"nvidia.com/gpu": str(8 * max_nodes)}
            # Without this budget a tenth of the nodes goes at a time, once in ten seconds.
            budgets = [{"nodes": "100%"}]
            spec["disruption"] = {"consolidationPolicy": "WhenEmpty", "consolidateAfter": consolidate_after, "budgets": budgets}
        else:
            spec["replicas"] = replicas
            spec["limits"] = {"nodes": str(max_nodes)}
        await self._control_plane.apply(node_class)
        # Created, not applied: who applies a count server-side owns it from then on.
        node_pool = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name}, "spec": spec}
        await self._control_plane.api.create(NODE_POOLS, node_pool)
        return name

    async def until_nodes(self, pool: str, count: int, *, timeout_s: float = 40.0) -> Objects:
        """Return the pool's nodes once exactly so many are there and ready, none of them on its way out."""

        def settled(nodes: Objects) -> bool:
            gone = any(node["metadata"].get("deletionTimestamp") for node in nodes.values())
            return len(nodes) == count and not gone and all(map(is_ready, nodes.values()))

        return await self._control_plane.api.until(
            "/api/v1/nodes", settled, timeout_s=timeout_s, labelSelector=f"{POOL_LABEL}={pool}"
        )

    async def remove_pools(self, namespace: str) -> None:
        """Take a namespace's NodePools away and return when their nodes are gone."""
        api = self._control_plane.api
        pools = [pool["metadata"]["name"] for pool in (await api.get(NODE_POOLS))["items"]]
        for pool in pools:
            if pool.startswith(namespace):
                await api.delete(f"{NODE_POOLS}/{pool}")
                mine = {"labelSelector": f"{POOL_LABEL}={pool}"}
                await api.until(NODE_CLAIMS, lambda claims: not claims, timeout_s=60.0, **mine)
                # Its kwok provider leaves a node behind whose claim went while the node was being made.
                await api.delete("/api/v1/nodes", **mine)
                await api.until("/api/v1/nodes", lambda nodes: not nodes, timeout_s=60.0, **mine)
                try:
                    await api.delete(f"/apis/karpenter.kwok.sh/v1alpha1/kwoknodeclasses/{pool}")
                except ApiError as error:
                    if error.status != 404:
                        raise

    async def _is_ready(self) -> bool:
        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as http, http.get(self._health) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False
