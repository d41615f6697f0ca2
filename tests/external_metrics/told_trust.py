"""What an API server says of whom it trusts (the ConfigMap extension-apiserver-authentication), with authorities to issue certificates by."""

from __future__ import annotations

from autoscaler.external_metrics import trust as words
from tests.external_metrics.issued import root

CLIENTS = root("client-ca")
PROXIES = root("front-proxy-ca")
DATA = {
    words.CLIENT_CA: CLIENTS.text,
    words.PROXY_CA: PROXIES.text,
    words.NAMES: '["front-proxy-client"]',
    words.USER_HEADERS: '["X-Remote-User"]',
    words.UID_HEADERS: '["X-Remote-Uid"]',
    words.GROUP_HEADERS: '["X-Remote-Group"]',
    words.EXTRA_PREFIXES: '["X-Remote-Extra-"]',
}
