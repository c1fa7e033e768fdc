"""The models: language models, image encoders, and the Flamingo that joins them."""
