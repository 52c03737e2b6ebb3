"""The JSON Schemas (draft-07) that are published: of rules.yaml, for editors, and of what webhooks get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from budgetd.rulefile.shape import RulesFile

DRAFT = "http://json-schema.org/draft-07/schema#"

# pydantic writes these for its own use; draft-07 does not know them or they only repeat the key.
_LEFT_OUT = ("title", "discriminator", "default")


def webhook_schema() -> dict[str, Any]:
    """The schema of a webhook's body. Receivers rely on it: fields are only ever added."""
    read: dict[str, Any] = json.loads(Path(__file__).with_name("webhook.schema.json").read_text(encoding="utf-8"))
    return read


def rules_schema() -> dict[str, Any]:
    """The schema of the file as an editor reads it, with YAML's own numbers and booleans."""
    made = _draft_07(RulesFile.model_json_schema(by_alias=True))
    return {"$schema": DRAFT, "title": "budgetd rules", **made}


def _draft_07(node: Any) -> Any:
    """pydantic writes draft 2020-12: definitions have another name, and so have the items of a tuple."""
    if isinstance(node, list):
        return [_draft_07(item) for item in node]
    if isinstance(node, str):
        return node.replace("#/$defs/", "#/definitions/") if node.startswith("#/$defs/") else node
    if not isinstance(node, dict):
        return node
    made: dict[str, Any] = {}
    for key, value in node.items():
        if key in ("properties", "$defs", "patternProperties"):
            name = "definitions" if key == "$defs" else key
            made[name] = {name_: _draft_07(inner) for name_, inner in value.items()}
        elif key == "prefixItems":
            made["items"] = _draft_07(value)
        elif key not in _LEFT_OUT:
            made[key] = _draft_07(value)
    return made
