"""headgate.yaml, the data files that it names, and the caller's own functions.

Everything here raises ``ConfigError`` or ``InputError`` with the file, the line, the key, what is
wrong and what to write instead.
"""

from headgate.config.endpoint import EndpointConfig, Gap, expand_environment, load_config
from headgate.config.schema import json_schema

__all__ = ["EndpointConfig", "Gap", "expand_environment", "json_schema", "load_config"]
