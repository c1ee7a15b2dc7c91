"""What is wrong with a plain archive, in words that fit behind its name."""


class BadArchiveError(Exception):
    """The archive breaks a rule; internal, told to users as `ArchiveError` once its digest has shown whose it is."""
