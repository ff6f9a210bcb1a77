"""Damage to files."""
import random


def damaged(content: bytes, rng: random.Random) -> bytes:
    """``content`` with one kind of damage: flipped bits, bytes cut out, doubled, overwritten or moved, or a file cut short."""
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    kind = rng.choice(['flip', 'flip', 'cut short', 'cut out', 'double', 'overwrite', 'move', 'zero', 'append'])
    if kind == 'flip':
        flipped = bytearray(content)
        for _ in range(rng.choice([1, 1, 2, 8])):
            flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if kind == 'cut short':
        return content[:start]
    if kind == 'cut out':
        return content[:start] + content[end:]
    if kind == 'double':
        return content[:end] + content[start:]
    if kind == 'overwrite':
        return content[:start] + rng.randbytes(end - start) + content[end:]
    if kind == 'move':
        return content[end:] + content[:start] + content[start:end]
    if kind == 'zero':
        return content[:start] + bytes(end - start) + content[end:]
    return content + rng.randbytes(1 + rng.randrange(97))
