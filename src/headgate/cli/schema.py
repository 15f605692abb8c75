"""``headgate schema``: the JSON Schema of headgate.yaml, for editors."""

from __future__ import annotations

import json

from headgate.cli.options import AsJson

__all__ = ["schema"]


def schema(as_json: AsJson = True) -> None:
    """Print the JSON Schema of headgate.yaml."""
    from headgate.config import json_schema

    print(json.dumps(json_schema(), indent=2))
