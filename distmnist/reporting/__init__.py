"""Reads runs and renders the report."""
