"""Certificates of the external metrics server: our own authority, kept in a Secret and in ``APIService.spec.caBundle`` and rotated without a
refused request (``CertificateKeeper``), or somebody else's, read from files (``CertificateFiles``).
"""

from autoscaler.external_metrics.certificates.authority import CLIENT_NAME, Lifetimes, Pair, service_names
from autoscaler.external_metrics.certificates.files import CertificateFiles
from autoscaler.external_metrics.certificates.keeper import SECRET_NAME, CertificateKeeper, KeeperSettings
from autoscaler.external_metrics.certificates.rotation import Plan
from autoscaler.external_metrics.certificates.secret import ROTATE

__all__ = [
    "CLIENT_NAME",
    "ROTATE",
    "SECRET_NAME",
    "CertificateFiles",
    "CertificateKeeper",
    "KeeperSettings",
    "Lifetimes",
    "Pair",
    "Plan",
    "service_names",
]
