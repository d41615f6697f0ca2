"""The test bed of real parts: Kubernetes' own control plane, kwok in place of kubelets, Prometheus. All on loopback.

`make realparts` builds the programs once (`build.py`); they are cached outside the tree. Each test run starts what its
tests ask for (`fixtures.py`) and leaves nothing running. A test without a real part is skipped; with CI=true it fails.

    async def test_something(control_plane: ControlPlane, prometheus: PrometheusServer, namespace: str) -> None:
        await control_plane.add_gpu_node("a", 4, namespace=namespace)      # a real scheduler, real `nvidia.com/gpu`
        await control_plane.apply(manifest, namespace=namespace)
        pods = await control_plane.api.until(f"/api/v1/namespaces/{namespace}/pods", lambda pods: len(pods) == 3)

How long a pod takes to start, to get ready and to drain: annotations of the pod, see `kwok/stages.yaml`.
Faults: `Process.kill/freeze/thaw/restart` on each part, `ControlPlane.restart_apiserver`, `fault_proxy` before a part.
A newer version of a part: change it in its `go.mod`, `go mod tidy` there; Kubernetes has a `replace` line for each of
its staging modules, all of the same version.
"""
