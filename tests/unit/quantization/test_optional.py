"""Optional libraries: named when they are missing."""

from __future__ import annotations

import subprocess
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


def test_torch_is_out_of_sight_only_inside_and_only_where_it_was_not_imported() -> None:
    """NNCF would import it to ask a question; who has it imported keeps it."""
    code = (
        "import sys\n"
        "from headgate.quantization.optional import without_torch\n"
        "with without_torch():\n"
        "    try:\n"
        "        import torch\n"
        "    except ImportError:\n"
        "        pass\n"
        "    else:\n"
        "        raise SystemExit('seen')\n"
        "assert 'torch' not in sys.modules\n"
        "sys.modules['torch'] = here = object()\n"
        "with without_torch():\n"
        "    assert sys.modules['torch'] is here\n"
        "assert sys.modules['torch'] is here\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
