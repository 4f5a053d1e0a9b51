"""Certificates for loopback venues, and an HTTP session that finds every host there.

The client keeps its production addresses, its host names and its verification: only the socket goes elsewhere.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import requests
import trustme
from requests.adapters import HTTPAdapter


class Authority:
    """A certificate authority of this test run; ca_file is what a client has to trust."""

    def __init__(self, folder: Path, *hosts: str) -> None:
        self._ca = trustme.CA()
        self._hosts = hosts
        self.ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca_file)

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*self._hosts).configure_cert(context)
        return context

    def session(self, port: int) -> requests.Session:
        """A session in which every https host is 127.0.0.1:port, whatever the environment says of proxies."""
        session = requests.Session()
        session.trust_env = False
        session.mount("https://", _Loopback(port, self.ca_file))
        return session


class _Loopback(HTTPAdapter):
    def __init__(self, port: int, ca_file: Path) -> None:
        self._port, self._ca_file = port, ca_file
        super().__init__()

    def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:  # type: ignore[override]
        # A client that says verify=True means the system's authorities; here it means ours.
        return super().send(request, **{**how, "verify": str(self._ca_file)})

    def build_connection_pool_key_attributes(self, *request: Any, **how: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        host, tls = super().build_connection_pool_key_attributes(*request, **how)
        named = {"server_hostname": host["host"], "assert_hostname": host["host"]}
        return {**host, "host": "127.0.0.1", "port": self._port}, {**tls, **named}
