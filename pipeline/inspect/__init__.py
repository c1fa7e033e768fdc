"""Inspect a finished corpus: its funnel, figures, an HTML report, and a local viewer."""
