"""`python -m sealstat.cli` is `sealstat`."""

from sealstat.cli.app import main

main()
