"""A small Flamingo (Alayrac et al. 2022, arXiv 2204.14198) that says whether a corpus' images inform its text."""


class TrainError(Exception):
    """One line for the user: what was wrong with which input, and what to do."""
