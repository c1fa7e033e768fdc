"""The corpus on disk: data model, windows, writers, readers. Imports nothing else of this project."""
