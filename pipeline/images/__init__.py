"""Images: from the bytes of a server to the image store."""
