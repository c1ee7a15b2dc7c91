"""Plain archives: what is read of them, what is refused, and how they come to a volume."""
