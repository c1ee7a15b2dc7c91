"""Find the missing byte ranges of packs, fetch them and verify them.

May import packages up to `sources`. Must not depend on the layout of a volume or on the kind of source that is read.
"""
