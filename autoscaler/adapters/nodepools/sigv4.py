"""AWS Signature Version 4, of header kind.

From the published algorithm: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. The libraries that sign are
SDKs (botocore: 34 MB, and its client blocks); this is HMAC over a few lines, checked by AWS' own test vectors.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

from autoscaler.adapters.nodepools.aws_keys import AwsKeys

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNRESERVED: Final = "-_.~"


def sign(
    method: str, url: str, headers: Mapping[str, str], body: bytes, *, region: str, service: str, keys: AwsKeys, at_s: float
) -> dict[str, str]:
    """`headers` and what makes them signed: X-Amz-Date, X-Amz-Security-Token, Authorization. url: as it is sent, with its path encoded."""
    parts = urlsplit(url)
    moment = datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    signed = {**headers, "X-Amz-Date": moment}
    if session := keys.session.reveal():
        signed["X-Amz-Security-Token"] = session
    canonical_headers = {name.lower(): re.sub(r"\s+", " ", value.strip()) for name, value in signed.items()}
    canonical_headers["host"] = parts.netloc
    names = sorted(canonical_headers)
    pairs = sorted((_encoded(name), _encoded(value)) for name, value in parse_qsl(parts.query, keep_blank_values=True))
    request = "\n".join(
        [
            method,
            quote(parts.path or "/", safe="/" + _UNRESERVED),  # what is encoded already is encoded once more, but with S3
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{canonical_headers[name]}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join([ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{keys.secret_key.reveal()}".encode()
    for part in (moment[:8], region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, to_sign.encode(), "sha256").hexdigest()
    signed["Authorization"] = (
        f"{ALGORITHM} Credential={keys.access_key}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return signed


def _encoded(text: str) -> str:
    return quote(text, safe=_UNRESERVED)
