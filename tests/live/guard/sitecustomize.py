"""Before anything of a process runs: whatever it sends beyond this machine is written down, and refused.

Python runs this file at every start of a process that has its folder on PYTHONPATH; CONNECTIONS names the record.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path

RECORD = Path(os.environ["CONNECTIONS"])
ASKS = {
    "socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.gethostbyaddr": 0, "socket.connect": 1,
    "socket.sendto": 1, "socket.sendmsg": 1,
}  # fmt: skip


def is_near(place: object) -> bool:
    """A path, this machine's own address, or one that was named before, by connect."""
    host = place[0] if isinstance(place, tuple) else place
    if host is None or host == "localhost" or not isinstance(place, tuple | str) or str(host).startswith(("/", "\0")):
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


def hook(event: str, arguments: tuple[object, ...]) -> None:
    if event in ASKS and not is_near(place := arguments[ASKS[event]]):
        with RECORD.open("a") as file:
            file.write(f"{event} {place}\n")
        raise OSError(f"{event} {place}: beyond this machine")


sys.addaudithook(hook)
