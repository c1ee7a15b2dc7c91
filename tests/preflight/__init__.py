"""`--check`: a report on everything that an install needs."""
