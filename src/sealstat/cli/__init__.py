"""The command line: one thin module per command group; every rule lives in the rooms below."""

from sealstat.cli.app import main

__all__ = ["main"]
