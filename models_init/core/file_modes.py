"""The permissions of directories and files of a pack, in archives and on volumes."""

DIRECTORY_MODE, EXECUTABLE_MODE, FILE_MODE = 0o755, 0o755, 0o644
