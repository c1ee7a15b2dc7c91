"""Every kind of source against one contract, and each against what only it can meet."""
