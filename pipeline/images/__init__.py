"""Pictures: from the bytes a server sent to the image store."""
