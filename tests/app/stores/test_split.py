import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.stores.split import BULKY, is_light, join, split

SECTIONS = st.dictionaries(
    st.sampled_from((*BULKY, "symbol", "health", "writer")), st.integers() | st.text() | st.lists(st.floats(-1e9, 1e9))
)


@given(SECTIONS)
def test_what_was_split_is_put_back_together_byte_for_byte(sections: dict[str, object]) -> None:
    body = msgspec.json.encode({"schemaVersion": "1.2", **sections})
    light, heavy = split(body)
    assert is_light(light)
    assert not is_light(body)
    assert join(light, heavy) == body
