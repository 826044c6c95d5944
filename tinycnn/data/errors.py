"""What can be wrong with a file of images."""


class DataError(ValueError):
    """A data file is not what it should be: another format, cut short, too long, or damaged."""
