#!/usr/bin/env bash
# Prints the Python that the virtual environment is made with: $PYTHON where it is given, else the first of the usual
# names that is 3.11, 3.12 or 3.13. Ends with 1 and one line where there is none.
set -euo pipefail

for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
        command -v "$name"
        exit 0
    fi
done
echo "agentrl needs Python 3.11, 3.12 or 3.13; found none${PYTHON:+ at PYTHON=$PYTHON} (Debian, Ubuntu: sudo apt-get install python3 python3-venv; or: make PYTHON=/path/to/python3.12)" >&2
exit 1
