"""Which part of a report an answer holds: all of it, a summary, or the fields that the caller names.

A language model pays for each token that it reads. A summary is what most questions need, in some hundred tokens: long
lists are cut to their first entries, and `cut` then says how long they are. Whatever is chosen, symbol, age and status
come along, so that no answer is without its freshness.
"""

from collections.abc import Sequence
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from app.microstructure.report import Report
from report_server.echo import shown

Detail = Literal["full", "summary"]
DETAILS: Final = ("full", "summary")
MOST_FIELDS: Final = 40
_LIST_CUT: Final = 3

_ALWAYS: Final = ("symbol", "data_age_ms", "ingestion.status", "ingestion.stale")
_SUMMARY: Final = (
    *("symbol", "data_age_ms", "ingestion.status", "ingestion.stale"),
    *("last_price", "change_24h_pct", "high_24h", "low_24h", "volume_24h"),
    *("best_bid", "best_ask", "spread_bps", "mid_price", "micro_price"),
    *("depth.sum_bid", "depth.sum_ask", "depth.imbalance", "flow"),
    *("liquidity.walls", "liquidity.vacuums", "liquidity.volume_profile", "anomalies", "health.score"),
)


class SelectionError(ValueError):
    """One line that says what was asked for and what is allowed."""


def _parts(hint: Any) -> tuple[str, ...]:
    """Return the field names of the struct in `hint`, () if there is none."""
    if get_origin(hint) in (Union, UnionType):
        return next((parts for each in get_args(hint) if (parts := _parts(each))), ())
    return hint.__struct_fields__ if isinstance(hint, type) and issubclass(hint, msgspec.Struct) else ()


# Every section of a report and the parts that can be asked for by themselves, from the report's own types.
SECTIONS: Final[dict[str, tuple[str, ...]]] = {
    name: _parts(hint) for name, hint in get_type_hints(Report).items() if name in Report.__struct_fields__
}

FIELDS: Final = (*SECTIONS, *(f"{section}.{part}" for section, parts in SECTIONS.items() for part in parts))


class Selection(msgspec.Struct, frozen=True):
    """What to take from a report: `paths` such as `flow` or `depth.imbalance`, lists cut or whole."""

    paths: tuple[tuple[str, str | None], ...]
    cut_lists: bool

    def of(self, report: dict[str, Any]) -> dict[str, Any]:
        """Return the chosen part of `report`, in the report's own order and shape."""
        chosen: dict[str, Any] = {}
        for section, part in self.paths:
            value = report.get(section)
            if section not in report:
                continue
            if part is None or not isinstance(value, dict):
                chosen[section] = value
            elif part in value:
                chosen.setdefault(section, {})[part] = value[part]
        return _with_lists_cut(chosen) if self.cut_lists else chosen


def selection(detail: object = None, fields: object = None) -> Selection | None:
    """Return what `detail` and `fields` ask for; `None` means the whole report.

    Raises:
        SelectionError: one of them is not what is allowed.
    """
    if detail is not None and detail not in DETAILS:
        raise SelectionError(f"invalid argument: detail {shown(detail)}; allowed: {', '.join(DETAILS)}")
    if fields is not None:
        return Selection(_paths((*_ALWAYS, *_checked(fields))), cut_lists=False)
    return SUMMARY if detail == "summary" else None


def _checked(fields: object) -> list[str]:
    if not isinstance(fields, list | tuple) or not 1 <= len(fields) <= MOST_FIELDS:
        raise SelectionError(
            f"invalid argument: fields; allowed: a list of 1 to {MOST_FIELDS} names such as flow or depth.imbalance"
        )
    for field in fields:
        if field not in FIELDS:
            raise SelectionError(
                f"invalid argument: field {shown(field)}; allowed: {', '.join(SECTIONS)}, "
                "or a part of one such as depth.imbalance"
            )
    return list(fields)


def _paths(fields: Sequence[str]) -> tuple[tuple[str, str | None], ...]:
    """Return the fields as pairs in the report's order; a whole section swallows its parts."""
    whole = {field for field in fields if "." not in field}
    parts = {tuple(field.split(".")) for field in fields if "." in field}
    return tuple(
        path
        for section, names in SECTIONS.items()
        for path in (
            [(section, None)] if section in whole else [(section, name) for name in names if (section, name) in parts]
        )
    )


def _with_lists_cut(chosen: dict[str, Any]) -> dict[str, Any]:
    cut: dict[str, int] = {}

    def shortened(value: Any, path: str) -> Any:
        if isinstance(value, dict):
            return {name: shortened(part, f"{path}.{name}" if path else name) for name, part in value.items()}
        if isinstance(value, list) and len(value) > _LIST_CUT:
            cut[path] = len(value)
            return value[:_LIST_CUT]
        return value

    short: dict[str, Any] = shortened(chosen, "")
    return short | {"cut": cut} if cut else short


SUMMARY: Final = Selection(_paths(_SUMMARY), cut_lists=True)
