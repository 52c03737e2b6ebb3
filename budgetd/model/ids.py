"""Ids that are made of what they stand for."""

from __future__ import annotations

import hashlib
import json


def identity(prefix: str, *parts: object) -> str:
    """A stable id made of the parts. They are joined as JSON, so that no two lists of parts read alike."""
    text = json.dumps([str(part) for part in parts], ensure_ascii=True, separators=(",", ":"))
    return f"{prefix}_{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}"
