"""API keys: known by their SHA-256 only. `python -m web.keys NAME` makes one.

A key is 256 random bits, so a fast hash is enough: nobody can try them all. The same name may stand before several
hashes, which is how a key is replaced without a gap.
"""

import argparse
import hashlib
import hmac
import re
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.settings import Settings

_ENTRY: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63}):([0-9a-f]{64})", re.ASCII)
#: longer ones are not even hashed
LONGEST_KEY: Final = 512
PREFIX: Final = "ds_"


class BadKeysError(ValueError):
    """An entry of API_KEYS cannot be read. The message does not hold it: it may be a key by mistake."""


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The keys that open the service.

    Args:
        entries: name and hash of each.
    """

    entries: tuple[tuple[str, str], ...] = ()

    @classmethod
    def load(cls, settings: Settings) -> "ApiKeys":
        """Those of API_KEYS and API_KEYS_FILE. Raises `BadKeysError`."""
        text = settings.api_keys
        if settings.api_keys_file is not None:
            try:
                text += "\n" + settings.api_keys_file.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise BadKeysError(f"API_KEYS_FILE cannot be read: {type(error).__name__}.") from None
        keys = cls.parse(text)
        if not keys and (settings.api_keys or settings.api_keys_file):
            raise BadKeysError("API_KEYS and API_KEYS_FILE hold no key: the service would be open to everybody.")
        return keys

    @classmethod
    def parse(cls, text: str) -> "ApiKeys":
        """Read entries `name:sha256`, apart by commas or ends of lines; `#` begins a comment. Raises `BadKeysError`."""
        lines = (line.partition("#")[0] for line in text.splitlines())
        entries = [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]
        found = []
        for number, entry in enumerate(entries, 1):
            match = _ENTRY.fullmatch(entry)
            if match is None:
                raise BadKeysError(
                    f"Entry {number} of API_KEYS is not name:sha256 (64 small hexadecimal digits); "
                    "`python -m web.keys NAME` makes one."
                )
            found.append((match[1], match[2]))
        return cls(tuple(found))

    def __bool__(self) -> bool:
        return bool(self.entries)

    def owner_of(self, key: str) -> str | None:
        """Name of the key, None if it is none of ours. Takes as long whichever it is, and whether it is one."""
        digest = hash_of(key[:LONGEST_KEY])
        found = None
        for name, known in self.entries:
            if hmac.compare_digest(digest, known):
                found = name
        return found


def hash_of(key: str) -> str:
    """What is written down of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def new_key() -> str:
    """A key that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(32)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a new key, and the entry for API_KEYS. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m web.keys", description="Make an API key.")
    parser.add_argument("name", help="whose it is: letters, digits, dot, dash and underscore")
    name = parser.parse_args(arguments).name
    key = new_key()
    entry = f"{name}:{hash_of(key)}"
    try:
        ApiKeys.parse(entry)
    except BadKeysError:
        print("web.keys: a name has up to 64 letters, digits, dots, dashes and underscores.", file=sys.stderr)
        return 2
    print(f"key, for the client (shown this once):  {key}")
    print(f"entry, for API_KEYS or API_KEYS_FILE:   {entry}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
