"""What all tests share: properties are tried on the same examples each time, without a stopwatch.

A test that fails now and then, or on a slow machine, says nothing about the code.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("headgate", deadline=None, derandomize=True)
settings.load_profile("headgate")
