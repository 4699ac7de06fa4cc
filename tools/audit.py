"""Ask the advisory database of PyPI about packages, with pip-audit.

python tools/audit.py REQUIREMENTS

The file lists pinned packages, ``name==version``. It ends with 1 if an advisory is known for one
of them. Where the database cannot be asked, as without a network, it says that nothing was checked
and ends with 0.
"""

from __future__ import annotations

import json
import subprocess
import sys

#: What pip-audit says where it reaches no database.
_UNREACHABLE = ("ConnectionError", "Timeout", "NameResolution", "Max retries", "HTTPError")


def report(packages: list[dict]) -> tuple[list[str], bool]:
    """Return what pip-audit's list of packages says, as lines, and whether there is an advisory."""
    advisories = [
        f"{package['name']} {package['version']}: {' '.join([hole['id'], *hole['aliases']])}, "
        f"fixed in {', '.join(hole['fix_versions']) or 'no release yet'}"
        for package in packages
        for hole in package.get("vulns", ())
    ]
    # pip-audit takes a package that the database does not know for one without advisories
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    checked = len(packages) - len(unknown)
    if not checked:
        return ["not checked: the advisory database knows none of the packages"], False
    lines = [f"{checked} packages checked, {len(advisories)} advisories", *advisories]
    if unknown:
        lines.append(f"not checked: {', '.join(unknown)}")
    return lines, bool(advisories)


def main(requirements: str) -> int:
    """Audit the packages of a file and print what was found; return the exit status."""
    command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off"]
    command += ["--no-deps", "--disable-pip", "--requirement", requirements]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError):
        if any(word in ran.stderr for word in _UNREACHABLE):
            print("not checked: no network, or the advisory database cannot be reached")
            return 0
        print(ran.stderr, file=sys.stderr)
        return 2
    lines, advisories = report(packages)
    print(*lines, sep="\n")
    return int(advisories)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
