"""Exports: a run's data in the layouts that other trainers read; what a layout holds, how it is split, and its card.

Nothing here looks into a run: rows come in as plain dicts (`pipelines.curation.export_rows` makes them). No layout is
CSV, so no cell of a model's text can reach a spreadsheet as a formula.
"""
