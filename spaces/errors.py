"""The one error of this package."""


class SpaceError(ValueError):
    """A search space is not possible; the message names the rule, the value and what to do."""
