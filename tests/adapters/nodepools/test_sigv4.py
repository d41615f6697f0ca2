"""Signatures against AWS' published test vectors.

Source: the Signature Version 4 test suite (aws-sig-v4-test-suite; kept by AWS in awslabs/aws-c-auth, tests/aws-signing-test-suite/v4): request and
signature of each test under its own name. The last one is the worked example of "Create a signed AWS API request" (AWS IAM user guide).
"""

from __future__ import annotations

import pytest

from autoscaler.adapters.nodepools.aws_keys import AwsKeys
from autoscaler.adapters.nodepools.sigv4 import sign
from autoscaler.hidden import Hidden

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
AT_S = 1440938160.0  # 20150830T123600Z
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGd"
    "QrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz"
    "+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VECTORS = [
    ("get-vanilla", "GET", "/", {}, b"", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("post-vanilla", "POST", "/", {}, b"", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    (
        "get-vanilla-query-order-key-case",
        "GET",
        "/?Param2=value2&Param1=value1",
        {},
        b"",
        "",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    (
        "get-vanilla-query-order-value",
        "GET",
        "/?Param1=value2&Param1=value1",
        {},
        b"",
        "",
        "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
    ),
    (
        "get-vanilla-query-unreserved",
        "GET",
        f"/?{UNRESERVED}={UNRESERVED}",
        {},
        b"",
        "",
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    (
        "get-header-value-trim",
        "GET",
        "/",
        {"My-Header1": " value1", "My-Header2": ' "a   b   c"'},
        b"",
        "",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    (
        "post-header-value-case",
        "POST",
        "/",
        {"My-Header1": "VALUE1"},
        b"",
        "",
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    (
        "post-x-www-form-urlencoded",
        "POST",
        "/",
        {"Content-Type": "application/x-www-form-urlencoded"},
        b"Param1=value1",
        "",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    ("post-sts-header-before", "POST", "/", {}, b"", TOKEN, "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
]


def keys(token: str = "", access: str = "AKIDEXAMPLE", secret: str = SECRET) -> AwsKeys:
    return AwsKeys(access, Hidden(secret), Hidden(token))


@pytest.mark.parametrize(
    ("name", "method", "path", "headers", "body", "token", "signature"), VECTORS, ids=[v[0] for v in VECTORS]
)
def test_a_vector_of_aws(
    name: str, method: str, path: str, headers: dict[str, str], body: bytes, token: str, signature: str
) -> None:
    url = f"https://example.amazonaws.com{path}"
    signed = sign(method, url, headers, body, region="us-east-1", service="service", keys=keys(token), at_s=AT_S)
    names = sorted([*(header.lower() for header in headers), "host", "x-amz-date", *(["x-amz-security-token"] if token else [])])
    assert signed["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    assert signed["X-Amz-Date"] == "20150830T123600Z"
    assert signed.get("X-Amz-Security-Token", "") == token


def test_the_user_guide_s_example() -> None:
    signed = sign(
        "GET",
        "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
        {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
        b"",
        region="us-east-1",
        service="iam",
        keys=keys(),
        at_s=AT_S,
    )
    assert signed["Authorization"].endswith("Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")
