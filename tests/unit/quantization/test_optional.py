"""Optional libraries: named when they are missing."""

from __future__ import annotations

import sys

import pytest

from headgate.errors import MissingExtra
from headgate.quantization.optional import load_nncf, load_openvino


@pytest.mark.parametrize(("load", "name"), [(load_openvino, "openvino"), (load_nncf, "nncf")])
def test_a_missing_extra_names_its_pip_command(
    monkeypatch: pytest.MonkeyPatch, load: object, name: str
) -> None:
    """Without the library the error says what needed it and how to get it."""
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra) as error:
        load("static int8")  # type: ignore[operator]
    assert "static int8 needs" in str(error.value)
    assert "pip install 'headgate[openvino]'" in str(error.value)
