"""`--check`: what is told before an install, about every part that an install needs."""
