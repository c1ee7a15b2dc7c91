"""The guarantee of the volume: `current` is absent or complete, and running the program again is the only recovery."""
