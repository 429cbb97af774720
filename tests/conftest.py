"""What holds for all tests: hypothesis judges by results, never by time, since CI machines are busy."""

from hypothesis import HealthCheck, settings

settings.register_profile("thermotune", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("thermotune")
