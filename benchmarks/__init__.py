"""Benchmarks: one question a file, one JSON object as the last line, exit 1 where a target is missed.

``.venv/bin/python -m benchmarks.NAME [--quick]``; see ``benchmarks.convention``.
"""
