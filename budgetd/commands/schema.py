"""`budgetd schema`: the JSON Schema of rules.yaml, for editors, or of what a webhook gets, for its receivers."""

from __future__ import annotations

import argparse
import json
import sys

EXAMPLE = """example:
  budgetd schema > rules.schema.json
  and as the first line of rules.yaml:  # yaml-language-server: $schema=rules.schema.json
  budgetd schema webhook > webhook.schema.json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `schema`."""
    parser.description = (
        "Print a JSON Schema (draft-07): of rules.yaml, with which editors complete and check the file, or of the body "
        "that webhook:// and webhooks:// channels post."
    )
    parser.epilog = EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("of", nargs="?", choices=("rules", "webhook"), default="rules", help="default: rules")


def run(arguments: argparse.Namespace) -> int:
    """Print the schema; always 0."""
    # Imported late: pydantic is not needed for --help.
    from budgetd.schema import rules_schema, webhook_schema

    schema = webhook_schema() if arguments.of == "webhook" else rules_schema()
    sys.stdout.write(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
    return 0
