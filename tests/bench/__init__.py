"""How fast the program is beside what its users would use instead: the same bytes, the same server, in turns."""
