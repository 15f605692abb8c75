"""Benchmarks: one question a file, one JSON object as the last line, exit 1 for a missed target.

``.venv/bin/python -m benchmarks.NAME [--quick]``; see ``benchmarks.convention``.
"""
