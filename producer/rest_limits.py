"""When may the next REST request go out? Binance's limits, kept by all requests of the process together.

Binance counts a weight for each request, 6,000 a minute for an address, tells in `X-MBX-USED-WEIGHT-1M` what
it has counted, answers 429 beyond it, and shuts out with 418, for up to three days, who goes on all the
same. `Retry-After` says for how long to wait.

So every request first gets its weight admitted: at most `BUDGET` within any 60 seconds, whatever minutes
Binance counts in, and nothing before a `Retry-After` has passed. What Binance has counted beyond our own
counting (others behind the same address) is taken over.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.common.component import LiveClock
from nautilus_trader.core.nautilus_pyo3 import HttpClient

BUDGET: Final = 5_400
WINDOW: Final = 60.0
HEADERS: Final = ("retry-after", "x-mbx-used-weight-1m")
LONGEST_WAIT: Final = 3 * 86_400.0
_SPREAD: Final = 0.1  # those that wait together do not come back together

log = logging.getLogger(__name__)


class RestLimits:
    """Admits requests. The methods that take `now` (monotonic seconds) hold no clock."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._not_before = 0.0

    async def admit(self, weight: int) -> None:
        """Wait until a request of this weight may go out, and count it."""
        while (wait := self.wait(weight, time.monotonic())) > 0:  # noqa: ASYNC110  (time is what it waits for)
            await asyncio.sleep(wait * random.uniform(1, 1 + _SPREAD))
        self.spend(weight, time.monotonic())

    def wait(self, weight: int, now: float) -> float:
        """Return after how many seconds it is worth asking again; 0 where the request may go out."""
        if now < self._not_before:
            return self._not_before - now
        self._expire(now)
        if not self._spent or self._sum + weight <= self._budget:
            return 0.0
        # Rounding must not make it 0, which would mean: go.
        return max(self._spent[0][0] + WINDOW - now, 0.001)

    def spend(self, weight: int, now: float) -> None:
        """Count a request that goes out."""
        self._spent.append((now, weight))
        self._sum += weight

    def answered(self, status: int, headers: Mapping[str, str], now: float) -> None:
        """Take over what an answer says about the limits."""
        told = {name.lower(): value for name, value in headers.items()}
        self._expire(now)
        used = told.get("x-mbx-used-weight-1m", "")
        if used.isdecimal() and int(used) > self._sum:
            self.spend(int(used) - self._sum, now)
        after = told.get("retry-after", "")
        if status in (418, 429) and after.isdecimal():
            wait = min(float(after), LONGEST_WAIT)
            self._not_before = max(self._not_before, now + wait)
            log.warning("exchange answers %d: no REST request for %.0f s", status, wait)

    def _expire(self, now: float) -> None:
        while self._spent and self._spent[0][0] <= now - WINDOW:
            self._sum -= self._spent.popleft()[1]


def weight_of(url: str) -> int:
    """Return the weight of a request, from Binance's documentation; 20, the most of what we ask, by default."""
    parts = urlsplit(url)
    if not parts.path.endswith("/depth"):
        return 20
    levels = int(parse_qs(parts.query).get("limit", ["100"])[0])
    return next(weight for most, weight in ((100, 5), (500, 25), (1000, 50), (levels, 250)) if levels <= most)


class LimitedHttp:
    """Stands in front of the Rust HTTP client that a `BinanceHttpClient` keeps."""

    def __init__(self, inner: Any, limits: RestLimits, answer_limit: float) -> None:
        self._inner = inner
        self._limits = limits
        self._answer_limit = answer_limit

    async def request(self, method: Any, url: str, **rest: Any) -> Any:
        """Send a request when it may go out.

        Raises:
            TimeoutError: no answer came in time; the wait for admission does not count.
        """
        await self._limits.admit(weight_of(url))
        async with asyncio.timeout(self._answer_limit):
            response = await self._inner.request(method, url=url, **rest)
        self._limits.answered(response.status, response.headers, time.monotonic())
        return response


def limited_http(base_url: str, api_key: str | None, api_secret: str | None, answer_limit: float) -> BinanceHttpClient:
    """Return NautilusTrader's HTTP client within Binance's limits; `answer_limit` in seconds for each answer."""
    http = BinanceHttpClient(LiveClock(), api_key, api_secret, base_url)
    # The stock client asks for no header of the answer, so it would never see any.
    http._client = LimitedHttp(HttpClient(header_keys=list(HEADERS)), RestLimits(), answer_limit)
    return http
