"""Duplicates: exact and near duplicates of text, copies of images."""
