"""Whole datasets: lists, tables, results, and where they lie."""
