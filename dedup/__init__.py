"""What is the same as something else: exact and near duplicates of text, copies of images."""
