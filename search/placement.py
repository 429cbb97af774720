"""What trials ask of Ray Tune: how much, on which nodes, near each other or apart."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ray.tune import PlacementGroupFactory

from search.capacity import bundle, with_share
from search.settings import NODE_LABEL, Resources

SETTLE_S = 0.5
"""Where a node has room, Ray gives it within milliseconds; where another was faster, we wait no longer."""


def request_for(
    resources: Resources, gpus: float, *, packed: bool, left_out: Collection[str] = ()
) -> PlacementGroupFactory:
    """The request of one trial. Those of equal trials are equal, so that a worker can be handed on.

    Ray spreads trials evenly over nodes by itself. The processes of one trial are kept together as far as possible.

    Args:
        resources: Of a trial.
        gpus: Of this trial; more than ``resources.gpus`` where memory is short.
        packed: Whether trials are to share nodes rather than to spread; for trials of a single process.
        left_out: Ids of the nodes that must not be used.
    """
    part = bundle(with_share(resources, gpus))
    where: dict[str, Any] = {}  # Any: of Ray's placement_group
    labels = dict(resources.labels)
    if left_out:
        labels[NODE_LABEL] = f"!in({','.join(sorted(left_out))})"
    if labels:
        where["bundle_label_selector"] = [labels] * resources.ranks
    if resources.strategy == "ddp":  # the leading actor of trainables.distributed needs nothing
        return PlacementGroupFactory([{}, *[part] * resources.ranks], strategy="PACK", **where)
    return (Packed if packed else PlacementGroupFactory)([part], strategy="STRICT_PACK", **where)


class Packed(PlacementGroupFactory):  # type: ignore[misc]  # Ray is untyped here
    """A request that goes to the fullest node that has room for it, when it is made.

    Ray's own strategies concern the parts of one request; several requests it spreads, whatever the strategy. Its hint
    at a node is a soft one: where the node has no room any more, Ray takes another.
    """

    def to_placement_group(self) -> Any:  # Any: Ray's PlacementGroup, untyped
        """Makes the request."""
        from ray.util.placement_group import placement_group

        target = self._fullest()
        group = placement_group(*self._bound.args, **self._bound.kwargs, _soft_target_node_id=target)
        if target is not None:
            group.wait(SETTLE_S)  # until then Ray does not count it, and the next one would think that there is room
        return group

    def _fullest(self) -> str | None:
        from ray._private.state import available_resources_per_node

        from search.nodes import listing

        (need,) = self.bundles
        rooms = {
            name: min(free.get(what, 0.0) / amount for what, amount in need.items())
            for name, free in available_resources_per_node().items()
        }
        (selector,) = self._bound.kwargs.get("bundle_label_selector", [{}])
        usable = [name for name in listing().staying if name not in selector.get(NODE_LABEL, "")]
        fitting = {name: room for name, room in rooms.items() if room >= 1 and name in usable}
        return min(sorted(fitting), key=fitting.__getitem__, default=None)
