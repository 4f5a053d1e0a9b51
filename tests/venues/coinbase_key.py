"""The key of the loopback Coinbase: an EC key in PEM as the venue hands them out, and the tokens signed with it."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from functools import cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.venues.server import Json

KEY = "organizations/11111111-0000-4000-8000-000000000001/apiKeys/22222222-0000-4000-8000-000000000002"
BYTES = 32  # of each half of a signature


@cache
def secret() -> str:
    """The private key of this test run."""
    return new_secret()


def new_secret() -> str:
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def claims(token: str, secret: str) -> Mapping[str, Json] | None:
    """What a token claims, its header and its body together; None where it is none, or not signed by this secret."""
    key = load_pem_private_key(secret.encode(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    try:
        header, body, signature = map(_bytes, token.split("."))
        halves = (int.from_bytes(signature[:BYTES]), int.from_bytes(signature[BYTES:]))
        key.public_key().verify(encode_dss_signature(*halves), token.rpartition(".")[0].encode(), ECDSA(SHA256()))
        return {**json.loads(header), **json.loads(body)}
    except (ValueError, InvalidSignature):
        return None


def _bytes(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
