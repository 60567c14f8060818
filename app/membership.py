"""Who a worker is in its consumer group: what offsets may be committed for, and whether partitions ever left it."""

from typing import NamedTuple


class Membership(NamedTuple):
    """Who a worker is in its group, and since which rebalance."""

    member_id: str
    generation: int

    def follows(self, earlier: "Membership | None") -> bool:
        """Whether nobody can have had our partitions between `earlier` and now."""
        return (
            earlier is not None
            and self.member_id == earlier.member_id
            and self.generation - earlier.generation in (0, 1)
        )
