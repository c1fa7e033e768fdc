"""Measurements: losses, intervals, few-shot accuracy."""
