"""Content-hash ids and derived seeds: equal content has an equal id, and no random draw depends on order.

Ids are 16 hexadecimal digits of a BLAKE2b hash over length-prefixed UTF-8 fields, so ("ab", "c") and ("a", "bc")
differ. Lone surrogates survive (`surrogatepass`): hostile text must not crash the hash.
"""

from __future__ import annotations

import hashlib


def content_id(*fields: str) -> str:
    """Hash the fields, in order, to 16 hexadecimal digits (64 bits)."""
    digest = hashlib.blake2b(digest_size=8)
    for field in fields:
        raw = field.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()


def derive_seed(*parts: str | int) -> int:
    """Derive an independent 63-bit seed, e.g. from (run seed, stage, round, problem id, sample index)."""
    return int(content_id(*(f"{type(part).__name__}:{part}" for part in parts)), 16) >> 1
