"""A small Flamingo (Alayrac et al. 2022, arXiv 2204.14198) that measures whether a corpus' images inform its text."""


class TrainError(Exception):
    """An error for the user, in one line: what is wrong with which input, and what to do."""
