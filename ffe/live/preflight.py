"""What must be so before a session starts, as far as this machine can tell: folders, space, permissions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ffe.errors import NotWritable
from ffe.private import own_folder

LEAST_FREE = 200 * 2**20  # bytes


def check(folder: Path) -> None:
    """NotWritable where records could not be kept, ConfigError where others could read or lock them."""
    try:
        own_folder(folder)
    except NotWritable as error:
        raise NotWritable(f"{error} Set data_folder to a place you can write to.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise NotWritable(f"{folder}: no permission to write there. Set data_folder to a place you can write to.")
    if (free := shutil.disk_usage(folder).free) < LEAST_FREE:
        raise NotWritable(f"{folder}: {free / 2**20:.0f} MiB are free, and a session needs 200. Free some space.")
