"""From web pages to a corpus: the Beam jobs and what only they need."""
