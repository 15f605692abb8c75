"""Is our server faster than its peers, and right under stress? ``python -m benchmarks.serving``.

``make peers`` and ``make quickstart`` come first. README.md in this directory says what is measured
and how; ``targets.py`` what it is held to.
"""
