"""Fuzzers of the readers of what others make (`scripts/fuzz`), and their corpora, which are run as tests."""


def judge_complaint(error: Exception) -> None:
    """Whatever is refused is refused in one line that a person can read."""
    assert str(error).isprintable(), "a complaint is one line"
    assert len(str(error)) < 1000, "a complaint can be read"
