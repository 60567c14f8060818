# Shared by the scripts beside it: steps with their times, Debian packages, Python interpreters.
# Plain bash 3.2, because that is what macOS ships. Sourced, never run.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LOGS=$ROOT/.cache/setup
UV=$ROOT/.tools/bin/uv

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# Seconds with one decimal since $1, a value that now_ms gave.
since() {
    local ms=$(($(now_ms) - $1))
    printf '%d.%d' $((ms / 1000)) $((ms % 1000 / 100))
}

now_ms() {
    if [ -n "${EPOCHREALTIME:-}" ]; then
        local us=${EPOCHREALTIME/[.,]/}
        echo "${us%???}"
    else
        echo "$(date +%s)000" # bash before 5.0: whole seconds have to do
    fi
}

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi
}

# hash_jars FOLDER: what requirements/jars.sha256 holds, one line for each jar.
hash_jars() {
    (cd "$1" && export LC_ALL=C && sha256 ./*.jar | sed 's# \./# #')
}

# One hash of the named files and of where the project lies: a copied or moved .venv holds paths that are wrong.
fingerprint() {
    { printf '%s\n' "$ROOT"; cat "$@"; } | sha256 | cut -c 1-64
}

# stamped FILE FINGERPRINT: is the work that FILE vouches for still up to date?
stamped() {
    [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]
}

# done_step TITLE START DETAIL
done_step() {
    printf '  ✓ %-22s %s (%s s)\n' "$1" "$3" "$(since "$2")"
}

# step TITLE DETAIL COMMAND…: runs COMMAND with its output in a log, shows one line when it is done, and the
# log's end when it fails. On a terminal the last line of the log is shown meanwhile, which is the progress of a
# download. DETAIL is a command of its own (a function, perhaps) that prints what the finished line says.
STEP_PID=
step() {
    local title=$1 detail=$2 start log status=0
    shift 2
    start=$(now_ms)
    mkdir -p "$LOGS"
    log=$LOGS/${title// /-}.log
    # A process group of its own (set -m), so that Ctrl-C can end all that the step has started.
    set -m
    "$@" >"$log" 2>&1 </dev/null 9>&- &
    STEP_PID=$!
    set +m
    if [ -t 1 ]; then show_progress "$title" "$start" "$log"; fi
    wait "$STEP_PID" || status=$?
    STEP_PID=
    if [ "$status" -ne 0 ]; then
        printf '  ✗ %s (%s s)\n' "$title" "$(since "$start")"
        tail -n 20 "$log" | sed 's/^/    /' >&2
        fail "$title failed; the whole log is ${log#"$ROOT"/}"
    fi
    done_step "$title" "$start" "$($detail)"
}

show_progress() {
    local columns line
    columns=$(tput cols 2>/dev/null || echo 80)
    while kill -0 "$STEP_PID" 2>/dev/null; do
        # Without colours and empty lines.
        line=$(tail -c 400 "$3" | tr '\r' '\n' | tr -d '\033' | sed 's/\[[0-9;]*m//g; /^[[:space:]]*$/d' | tail -n 1)
        line="  … $1 $(since "$2") s  $line"
        printf '\r\033[K%s' "${line:0:columns-1}"
        sleep 0.2
    done
    printf '\r\033[K'
}

stop_step() {
    if [ -n "$STEP_PID" ]; then kill -TERM -- "-$STEP_PID" 2>/dev/null; fi
}
trap stop_step EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

can_apt() {
    [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ] && command -v apt-get >/dev/null
}

APT_UPDATED=
apt_install() {
    if [ -z "$APT_UPDATED" ]; then
        step "apt-get update" : apt-get update
        APT_UPDATED=1
    fi
    step "apt-get $1" : env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# Every python that may be one: on PATH, then under pyenv, the newest patch release first. pyenv's shims are on
# PATH for versions that are not active too, and then fail; so each candidate is tried by running it.
python_candidates() {
    local name dir versions pattern=$1
    shift
    for name in "$@"; do
        type -ap "$name" || true
    done
    for dir in "${PYENV_ROOT:-$HOME/.pyenv}" "$HOME/.pyenv"; do
        # shellcheck disable=SC2012,SC2086  # the names are versions: no spaces in them
        versions=$(cd "$dir/versions" 2>/dev/null && ls -d $pattern 2>/dev/null | sort -t. -k2,2nr -k3,3nr) || continue
        for name in $versions; do echo "$dir/versions/$name/bin/python"; done
    done
}

# first_python CHECK PATTERN NAME…: the first candidate for which the Python expression CHECK holds, as the
# interpreter behind any virtual environment.
first_python() {
    local check=$1 candidate
    shift
    while read -r candidate; do
        "$candidate" -I -c "import sys
if not ($check): sys.exit(1)
print(getattr(sys, '_base_executable', sys.executable))" 2>/dev/null </dev/null && return
    done < <(python_candidates "$@")
    return 1
}

find_python() {
    local version
    for version in 12 13; do
        first_python "sys.version_info[:2] == (3, $version) and sys.implementation.name == 'cpython'" \
            "3.$version*" "python3.$version" python3 python && return
    done
    return 1
}

# A Python that can make a virtual environment for pip: Debian ships venv without ensurepip, which is not enough.
find_venv_python() {
    first_python "sys.version_info >= (3, 8) and __import__('venv') and __import__('ensurepip')" \
        '3.*' python3.12 python3.13 python3 python3.11 python3.10 python3.9 python3.8 /usr/bin/python3
}

# uv does not read pip's settings; where only pip has been told which index and certificates to use, uv is told the
# same. Without any word on certificates the machine's own are used, which a company's proxy may need.
share_pip_settings() {
    local index cert
    if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
        index=${PIP_INDEX_URL:-$(pip_setting index-url)}
        if [ -n "$index" ]; then export UV_DEFAULT_INDEX=$index; fi
    fi
    if [ -z "${SSL_CERT_FILE:-}" ]; then
        cert=${PIP_CERT:-$(pip_setting cert)}
        cert=${cert:-/etc/ssl/certs/ca-certificates.crt}
        if [ -s "$cert" ]; then export SSL_CERT_FILE=$cert; fi
    fi
}

pip_setting() {
    "$ROOT/.tools/bin/python" -m pip config get "global.$1" 2>/dev/null || true
}

install_uv() {
    local print python
    print=$(fingerprint "$ROOT/requirements/tools.txt")
    if stamped "$ROOT/.tools/stamp" "$print" && [ -x "$UV" ]; then return; fi
    if ! python=$(find_venv_python); then
        can_apt || fail "no Python with the venv module found: install it (Debian/Ubuntu: apt-get install python3-venv) and run this again"
        apt_install python3-venv
        python=$(find_venv_python) || fail "python3-venv was installed, but no Python can make a virtual environment"
    fi
    step "uv" uv_version bootstrap_uv "$python"
    echo "$print" >"$ROOT/.tools/stamp"
}

bootstrap_uv() {
    "$1" -m venv --clear "$ROOT/.tools" &&
        "$ROOT/.tools/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
            --require-hashes --only-binary :all: -r "$ROOT/requirements/tools.txt"
}

uv_version() {
    "$UV" --version | cut -d ' ' -f 2
}
