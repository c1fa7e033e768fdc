"""What it is trained on: windows of a corpus, image-text pairs, features of pictures."""
