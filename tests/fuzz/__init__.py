"""Fuzzers of the readers of untrusted input (`scripts/fuzz`), and their corpora, which run as tests."""


def check_message(error: Exception) -> None:
    """Fail unless the message is one readable line."""
    assert str(error).isprintable(), "the message is not one line"
    assert len(str(error)) < 1000, "the message is too long"
