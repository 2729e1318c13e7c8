#!/usr/bin/env bash
# Makes .venv with this project, editable, and what one of its extras needs.
#
#   scripts/venv.sh demo|docs|dev    $PYTHON: the interpreter, python3 by default
#
# .venv/.installed-EXTRA is made at the end, for make to see.
set -euo pipefail
cd "$(dirname "$0")/.."
extra=$1
python=${PYTHON:-python3}

fail() { printf '%s\n' "$@" >&2; exit 1; }

command -v "$python" > /dev/null ||
    fail "$python is missing. On Debian: apt install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Balsam needs Python 3.11 or newer, and $python is $("$python" --version)." \
        "Name a newer one: make PYTHON=python3.12 ..."

if ! .venv/bin/python -m pip --version > /dev/null 2>&1; then
    "$python" -c 'import ensurepip, venv' 2> /dev/null ||
        fail "$python cannot make virtual environments. On Debian: apt install python3-venv"
    "$python" -m venv --clear .venv
fi

echo "Installing Balsam with the extra [$extra] into .venv; the first time takes a minute or two ..."
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extra]"
touch ".venv/.installed-$extra"
# What tests need includes what the others need.
[ "$extra" != dev ] || touch .venv/.installed-demo .venv/.installed-docs
