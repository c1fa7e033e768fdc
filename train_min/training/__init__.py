"""How it is trained: optimizer, loop, the variants of a run, and processes for them."""
