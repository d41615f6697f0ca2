"""JSON over HTTP to clouds and webhooks: a deadline on every call, no redirects, errors in words that hold no credential."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson
import yarl

from autoscaler.errors import RequestFailed
from autoscaler.hidden import Hidden

LARGEST_ANSWER_BYTES: Final = 1 << 20
LONGEST_WORDS: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer below 300. document: its JSON object, {} where it is empty. headers: names in lower case."""

    status: int
    document: Mapping[str, Any] = field(repr=False)
    text: str = field(repr=False, default="")
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)


class JsonHttp:
    """One session for all clouds. Use as an async context manager. Environment proxies are not used: metadata servers and pod identity agents
    are link-local, and a credential shall not pass by whoever set a variable."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> JsonHttp:
        self._session = aiohttp.ClientSession(trust_env=False, timeout=aiohttp.ClientTimeout(total=None))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        secrets: Sequence[Hidden[str]] = (),
        tls: ssl.SSLContext | bool = True,
        plain: bool = False,
    ) -> Answer:
        """One request. secrets: what must not be told of an answer, should the server repeat it. plain: the answer is text.

        Raises RequestFailed, for every status from 300 on as well.
        """
        where = f"{method} {urlsplit(url).hostname}{urlsplit(url).path}"
        if self._session is None:
            raise RequestFailed(0, "Unreachable", f"{where}: the session is closed")
        try:
            async with asyncio.timeout(timeout_s):
                # encoded: the path is sent as it was signed.
                async with self._session.request(
                    method, yarl.URL(url, encoded=True), headers=headers, data=body, allow_redirects=False, ssl=tls
                ) as answer:
                    status, told = answer.status, {name.lower(): value for name, value in answer.headers.items()}
                    content = await _read(answer, where)
        except TimeoutError:
            raise RequestFailed(0, "Timeout", f"{where}: no answer within {timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            # From None: an exception of the session may hold the request, and with it its headers.
            raise RequestFailed(0, "Unreachable", f"{where}: {without(str(fault) or type(fault).__name__, secrets)}") from None
        if status >= 300:
            reason, words = _told(content, told)
            raise RequestFailed(
                status,
                without(reason, secrets),
                f"{where}: {without(words, secrets)}"[:LONGEST_WORDS],
                retry_after_s=_seconds(told.get("retry-after")),
            )
        text = content.decode("utf-8", "replace")
        if plain:
            return Answer(status=status, document={}, text=text, headers=told)
        document: Any = {}
        if content.strip():
            try:
                document = orjson.loads(content)
            except orjson.JSONDecodeError:
                raise RequestFailed(0, "Malformed", f"{where}: the answer is no JSON") from None
        if not isinstance(document, dict):
            raise RequestFailed(0, "Malformed", f"{where}: the answer is no JSON object")
        return Answer(status=status, document=document, headers=told)


def without(text: str, secrets: Sequence[Hidden[str]]) -> str:
    """`text`, with every secret in it replaced."""
    for secret in secrets:
        if value := secret.reveal():
            text = text.replace(value, "<hidden>")
    return text


async def _read(answer: aiohttp.ClientResponse, where: str) -> bytes:
    parts, size = [], 0
    async for chunk in answer.content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size > LARGEST_ANSWER_BYTES:
            answer.close()
            raise RequestFailed(0, "TooLarge", f"{where}: the answer is larger than {LARGEST_ANSWER_BYTES} bytes")
    return b"".join(parts)


def _told(content: bytes, headers: Mapping[str, str]) -> tuple[str, str]:
    """(reason, words) of a refusal: Google's ``error.status``, Azure's ``error.code``, AWS' ``x-amzn-errortype`` or XML, OAuth's ``error``."""
    try:
        document: Any = orjson.loads(content)
    except orjson.JSONDecodeError:
        text = content.decode("utf-8", "replace").strip()
        code, message = (re.search(rf"<{name}>([^<]*)</{name}>", text) for name in ("Code", "Message"))
        return (code[1] if code else ""), (message[1] if message else re.sub(r"\s+", " ", text))
    if not isinstance(document, dict):
        return "", "the refusal is no JSON object"
    inner = document.get("error")
    part: Mapping[str, Any] = inner if isinstance(inner, dict) else document
    kind = headers.get("x-amzn-errortype") or part.get("status") or part.get("code") or part.get("__type") or inner or ""
    words = part.get("message") or part.get("Message") or document.get("error_description") or ""
    # Google's finer word, such as quotaExceeded, lies in a list.
    finer = [str(one["reason"]) for one in part.get("errors") or () if isinstance(one, dict) and one.get("reason")]
    reason = str(kind).partition(":")[0].rpartition("#")[2] if not isinstance(kind, dict) else ""
    return reason, " ".join([str(words), *(f"({word})" for word in finer)])


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and re.fullmatch(r"[0-9]{1,5}", retry_after) else None
