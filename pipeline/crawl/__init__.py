"""A polite crawl to WARC files."""
