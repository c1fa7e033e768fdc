"""`m3w view`: a local web page to browse a corpus."""
