"""sealstat: official statistics from data that nobody has to share."""

__version__ = "0.1.0"
