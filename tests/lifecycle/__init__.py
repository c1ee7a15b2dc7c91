"""The volume's promise: `current` is absent or whole, and running the program again is the only recovery there is."""
