# Sourced by the other scripts: prepares the virtual environment .venv at the repository's root.
#
# Set here: `root` (absolute path of the repository) and, after prepare_environment, `python` (the
# environment's interpreter).

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$root/.venv/bin/python"

say() {
    printf '==> %s\n' "$*"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Whether a command is a Python >= 3.11 that can create virtual environments.
is_usable_python() {
    "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Prints the interpreter to create .venv with: $PYTHON where set, else the first usable one.
find_python() {
    local candidate
    if [[ -n "${PYTHON:-}" ]]; then
        is_usable_python "$PYTHON" || fail "PYTHON=$PYTHON is not a Python >= 3.11 with the venv module"
        command -v "$PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && is_usable_python "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python >= 3.11 with the venv module was found; install one (Debian: python3 python3-venv)" \
        "or name it: PYTHON=/path/to/python3 bash $0"
}

# Creates .venv when it is absent or does not run.
create_environment() {
    local base
    if [[ -x "$python" ]] && "$python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    base="$(find_python)"
    say "creating .venv with $base ($("$base" --version))"
    "$base" -m venv --clear "$root/.venv"
}

# prepare_environment [EXTRAS]: .venv with amusd, editable, and the given extras ("test,dev,bench").
# Nothing is installed while pyproject.toml and constraints.txt are those of the last time.
prepare_environment() {
    local extras="${1:-}" stamp wanted quiet=()
    create_environment
    is_usable_python "$python" || fail ".venv has $("$python" --version), 3.11 or later is needed: remove .venv"
    stamp="$root/.venv/installed-${extras:-base}"
    wanted="$root $(cat "$root/pyproject.toml" "$root/constraints.txt" | sha256sum)"
    if [[ -f "$stamp" && "$(cat "$stamp")" == "$wanted" ]]; then
        say ".venv is up to date"
        return
    fi
    say "installing amusd${extras:+ with extras $extras} into .venv (PyTorch is large: minutes, the first time)"
    [[ -t 1 ]] || quiet=(--quiet)
    "$python" -m pip install "${quiet[@]}" --disable-pip-version-check \
        --constraint "$root/constraints.txt" --editable "$root${extras:+[$extras]}"
    printf '%s\n' "$wanted" >"$stamp"
}
