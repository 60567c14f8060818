"""Schemathesis against the reader as a process: whatever its own OpenAPI document allows, and whatever it does not."""

import asyncio
import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup

from app.stack.redis import RedisServer
from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from report_server.openapi import document
from support.examples import TIMES, examples

pytestmark = pytest.mark.stack

API = schemathesis.openapi.from_dict(document())
ENDLESS = "/stream"  # its good answers never end; test_stream.py and test_http.py look at those
JSON = "application/json"
QUICK = settings(
    max_examples=examples(40),
    database=None,
    derandomize=TIMES == 1,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def published(redis_server: RedisServer, make_report: Callable[[str], bytes]) -> None:
    async def publish() -> None:
        store = RedisReportStore(redis_server.url, password=None, ttl_sec=600, timeout_sec=5.0)
        await store.publish([Publication(name, 1, make_report(name)) for name in ("BTCUSDT", "00", "A" * 20)])
        await store.close()

    asyncio.run(publish())


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.trust_env = False  # no proxy between loopback and loopback
        yield made


def aimed() -> Iterator[Any]:
    """Yield every operation, with right arguments, and with wrong ones where it takes any."""
    for path, item in sorted(document()["paths"].items()):
        if path != ENDLESS:
            yield pytest.param(path, GenerationMode.POSITIVE, id=f"{path}-right")
            if "parameters" in item["get"]:
                yield pytest.param(path, GenerationMode.NEGATIVE, id=f"{path}-wrong")


def hold(api: Any, path: str, mode: GenerationMode, url: str, session: requests.Session) -> None:
    """Fail unless each answer to what `api` describes, or to what it does not allow, is as it says."""

    @QUICK
    @given(case=api[path]["GET"].as_strategy(generation_mode=mode))
    def holds(case: Any) -> None:
        case.call_and_validate(base_url=url, session=session, timeout=20)

    holds()


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("path", "mode"), list(aimed()))
def test_every_answer_is_one_that_the_document_describes(
    path: str, mode: GenerationMode, reader_url: str, session: requests.Session
) -> None:
    hold(API, path, mode, reader_url, session)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("mode", "bend"),
    [
        (GenerationMode.NEGATIVE, lambda answers: answers.pop("400")),
        (
            GenerationMode.POSITIVE,
            lambda answers: answers["200"]["content"].update({JSON: {"schema": {"type": "array"}}}),
        ),
        (GenerationMode.POSITIVE, lambda answers: answers["200"].update(content={"text/plain": {}})),
    ],
    ids=["status", "schema", "type"],
)
def test_a_document_that_says_something_else_is_found_out(
    mode: GenerationMode, bend: Callable[[Any], object], reader_url: str, session: requests.Session
) -> None:
    bent = copy.deepcopy(document())
    bend(bent["paths"]["/get_report"]["get"]["responses"])
    with pytest.raises(FailureGroup):
        hold(schemathesis.openapi.from_dict(bent), "/get_report", mode, reader_url, session)


@QUICK
@given(symbols=st.lists(st.text(max_size=30), max_size=60).filter(lambda given: not all(map(str.isalnum, given))))
def test_a_stream_of_wrong_symbols_is_refused_before_it_begins(
    symbols: list[str], reader_url: str, session: requests.Session
) -> None:
    answer = session.get(f"{reader_url}{ENDLESS}", params={"symbols": symbols}, timeout=20)

    assert answer.status_code == 400
    assert "allowed: " in answer.json()["error"]
