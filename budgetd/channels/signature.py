"""Standard Webhooks signatures: whose a message is, when it was sent, and that nobody changed it.

Written from the specification, version 1.0.0 (standardwebhooks.com).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

PREFIX = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64


def why_no_secret(text: str) -> str | None:
    """Why the text is no signing secret, without repeating it; None when it is one."""
    if not text.startswith(PREFIX):
        return f"a signing secret starts with {PREFIX}"
    try:
        length = len(_key(text))
    except ValueError:
        return f"what follows {PREFIX} in a signing secret is base64; this is not"
    if not LEAST_BYTES <= length <= MOST_BYTES:
        return f"a signing secret has {LEAST_BYTES} to {MOST_BYTES} bytes once decoded; this one has {length:,}"
    return None


def signed_headers(id: str, timestamp: int, body: bytes, secrets: Iterable[str]) -> dict[str, str]:
    """The headers for one attempt: `id` is the same on every one, `timestamp` (Unix seconds) is that of this one.

    One signature for each secret, so that receivers can change from one to the other at any time; without a secret
    the message goes unsigned. Raises ValueError for what `why_no_secret` complains of.
    """
    headers = {"webhook-id": id, "webhook-timestamp": str(timestamp)}
    content = f"{id}.{timestamp}.".encode() + body
    signatures = [f"v1,{_base64(hmac.digest(_key(secret), content, hashlib.sha256))}" for secret in secrets]
    return {**headers, "webhook-signature": " ".join(signatures)} if signatures else headers


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(PREFIX).encode(), validate=True)
    except (binascii.Error, UnicodeError):
        raise ValueError("a signing secret that is not base64") from None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
