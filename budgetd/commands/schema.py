"""`budgetd schema`: the JSON Schema of rules.yaml, for editors."""

from __future__ import annotations

import argparse
import json
import sys

EXAMPLE = """example:
  budgetd schema > rules.schema.json
  and as the first line of rules.yaml:  # yaml-language-server: $schema=rules.schema.json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """`schema` has no options."""
    parser.description = "Print the JSON Schema (draft-07) of rules.yaml. Editors complete and check the file with it."
    parser.epilog = EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def run(arguments: argparse.Namespace) -> int:
    """Print the schema; always 0."""
    # Imported late: pydantic is not needed for --help.
    from budgetd.schema import rules_schema

    sys.stdout.write(json.dumps(rules_schema(), indent=2, ensure_ascii=False) + "\n")
    return 0
