"""The pipeline from web pages to a corpus: Beam jobs and their supporting modules."""
