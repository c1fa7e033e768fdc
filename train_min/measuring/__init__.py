"""What comes of it: losses, intervals, few-shot accuracy."""
