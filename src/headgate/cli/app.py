"""Puts the commands together and turns errors into one message and one exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, NoReturn

import typer

import headgate
from headgate.cli.audit import audit
from headgate.cli.bench import bench
from headgate.cli.checkpoint import checkpoint
from headgate.cli.compare import compare
from headgate.cli.doctor import doctor
from headgate.cli.drill import drill
from headgate.cli.export import export
from headgate.cli.gate import gate
from headgate.cli.gc import gc
from headgate.cli.history import history
from headgate.cli.importing import import_
from headgate.cli.incidents import incidents
from headgate.cli.init import init
from headgate.cli.lineage import lineage
from headgate.cli.optimize import optimize
from headgate.cli.output import print_error
from headgate.cli.preview import preview
from headgate.cli.promote import promote
from headgate.cli.replay import replay
from headgate.cli.rollback import rollback
from headgate.cli.schema import schema
from headgate.cli.serve import serve
from headgate.cli.show import show
from headgate.cli.verify import verify
from headgate.errors import Fault, HeadgateError, UsageError

__all__ = ["app", "main", "run"]

INTERRUPTED = 130
BROKEN_PIPE = 1

app = typer.Typer(
    help="Finds the cheapest way to serve a model that still keeps its promises, proves it with "
    "evidence that anyone can check, serves it, and takes it back when it stops keeping them.",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_PANELS: dict[str, tuple[Callable[..., int | None], ...]] = {
    "Begin": (init, doctor, schema),
    "Optimize and serve": (preview, optimize, serve, bench),
    "Release": (gate, import_, promote, rollback, history, incidents, drill),
    "Evidence": (show, compare, lineage, replay, verify, audit, checkpoint, export, gc),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        name = _command.__name__.rstrip("_")  # `import` is a word of Python's own
        app.command(name, rich_help_panel=_panel)(_command)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error.", envvar="HEADGATE_DEBUG"),
    ] = False,
) -> None:
    if version:
        print(f"headgate {headgate.__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def main() -> NoReturn:
    """The ``headgate`` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; the exit code (see ``headgate.errors``)."""
    as_json = "--json" in arguments
    debug = "--debug" in arguments or bool(os.environ.get("HEADGATE_DEBUG"))
    try:
        code = app(list(arguments), prog_name="headgate", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away; what is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (KeyboardInterrupt, typer.Abort):
        print("headgate: interrupted; the same command resumes it", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if debug:
            import traceback

            traceback.print_exception(error)
        known = _explained(error)
        print_error(known, as_json=as_json)
        return known.exit_code
    if code == INTERRUPTED:  # some versions of typer report an interruption as a result
        print("headgate: interrupted; the same command resumes it", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _of_an_option(error: Exception) -> str | None:
    """What is wrong with the value of an option, where pydantic found it: newer versions of typer
    let it look."""
    from pydantic import ValidationError

    from headgate.config.messages import said_of

    cause, param = error.__cause__, getattr(error, "param", None)
    if param is None or not isinstance(cause, ValidationError):
        return None
    return f"{param.opts[0]}: {said_of(cause.errors()[0])}"


def _explained(error: Exception) -> HeadgateError:
    """``error`` as one of ours: what was wrong, where, and what to do."""
    if isinstance(error, HeadgateError):
        return error
    if hasattr(error, "format_message"):  # typer's, or click's under older versions of it
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "headgate"
        what = _of_an_option(error) or str(error.format_message())
        return UsageError(
            (what[:1].lower() + what[1:]).rstrip("."), where=path.removeprefix("headgate").strip()
            or None, fix=f"see `{path} --help`",
        )  # fmt: skip
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Fault(
            "no space is left on the disk",
            where=error.filename,
            reason="disk_full",
            fix="free some, then type the same command again; what is recorded stays valid",
        )
    if isinstance(error, OSError) and error.strerror:
        return Fault(error.strerror.lower(), where=error.filename, reason="system")
    if isinstance(error, MemoryError):
        return Fault("out of memory", reason="memory", fix="give this process more memory")
    return Fault(
        f"a fault of Headgate itself: {type(error).__name__}: {error}",
        fix="type the same command after `headgate --debug` and report what it shows",
    )
