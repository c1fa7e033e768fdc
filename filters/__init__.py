"""What stays and what goes: one rule is one function and one id."""
