"""Pieces of the HTML report."""
