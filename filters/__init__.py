"""The rules that decide what is kept: one function and one id per rule."""
