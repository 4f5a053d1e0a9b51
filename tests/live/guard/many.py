"""Runs command lines one after the other, each in its folder and with its environment, in this one process: imports are
paid for once. Cases come as JSON on stdin, what came of each goes as JSON to the file that is named. Whoever runs this
may trade: a stop must not find his accounts, so that the home is one of its own."""

from __future__ import annotations

import io
import json
import os
import pwd
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

BEFORE = dict(os.environ)


def ran(folder: str, env: dict[str, str], command: list[str]) -> tuple[str, str]:
    """The exit code, or the exception's name, and all that was said."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update({**BEFORE, **env})
    sys.argv = command
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(said):
        try:
            runpy.run_module(command[0], run_name="__main__", alter_sys=True)
        except SystemExit as error:
            return str(error.code), said.getvalue()
    return "0", said.getvalue()


def live_in(home: Path) -> None:
    entry = pwd.getpwuid(os.getuid())
    fields = [str(home) if value == entry.pw_dir else value for value in entry]
    pwd.getpwuid = lambda _: pwd.struct_passwd(fields)  # type: ignore[assignment]


if __name__ == "__main__":
    out = Path(sys.argv[1])
    live_in(out.parent / "home")
    out.write_text(json.dumps([ran(**case) for case in json.load(sys.stdin)]))
