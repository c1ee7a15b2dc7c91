"""Download a blob with azure-storage-blob, as its documentation recommends for large blobs.

python sdk_download.py URL FILE [CA-FILE]
"""

from __future__ import annotations

import sys

from azure.storage.blob import BlobClient

_CONNECTIONS = 16


def main() -> None:
    """Download into the file."""
    url, name, *authority = sys.argv[1:]
    with (
        BlobClient.from_blob_url(url, connection_verify=authority[0] if authority else True) as blob,
        open(name, "wb") as file,
    ):
        blob.download_blob(max_concurrency=_CONNECTIONS).readinto(file)


if __name__ == "__main__":
    main()
