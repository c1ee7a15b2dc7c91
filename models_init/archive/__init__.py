"""Install packs from opaque archives: ordinary tar archives without chunk information.

May import packages up to `volume`. The modules that read an archive must not depend on where it is written, and must
not trust its content.
"""
