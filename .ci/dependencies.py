#!/usr/bin/env python3
"""Holds the dependency tree to deny.toml where cargo-deny is not installed.

Reads the same file: licences (an `OR` needs one allowed side, an `AND` all), banned crates, and
that every package comes from the registry. Needs Python 3.11 and cargo.
"""

import json
import re
import subprocess
import sys
import tomllib

with open("deny.toml", "rb") as file:
    rules = tomllib.load(file)
allowed = set(rules["licenses"]["allow"])
banned = {entry.get("crate", entry.get("name")) for entry in rules["bans"]["deny"]}
metadata = json.loads(
    subprocess.check_output(["cargo", "metadata", "--format-version=1", "--locked"])
)


def permitted(expression: str) -> bool:
    """Whether an SPDX expression can be met with allowed licences."""
    expression = expression.replace("/", " OR ")
    terms = re.findall(r"[\w.\-]+(?: WITH [\w.\-]+)?|[()]", expression)
    python = " ".join(
        {"AND": "and", "OR": "or", "(": "(", ")": ")"}.get(term, str(term in allowed))
        for term in terms
    )
    return bool(eval(python, {"__builtins__": {}}))  # only and, or, (, ), True, False


faults = []
for package in metadata["packages"]:
    name = f"{package['name']} {package['version']}"
    if package["name"] in banned:
        faults.append(f"{name} is banned")
    if package["source"] is None:
        continue
    if not package["source"].startswith("registry+"):
        faults.append(f"{name} comes from {package['source']}")
    if not permitted(package["license"] or "none"):
        faults.append(f"{name} has the licence {package['license']!r}, which deny.toml does not allow")

print("\n".join(faults) or f"{len(metadata['packages'])} packages, all as deny.toml allows")
sys.exit(bool(faults))
