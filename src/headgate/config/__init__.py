"""headgate.yaml, the data files that it names, and the caller's own functions.

Everything here raises ``ConfigError`` or ``InputError`` with the file, the line, the key, what is
wrong and what to write instead.
"""

from headgate.config.contracts import MetricKind, default_contracts, metric_kind, needs_labels
from headgate.config.data import (
    Item,
    LabelledSet,
    RetrievalSet,
    WorkloadLog,
    check_overlap,
    item_digest,
    load_labelled,
    load_pairs,
    load_retrieval,
    load_texts,
    load_workload,
)
from headgate.config.data_contracts import DataContracts, TrainingPermission
from headgate.config.endpoint import EndpointConfig, Gap, expand_environment, load_config
from headgate.config.functions import (
    OwnMetric,
    UserFunction,
    guarded,
    load_function,
    load_metric,
    source_digest,
    source_files,
)
from headgate.config.schema import json_schema
from headgate.config.template import template

__all__ = [
    "DataContracts",
    "EndpointConfig",
    "Gap",
    "Item",
    "LabelledSet",
    "MetricKind",
    "OwnMetric",
    "RetrievalSet",
    "TrainingPermission",
    "UserFunction",
    "WorkloadLog",
    "check_overlap",
    "default_contracts",
    "expand_environment",
    "guarded",
    "item_digest",
    "json_schema",
    "load_config",
    "load_function",
    "load_labelled",
    "load_metric",
    "load_pairs",
    "load_retrieval",
    "load_texts",
    "load_workload",
    "metric_kind",
    "needs_labels",
    "source_digest",
    "source_files",
    "template",
]
