"""What holds of where signals come from, and of what is published of them."""

from __future__ import annotations

from typing import Final

from autoscaler.manifest_rules.rule import Data, Rule, of_service, positive


def _both_or_neither(data: Data, one: str, other: str) -> bool:
    return (one in data) == (other in data)


def _plain_secret_header(header: Data) -> bool:
    return "value" in header and header["name"].lower() in ("authorization", "proxy-authorization", "cookie", "x-api-key")


_OWN_CREDENTIALS: Final = ("bearerToken", "basicAuth", "tls", "headers")


RULES: Final[tuple[Rule, ...]] = (
    # ------------------------------------------------------------ signals
    of_service(
        "signals-go-stale-after-a-while",
        "spec.signals",
        "staleAfter",
        "self.staleAfter.matches('[1-9]')",
        "must be above zero, or every signal would always be unknown",
        lambda signals: positive(signals["staleAfter"]),
    ),
    of_service(
        "published-values-age",
        "spec.publish",
        "maxAge",
        "!has(self.maxAge) || self.maxAge.matches('[1-9]')",
        "must be above zero, or no value would ever be served",
        lambda publish: "maxAge" not in publish or positive(publish["maxAge"]),
    ),
    of_service(
        "published-labels-are-not-ours",
        "spec.publish.labels[]",
        "name",
        "!(self.name in ['quantile', 'policy']) && !self.name.startsWith('inference-autoscaler.io/')",
        "quantile, policy and names that begin with inference-autoscaler.io/ are given by the API itself; choose another name",
        lambda label: label["name"] not in ("quantile", "policy") and not label["name"].startswith("inference-autoscaler.io/"),
    ),
    of_service(
        "one-prometheus",
        "spec.signals.prometheus",
        "",
        "has(self.name) != has(self.url)",
        "exactly one of name and url is allowed",
        lambda server: ("name" in server) != ("url" in server),
    ),
    of_service(
        "credentials-only-for-an-own-url",
        "spec.signals.prometheus",
        "",
        "has(self.url) || !(has(self.bearerToken) || has(self.basicAuth) || has(self.tls) || has(self.headers))",
        "bearerToken, basicAuth, tls and headers are allowed with url only; a named server's are the administrator's",
        lambda server: "url" in server or not any(name in server for name in _OWN_CREDENTIALS),
    ),
    of_service(
        "one-way-to-sign-in",
        "spec.signals.prometheus",
        "basicAuth",
        "!(has(self.bearerToken) && has(self.basicAuth))",
        "only one of bearerToken and basicAuth is allowed",
        lambda server: not ("bearerToken" in server and "basicAuth" in server),
    ),
    of_service(
        "tls-needs-https",
        "spec.signals.prometheus",
        "tls",
        "!has(self.tls) || !has(self.url) || self.url.startsWith('https://')",
        "certificates are allowed with an https:// url only",
        lambda server: "tls" not in server or "url" not in server or server["url"].startswith("https://"),
    ),
    of_service(
        "certificate-with-key",
        "spec.signals.prometheus.tls",
        "cert",
        "has(self.cert) == has(self.key)",
        "cert and key are needed together",
        lambda tls: _both_or_neither(tls, "cert", "key"),
    ),
    of_service(
        "header-has-one-value",
        "spec.signals.prometheus.headers[]",
        "value",
        "has(self.value) != has(self.valueFrom)",
        "exactly one of value and valueFrom is allowed",
        lambda header: ("value" in header) != ("valueFrom" in header),
    ),
    of_service(
        "secret-header-from-a-secret",
        "spec.signals.prometheus.headers[]",
        "value",
        "!has(self.value) || !(self.name.lowerAscii() in ['authorization', 'proxy-authorization', 'cookie', 'x-api-key'])",
        "a credential must come from a Secret: use valueFrom",
        lambda header: not _plain_secret_header(header),
    ),
)
