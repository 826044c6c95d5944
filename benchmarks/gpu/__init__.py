"""Everything that is measured on a GPU, in one command: see __main__.py."""
