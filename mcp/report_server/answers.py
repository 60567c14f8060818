"""An `Answer` in HTTP's terms: status, headers and body, the same from the fast path and from the routes.

A report changes every quarter of a second, and its ages with every millisecond, while HTTP counts freshness in whole
seconds. So a cache may keep a report only to ask whether it is still the newest (`no-cache`, a weak ETag), and is told
its age now in milliseconds, on a 304 too, where the cached body's own ages are those of another moment. What is not a
report may not be kept at all.
"""

from typing import Final

from starlette.types import Send

from report_server.service import Answer

Headers = list[tuple[bytes, bytes]]

AGE_HEADER: Final = "x-data-age-ms"
JSON_TYPE: Final = (b"content-type", b"application/json")
NOT_STORED: Final = (b"cache-control", b"no-store")
_REVALIDATE: Final = (b"cache-control", b"no-cache")


def http_response(answer: Answer, if_none_match: str | None) -> tuple[int, Headers, bytes]:
    """Return status, headers (without content-length) and body; 304 without a body if the caller has this version."""
    if answer.etag is None:
        return answer.outcome.http_status, [JSON_TYPE, NOT_STORED, *_age(answer)], answer.body
    headers = [_REVALIDATE, (b"etag", answer.etag.encode()), *_age(answer)]
    if if_none_match is not None and _matches(if_none_match, answer.etag):
        return 304, headers, b""
    return answer.outcome.http_status, [JSON_TYPE, *headers], answer.body


async def send_response(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send a whole response over ASGI; `headers` come without content-length."""
    sized = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": sized})
    await send({"type": "http.response.body", "body": body})


def _age(answer: Answer) -> Headers:
    return [(AGE_HEADER.encode(), b"%d" % answer.age_ms)] if answer.age_ms is not None else []


def _matches(if_none_match: str, etag: str) -> bool:
    """Compare weakly, as RFC 9110 (13.1.2) wants it for If-None-Match."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags
