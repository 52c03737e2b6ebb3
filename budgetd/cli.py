"""The commands: which there are, and how the one that was asked for is found, without loading the others."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from budgetd import __version__

# name -> what it does; each is a module of budgetd.commands with configure(parser) and run(arguments) -> exit code.
COMMANDS = {
    "run": "the daemon: read, evaluate, alert, until told to stop",
    "once": "one whole pass, delivery included",
    "check": "all mistakes of the rules file and the settings",
    "status": "spend against every limit, firing incidents, channels",
    "alerts": "incidents, notices, deliveries, attempts",
    "digest": "a look back at spend, as it would be sent now",
    "silence": "keep messages back for a while: by rule, workspace, severity",
    "ack": "somebody has it: no reminders of an incident",
    "resolve": "end an incident by hand",
    "notify": "a test message through each channel",
    "schema": "the JSON Schema of the rules file, or of what webhooks get",
    "simulate": "a simulated Admin API on loopback, for trying rules",
    "demo": "see it work: no key, no network, five seconds",
}

EXIT_INTERRUPTED = 130


def dispatch(words: Sequence[str]) -> int:
    """Run the command that the words name. Exit codes: 0 done, 1 it went wrong, 2 usage, 78 configuration."""
    name = next((word for word in words if not word.startswith("-")), None)
    if name is None or name not in COMMANDS or words[0] != name:
        return _overview(words)
    module = import_module(f"budgetd.commands.{name}")
    parser = argparse.ArgumentParser(prog=f"budgetd {name}", allow_abbrev=False)
    module.configure(parser)
    arguments = parser.parse_args(list(words[1:]))
    try:
        code: int = module.run(arguments)
        if sys.stdout is not None:  # it is for a process that was started with it closed
            sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, as with `budgetd alerts | head`; Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _overview(words: Sequence[str]) -> int:
    """Help, version, or what is wrong with the words."""
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="budgetd",
        usage="budgetd COMMAND ...",
        description="Watches what an Anthropic organisation spends on its API and tells the right people, once.",
        epilog=f"commands:\n{listing}\n\nbudgetd COMMAND --help says more, with an example. Try budgetd demo.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"budgetd {__version__}")
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help=argparse.SUPPRESS)
    if not words:
        parser.print_help()
        return 2
    parser.parse_args(list(words))
    return 2
