"""What a corpus is on disk: the data model, windows, writers, readers. Imports nothing else of this project."""
