"""A small Flamingo that tells whether the images of a corpus say something about its text."""
