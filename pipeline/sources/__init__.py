"""Input kinds: WARC, WACZ and MHTML files and folders of HTML, cut into parts before anything else runs."""
