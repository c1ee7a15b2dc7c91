"""Define the error for unusable archives; its text completes a sentence whose subject is the archive."""


class BadArchiveError(Exception):
    """The archive is not valid.

    Internal: users get an `ArchiveError` instead if the archive's digest is correct, because then the publisher and not
    the transfer is at fault.
    """
