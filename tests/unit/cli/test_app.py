"""The command line as a whole: help, messages, exit codes, `--json`."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.cli import app as app_module
from headgate.cli.app import app
from headgate.errors import Busy, Refused, Undecided

from .conftest import Cli

COMMANDS = {
    "init", "doctor", "schema", "preview", "optimize", "serve", "bench", "gate", "promote",
    "rollback", "history", "incidents", "drill", "import",
    "show", "compare", "lineage", "replay", "verify", "audit", "checkpoint", "export", "gc",
}  # fmt: skip


def test_every_command_is_there_and_says_what_it_does(cli: Cli) -> None:
    """`headgate` alone is its help; each command has one of its own."""
    overview = cli()
    assert overview.code == 0
    registered = {c.name for c in app.registered_commands}
    assert registered == COMMANDS
    for command in COMMANDS:
        assert f"│ {command} " in overview.out
        said = cli(command, "--help")
        assert said.code == 0
        undescribed = [c for c in app.registered_commands if c.callback and not c.callback.__doc__]
        assert undescribed == []


def test_the_version_is_printed(cli: Cli) -> None:
    """One line, nothing else."""
    assert cli("--version").out == "headgate 0.1.0"


def test_help_imports_nothing_heavy() -> None:
    """Help must appear at once: no numpy, torch or onnxruntime is loaded to print it."""
    code = (
        "import sys; from headgate.cli.app import run; run(['optimize', '--help']);"
        "heavy = {'numpy', 'torch', 'onnxruntime', 'openvino', 'scipy', 'yaml', 'uvicorn'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_misspelt_command_or_option_names_the_nearest(cli: Cli) -> None:
    """Exit code 2, one message, nothing on stdout."""
    said = cli("optimise")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "headgate: no such command 'optimise'. Did you mean 'optimize'?\n"
        "  what to do: see `headgate --help`\n"
    )
    said = cli("history", "--jsn")
    assert said.code == 2
    assert said.err.startswith("headgate: history: no such option: --jsn")
    assert said.err.endswith("  what to do: see `headgate history --help`\n")


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (
            "preview . --resamples 1",
            "preview: --resamples: 1 is out of range: it must be 2 or more",
        ),
        ("preview . --resamples few", "preview: --resamples: 'few' is not a whole number"),
        ("serve --port 99999", "serve: --port: 99999 is out of range: it must be 65535 or less"),
        ("bench http://x w --rate a", "bench: --rate: 'a' is not a number"),
    ],
)
def test_an_option_is_refused_as_a_key_is(cli: Cli, command: str, what: str) -> None:
    """In the words of headgate.yaml's errors."""
    said = cli(*command.split())
    assert (said.code, said.out) == (2, "")
    name = command.split()[0]
    assert said.err == f"headgate: {what}\n  what to do: see `headgate {name} --help`\n"


def test_a_missing_store_is_one_message_and_for_machines_one_object(cli: Cli) -> None:
    """Without --json nothing is on stdout; with it, the same error as an object."""
    said = cli("verify")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "headgate: .headgate: there is no store here\n"
        "  what to do: type `headgate optimize headgate.yaml`, which makes one, or name another "
        "with --store\n"
    )
    error = json.loads(cli("verify", "--json").out)["error"]
    assert (error["reason"], error["exit_code"]) == ("store_missing", 2)
    assert not Path(".headgate").exists()


def test_a_bad_endpoint_file_ends_the_job_before_it_begins(cli: Cli) -> None:
    """`optimize` says what is wrong with the file, and makes no store."""
    Path("headgate.yaml").write_text("endpont: docs\n", encoding="utf-8")
    said = cli("optimize", "headgate.yaml")
    assert said.code == 2
    assert said.err == (
        "headgate: headgate.yaml:1: endpont: there is no key 'endpont' here\n"
        "  what to do: did you mean 'endpoint'?\n"
    )
    assert not Path(".headgate").exists()


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (Refused("no", where="x", fix="y"), 3, "headgate: x: no\n  what to do: y\n"),
        (Undecided("too little data"), 4, "headgate: too little data\n"),
        (Busy("locked", where="docs"), 1, "headgate: docs: locked\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "ledger.sqlite"),
            1,
            "headgate: ledger.sqlite: no space is left on the disk\n  what to do: free some, then "
            "type the same command again; what is recorded stays valid\n",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "store"),
            1,
            "headgate: store: permission denied\n",
        ),
        (
            ZeroDivisionError("division by zero"),
            1,
            "headgate: a fault of Headgate itself: ZeroDivisionError: division by zero\n"
            "  what to do: type the same command after `headgate --debug` and report what it "
            "shows\n",
        ),
        (KeyboardInterrupt(), 130, "headgate: interrupted; the same command resumes it\n"),
    ],
)
def test_every_error_is_one_message_and_one_exit_code(
    error: BaseException, code: int, message: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours, the disk's, and our own faults; a traceback only with --debug."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("headgate.cli.options.store_root", fail)
    said = cli("verify")
    assert (said.code, said.out, said.err) == (code, "", message)
    if isinstance(error, ZeroDivisionError):
        assert "Traceback" in cli("--debug", "verify").err


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    """`headgate schema | head -1` ends quietly, as other tools do."""
    command = f"{sys.executable} -m headgate schema | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode in (0, app_module.BROKEN_PIPE)


def test_a_promise_on_cost_without_a_price_is_named_before_the_work(cli: Cli) -> None:
    """Before the model is even looked at."""
    for name in ("model.onnx", "evaluate.jsonl"):
        Path(name).touch()
    Path("headgate.yaml").write_text(
        "endpoint: docs\nowner: {team: t, escalate: 'command:x'}\ntask: classify\n"
        "model: {onnx: model.onnx}\ndata: {evaluate: evaluate.jsonl}\ncontracts:\n"
        "  cost_per_1k: {ratio_to_current_at_most: 0.5, why: review, on_breach: rollback}\n",
        encoding="utf-8",
    )
    said = cli("optimize", "headgate.yaml")
    assert said.code == 2
    assert said.err.startswith(
        "prices.device_second is not given and counted as 0, so a contract on cost decides "
        "nothing: write the price of one second of your machine.\n"
    )
    assert "not a valid ONNX model" in said.err
