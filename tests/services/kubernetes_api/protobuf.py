"""Decode the Secrets of helm, which its client sends as protobuf; it sends everything else as JSON."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"k8s\0"
_RAW = 2  # of runtime.Unknown, which wraps each object
_METADATA, _DATA, _TYPE = 1, 2, 3  # of core/v1 Secret
_NAME, _LABELS, _ANNOTATIONS = 1, 11, 12  # of meta/v1 ObjectMeta


def decode_secret(message: bytes) -> dict[str, Any]:
    """Return a Secret as in JSON, with its name, labels, annotations, data and type."""
    raw = next(value for number, value in _fields(message.removeprefix(MAGIC)) if number == _RAW)
    metadata: dict[str, Any] = {}
    secret: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {}}
    for number, value in _fields(raw):
        if number == _METADATA:
            metadata |= _metadata(value)
        elif number == _DATA:
            key, content = _entry(value)
            secret["data"][key] = base64.b64encode(content).decode()
        elif number == _TYPE:
            secret["type"] = value.decode()
    return secret


def _metadata(message: bytes) -> dict[str, Any]:
    metadata: dict[str, Any] = {"labels": {}, "annotations": {}}
    for number, value in _fields(message):
        if number == _NAME:
            metadata["name"] = value.decode()
        elif number in (_LABELS, _ANNOTATIONS):
            key, content = _entry(value)
            metadata["labels" if number == _LABELS else "annotations"][key] = content.decode()
    return metadata


def _entry(message: bytes) -> tuple[str, bytes]:
    """Decode an entry of a map."""
    values = dict(_fields(message))
    return values[1].decode(), values.get(2, b"")


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each field with a length; numbers (`uint64` and so on) are left out."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        size, position = _varint(message, position)
        if tag & 7 == 2:
            yield tag >> 3, message[position : position + size]
            position += size
        elif tag & 7:
            raise ValueError(f"unknown wire type {tag & 7}")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
