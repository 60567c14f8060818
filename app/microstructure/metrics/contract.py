"""What every stateful metric offers, so that the engine and the contract test treat all alike."""

from typing import Any, Protocol, Self


class Metric[Observation, Value](Protocol):
    """Observations in, a value out, state that leaves and comes back equal.

    Times are event-time nanoseconds. `value` may be asked at any `as_of` at or after the newest
    observation and does not depend on how often it was asked before.
    """

    def update(self, observation: Observation) -> None:
        """Take one observation into account."""

    def value(self, as_of: int) -> Value:
        """Return the metric at `as_of`, `None` inside where it is not known."""

    def snapshot(self) -> Any:
        """Return the whole state as plain values that msgspec can encode."""

    @classmethod
    def restore(cls, state: Any, *args: Any) -> Self:
        """Return a metric that goes on exactly where `state` was taken."""
