"""Training data: windows of a corpus, image-text pairs, image features."""
