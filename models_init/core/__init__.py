"""What every package may use: errors, names of packs, events, units, redaction, signals, threads.

It imports no other package of this program. It must not read or write files of a volume, or use a network.
"""
