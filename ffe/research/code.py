"""Which code made a record: the version, and a hash of the engine's own source."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import ffe


@cache
def code_version() -> str:
    """Version + the first twelve hex digits of a hash over every source file, in the order of their paths."""
    root, digest = Path(ffe.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return f"{ffe.__version__}+{digest.hexdigest()[:12]}"
