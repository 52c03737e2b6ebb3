"""Apprise asked in a process of its own, which takes the memory that it costs with it when it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

_PATIENCE = 10.0  # seconds; it takes half a second, and a reload waits for it


def ask(module: str, question: object) -> Any:
    """What `python -m module` answers to the question, JSON on stdin and stdout. None: there is no answer to be had.

    What is asked holds secrets: it goes through a pipe, never through the arguments.
    """
    try:
        done = subprocess.run(  # noqa: S603 (this program, without a shell)
            [sys.executable, "-m", module],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=True,
        )
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
