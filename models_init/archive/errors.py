"""Define the error for unusable archives; its text continues a sentence about the archive."""


class BadArchiveError(Exception):
    """The archive breaks a rule.

    Internal: reported to users as `ArchiveError` once the archive's digest has shown that the publisher and not the
    transfer is at fault.
    """
