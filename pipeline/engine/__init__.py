"""Runs the stages of a build. Each is a Beam job that reads finished files and writes finished files."""
