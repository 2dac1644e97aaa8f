#!/usr/bin/env bash
# Makes the virtual environment and installs agentrl into it, editable, through constraints.txt.
#
#   make/install.sh VENV [EXTRA,EXTRA...]
#
# Called again on a finished environment it changes nothing and takes seconds; `make` remembers and does not call it.
set -euo pipefail

venv=$1
extras=${2:-}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_PROGRESS_BAR=${PIP_PROGRESS_BAR:-off}

PYTHON=$(make/python.sh)
export PYTHON
# Two packages of the worlds' engines (jericho, fast-downward-textworld) come as source in C and C++.
make/system.sh venv=python3-venv cc=build-essential c++=build-essential make=build-essential

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    "$PYTHON" -m venv "$venv"
fi
# The set-up of fast-downward-textworld calls `python` by its bare name, which Debian alone does not have.
PATH=$(cd "$venv/bin" && pwd):$PATH
export PATH

# -qq: errors alone. --no-compile: what is never imported need not be compiled; the rest is, when it is. --use-pep517:
# an older pip would build jericho in a way that its cache does not keep.
install() {
    python -m pip install -qq --no-compile --use-pep517 "$@"
}

# torch. On Linux the package index has the CUDA build under the plain version: some gigabytes that a machine without
# an NVIDIA driver cannot use. The CPU build of the same version carries the suffix +cpu; it is looked for first where
# pip is told to look anyway (an index or a folder of wheels of one's own), then on PyTorch's CPU index. Only torch is
# asked for there, not its dependencies, so that every other package has one origin. If neither has it, or this is
# not Linux, the plain version follows below with all the rest; with 2.13.0+cpu in place 2.13.0 counts as installed.
version=$(sed -n 's/^torch==//p' constraints.txt)
if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null &&
    ! python -c "import importlib.metadata as m, sys; sys.exit(m.version('torch').partition('+')[0] != '$version')" 2>/dev/null
then
    echo "set-up: torch $version for the CPU (there is no NVIDIA driver here)"
    install --no-deps "torch==$version+cpu" 2>/dev/null ||
        install --no-deps --retries 1 --index-url https://download.pytorch.org/whl/cpu "torch==$version+cpu" ||
        echo "set-up: no CPU build of torch $version was found; taking the one of the package index" >&2
fi

echo "set-up: agentrl${extras:+ [$extras]} into $venv (two engines are compiled: some minutes the first time)"
install -c constraints.txt --editable ".${extras:+[$extras]}"
echo "set-up: ready after $SECONDS s"
