"""Checks that every crate may be used: licences.py METADATA, the output of cargo metadata.

A licence expression passes when one of its alternatives consists of accepted licences only.
"""

import json
import sys

ACCEPTED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0",
    "CC0-1.0", "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0", "OpenSSL", "Unicode-3.0", "Unicode-DFS-2016", "Unlicense",
    "Zlib",
    # Asks only that its own files stay open, which are used unchanged (fastrlp, that only the lock file names).
    "MPL-2.0",
}  # fmt: skip


def passes(expression: str) -> bool:
    """Reads OR, AND and parentheses; `/` is the old way to write OR."""
    words = expression.replace("/", " OR ").replace("(", " ( ").replace(")", " ) ").split()

    def either() -> bool:
        found = both()
        while words and words[0] == "OR":
            words.pop(0)
            found = both() or found
        return found

    def both() -> bool:
        found = one()
        while words and words[0] == "AND":
            words.pop(0)
            found = one() and found
        return found

    def one() -> bool:
        word = words.pop(0)
        if word == "(":
            found = either()
            words.pop(0)
            return found
        if words[:1] == ["WITH"]:
            words.pop(0)
            word = f"{word} WITH {words.pop(0)}"
        return word in ACCEPTED

    return either() and not words


with open(sys.argv[1], encoding="utf-8") as file:
    packages = json.load(file)["packages"]
assert passes("MIT OR GPL-3.0-only") and passes("(MIT/GPL-2.0) AND ISC"), "the reader of licences is broken"
assert not passes("GPL-3.0-only") and not passes("MIT AND GPL-3.0-only"), "the reader of licences is broken"
wrong = [f"{it['name']} {it['version']}: {it['license']}" for it in packages if not passes(it["license"] or "none")]
print("\n".join(wrong) or f"{len(packages)} crates under accepted licences")
sys.exit(1 if wrong else 0)
