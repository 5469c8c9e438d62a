"""A result as a page that people look at: maps, plots, tables, in one HTML file."""

from sealstat.reports.page import render

__all__ = ["render"]
