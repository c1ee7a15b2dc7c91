"""`--check`: the report, before an install, on everything that an install needs."""
