"""Certificates of the external metrics server: our own authority, kept in a Secret and in ``APIService.spec.caBundle`` and rotated without a
refused request (``CertificateKeeper``), or somebody else's, read from files (``CertificateFiles``).

What an administrator should know of our own:

- New ones are asked for by an annotation on the Secret: ``inference-autoscaler.io/rotate=now`` (authority and all) or ``=leaf``. It is taken off
  when that has begun; ``rotation.json`` in the Secret, the log and ``certificate_rotation_step`` say how far it is.
- Deleting the Secret rotates nothing: replicas that run put back what was there, so that nobody is refused.
- A GitOps tool must leave ``spec.caBundle`` of the APIService alone (Argo CD: ``ignoreDifferences``), or both write it in turns.
- With cert-manager give files. An APIService that its injector writes is left alone.

What a keeper needs to be allowed, and nothing else (the test suite runs under exactly these rules, and fails where one is unused):

- in its own namespace, Secrets: ``create`` (no name can be given for this verb), and ``get``, ``list``, ``watch``, ``update`` of the one by
  its name: to read it, to be told of changes, to write over what was read;
- APIServices: ``get``, ``list``, ``watch``, ``patch`` of ``v1beta1.external.metrics.k8s.io``;
- SelfSubjectReviews: ``create``, which every account may (ClusterRole system:basic-user), to learn the API server's time.
"""

from autoscaler.external_metrics.certificates.authority import CLIENT_NAME, Lifetimes, Pair, service_names
from autoscaler.external_metrics.certificates.files import CertificateFiles
from autoscaler.external_metrics.certificates.keeper import SECRET_NAME, CertificateKeeper, KeeperSettings
from autoscaler.external_metrics.certificates.plan import Plan

__all__ = [
    "CLIENT_NAME",
    "SECRET_NAME",
    "CertificateFiles",
    "CertificateKeeper",
    "KeeperSettings",
    "Lifetimes",
    "Pair",
    "Plan",
    "service_names",
]
