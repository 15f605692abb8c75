"""The command line: one module per command, each of which parses, calls one function and prints.

Results go to stdout, as tables or with ``--json``; progress and messages go to stderr. Nothing
heavy is imported before a command runs.
"""

from headgate.cli.app import main

__all__ = ["main"]
