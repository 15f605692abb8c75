"""The judges of what is exported: other people's code, unmodified.

securesystemslib opens the envelope, in_toto_attestation reads the statement, and the protobuf
messages of the in-toto project read the predicates; unknown fields are errors.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from google.protobuf.json_format import ParseDict
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from headgate.ledger.signing import PublicKey

PREDICATES = {
    "https://slsa.dev/provenance/v1": provenance_pb2.Provenance,
    "https://in-toto.io/attestation/test-result/v0.1": test_result_pb2.TestResult,
}


def opened(line: str | bytes, key: PublicKey) -> dict[str, Any]:
    """The statement in a signed line, once securesystemslib has found that ``key`` signed it."""
    envelope = Envelope.from_dict(json.loads(line))
    theirs = SSlibKey(key.signer, "ed25519", "ed25519", {"public": key.raw.hex()})
    assert list(envelope.verify([theirs], 1)) == [key.signer]
    assert envelope.payload_type == "application/vnd.in-toto+json"
    statement: dict[str, Any] = json.loads(envelope.payload)
    return statement


def judge(statement: dict[str, Any]) -> None:
    """Raises where the in-toto project's own code finds something wrong with it."""
    message = ParseDict(copy.deepcopy(statement), statement_pb2.Statement())
    Statement.copy_from_pb(message).validate()
    ParseDict(statement["predicate"], PREDICATES[statement["predicateType"]]())
