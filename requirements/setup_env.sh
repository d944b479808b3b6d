#!/usr/bin/env bash
# Create .venv in the checkout and install the pinned stack into it. `make setup` calls this script.
#
# The pinned stack is requirements/stack.txt. STACK names another one in requirements/stacks/.
#
# MMCV's operators are compiled once. The wheel is kept in the user's cache, in a folder that is named after the versions
# of Python, torch, CUDA and MMCV. pip's own cache does not know the torch that a wheel was built against, and a wheel
# that was built against a different torch crashes.
#
# Environment: PYTHON (default python3.11), VENV (default .venv), STACK (default: the pinned stack), MAX_JOBS (default:
# all cores), XDG_CACHE_HOME (default ~/.cache). FORCE_CUDA=1 and TORCH_CUDA_ARCH_LIST compile MMCV's CUDA operators
# without a visible GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3.11}
VENV=${VENV:-.venv}
stack=requirements/${STACK:+stacks/}${STACK:-stack}.txt
case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac

die() { echo "make setup: $*" >&2; exit 1; }

version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
    die "no '$PYTHON' here. Install Python 3.11 with venv and headers (Debian: python3.11-venv python3.11-dev), or set PYTHON."
case $version in
    3.10 | 3.11 | 3.12) ;;
    *) die "'$PYTHON' is Python $version; the stack needs 3.10, 3.11 or 3.12. Set PYTHON to one of these." ;;
esac
[ -f "$stack" ] ||
    die "no file $stack. STACK may be $(ls requirements/stacks | sed 's/.txt$//' | paste -sd ' '), or empty for the pinned stack."
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
    die "'$PYTHON' has no venv module (Debian: apt-get install python$version-venv)."
"$PYTHON" -c 'import os, sysconfig; assert os.path.exists(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
    die "'$PYTHON' has no headers (Python.h), which MMCV needs to compile (Debian: apt-get install python$version-dev)."
command -v "${CXX:-c++}" >/dev/null ||
    die "no C++ compiler, which MMCV needs to compile (Debian: apt-get install g++)."

pin() { sed -n "s/^$1==//p" "$stack"; }
mmcv=$(sed -nE 's/^((onedl-)?mmcv)==.*/\1/p' "$stack")  # the fork or upstream's package
say() { echo "[setup $(date +%H:%M:%S)] $*"; }

[ -x "$VENV/bin/python" ] || { say "creating $VENV with Python $version"; "$PYTHON" -m venv "$VENV"; }
python=$VENV/bin/python
# The lock is that of the pinned stack on Python 3.11.
lock=()
[ -z "${STACK:-}" ] && [ "$version" = 3.11 ] && lock=(-c requirements/lock.txt)
install() { "$python" -m pip install --quiet --disable-pip-version-check "${lock[@]}" "$@"; }

say "installing torch $(pin torch) (a download of about 2 GB)"
install -r requirements/build.txt "torch==$(pin torch)" "torchvision==$(pin torchvision)" "numpy==$(pin numpy)"

# Build CUDA operators if a GPU and its compiler are both here, or on request. Otherwise build CPU operators.
if [ "${FORCE_CUDA:-0}" = 1 ]; then
    ops=cuda
elif "$python" -c 'import torch; raise SystemExit(not torch.cuda.is_available())'; then
    wanted=$("$python" -c 'import torch; print(torch.version.cuda.split(".")[0])')
    found=$({ nvcc --version 2>/dev/null || true; } | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
    if [ "$wanted" = "$found" ]; then
        ops=cuda
    else
        ops=cpu
        say "a GPU is visible, but nvcc of CUDA $wanted is not (found: ${found:-none}): MMCV gets CPU operators only, and" \
            "detectors cannot use the GPU. To use the CPU, set CUDA_VISIBLE_DEVICES=''. To use the GPU, install that" \
            "nvcc, then run 'rm $VENV/.stack' and 'make setup'"
    fi
else
    ops=cpu
fi
key=$("$python" - "$(pin "$mmcv")" "$ops" "${TORCH_CUDA_ARCH_LIST:-}" <<'PY'
import platform, sys, torch
mmcv, ops, archs = sys.argv[1:]
cuda = f'cuda{torch.version.cuda}' if torch.version.cuda else 'nocuda'
if ops == 'cuda' and not archs:
    archs = ' '.join('%d.%d' % torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count()))
archs = '_'.join(sorted(set(archs.replace(';', ' ').split()))) if ops == 'cuda' else ''
print('-'.join(filter(None, [f'py{sys.version_info.major}.{sys.version_info.minor}', platform.machine(),
                             f'torch{torch.__version__.split("+")[0]}', cuda, ops, archs, f'mmcv{mmcv}'])))
PY
)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/econvnext_mmdet/wheels/$key
if ! ls "$cache"/*.whl >/dev/null 2>&1; then
    say "compiling MMCV's $ops operators (5 to 9 minutes on 2 cores), kept in $cache"
    mkdir -p "$(dirname "$cache")"
    tmp=$(mktemp -d "$(dirname "$cache")/build.XXXXXX")
    trap 'rm -rf "$tmp"' EXIT
    build_env=(MMCV_WITH_OPS=1 "MAX_JOBS=${MAX_JOBS:-$(nproc)}" "CFLAGS=-O2 -g0" "CXXFLAGS=-O2 -g0"
               "PATH=$VENV/bin:$PATH")
    [ $ops = cuda ] && build_env+=(FORCE_CUDA=1) || build_env+=(CUDA_VISIBLE_DEVICES=)
    env "${build_env[@]}" "$python" -m pip wheel --disable-pip-version-check --no-cache-dir \
        --no-build-isolation --no-deps --no-binary :all: --wheel-dir "$tmp/wheel" \
        "$mmcv==$(pin "$mmcv")" >"$tmp/log" 2>&1 ||
        { tail -n 40 "$tmp/log" >&2; die "MMCV did not compile; the end of the log is above."; }
    mkdir -p "$cache"
    mv "$tmp"/wheel/*.whl "$cache"/
fi

say "installing MMCV from $cache and the rest of the stack"
# Without --force-reinstall, pip would keep a different build of the same version, made for another torch or without
# CUDA.
install --no-deps --force-reinstall "$cache"/*.whl
install -r "$stack" -r requirements/dev.txt -r requirements/deploy.txt
# Both OpenCV packages own the folder cv2. Python imports the one that is installed last.
install --no-deps --force-reinstall "opencv-python-headless==$(pin opencv-python-headless)"
install --no-build-isolation -e ".[report,deploy]"
"$python" -c 'import cv2, mmcv.ops, mmdet, mmpretrain, econvnext_mmdet' ||
    die "the installed stack cannot be imported; the reason is above."
# setuptools only warns if the installation with -e cannot make its links.
[ -e econvnext_mmdet/.mim/model-index.yml ] || die "econvnext_mmdet/.mim has no links to the configs and the tools."
say "done: $VENV/bin/python"
