"""What a study will take, before it starts: costs from a probe or from records, epochs and hours from playing it.

``plan.plan`` puts it together, ``forecast.forecast`` does where costs are known, ``probe.measure`` and
``recorded.recorded`` find costs out.
"""
