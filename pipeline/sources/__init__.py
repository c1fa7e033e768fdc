"""What a build reads: WARC files and folders of HTML, cut into parts before anything else runs."""
