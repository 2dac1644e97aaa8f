#!/usr/bin/env bash
# Sees that system programs are there: installs the missing ones where that may be done (root, with apt-get), otherwise
# prints the one line that installs them and ends with 1.
#
#   make/system.sh [--if-possible] PROGRAM=PACKAGE ...    PACKAGE: of Debian and Ubuntu
#
# --if-possible: a program that stays missing is no failure (the tests that need it are then skipped by name).
set -euo pipefail

optional=false
if [ "${1:-}" = --if-possible ]; then
    optional=true
    shift
fi

packages=()
for pair in "$@"; do
    if [ "${pair%%=*}" = venv ]; then # no program of its own: a module that Debian packs separately
        "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null || packages+=("${pair#*=}")
    else
        command -v "${pair%%=*}" >/dev/null || packages+=("${pair#*=}")
    fi
done
[ ${#packages[@]} -gt 0 ] || exit 0

line="apt-get install -y --no-install-recommends ${packages[*]}"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "system: $line"
    export DEBIAN_FRONTEND=noninteractive
    # A machine's package list may be old or empty: it is read anew only where the first try fails.
    # shellcheck disable=SC2086
    if ! $line >/dev/null 2>&1; then
        { apt-get update -q && $line; } >&2 || $optional || exit 1
    fi
else
    echo "missing system programs; run: sudo $line" >&2
    $optional || exit 1
fi
