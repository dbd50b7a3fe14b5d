# shellcheck shell=bash
# What the scripts here share: finding the program, starting and ending one of it, waiting, skipping, and the verdict.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# How long a condition is waited for. Generous: a slow machine is no failure.
DEADLINE_SECONDS=180

INPUT='' WAREHOUSE='' MANIFESTS=''
STABILITY_SECONDS=10     # of the ingestor; its default
SCAN_SECONDS=5           # likewise
WORK=$(mktemp -d "${TMPDIR:-/tmp}/csv-ingestor.XXXXXXXX")
INGESTOR=''              # the program
INGESTOR_PID=''          # of the one that we started; empty if we did not
INGESTOR_LOG=$WORK/ingestor.log
# No other run of these scripts has used it: in names and in contents.
TAG=$(date +%s)-$$-$RANDOM

# A script that has more to clean up defines this function again.
clean_up_more() { :; }

clean_up() {
    stop_ingestor || true
    clean_up_more
    rm -rf -- "$WORK"
}
trap clean_up EXIT

say() { printf '%s\n' "$*"; }

pass() {
    say "PASS: $*"
    exit 0
}

fail() {
    if [ -n "$INGESTOR_PID" ]; then
        say "the end of the ingestor's log:" >&2
        tail -n 20 -- "$INGESTOR_LOG" >&2
    fi
    say "FAIL: $*"
    exit 1
}

# Where CI is set, everything has to run. CI services set it to `true`.
is_ci() { [ -n "${CI:-}" ] && [ "$CI" != false ]; }

# Says why a part of a check does not run here, and continues. Fails in CI.
skip_part() {
    if is_ci; then fail "cannot be skipped in CI: $*"; fi
    say "SKIPPED: $*"
}

# The same for all that is left to do.
skip() {
    skip_part "$@"
    exit 0
}

# The same for what the host itself does not allow, whatever is installed on it. Also in CI, for a step of .ci/run that accepts
# it.
skip_on_this_host() {
    say "SKIPPED: $*"
    exit 0
}

# Finds the program, building it unless CSV_INGESTOR_BIN names one.
find_ingestor() {
    if [ -n "${CSV_INGESTOR_BIN:-}" ]; then
        INGESTOR=$(realpath -- "$CSV_INGESTOR_BIN")
        [ -x "$INGESTOR" ] || fail "CSV_INGESTOR_BIN is no program"
        return
    fi
    # Cargo itself says where it put the program: that depends on CARGO_TARGET_DIR and its configuration.
    INGESTOR=$(cd "$ROOT" && cargo build --profile "${CSV_INGESTOR_PROFILE:-release}" --locked --bin csv-ingestor \
        --message-format=json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p') ||
        fail "cargo could not build csv-ingestor"
}

# Installs Python's packages $2 and so on with pip into the virtual environment $1, and says which of the readers it has.
install_python() {
    local venv=$1
    shift
    { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet "$@"; } >"$WORK/pip" 2>&1 || {
        tail -n 3 -- "$WORK/pip"
        skip "pip cannot install $*"
    }
    say "$("$venv/bin/pip" list 2>/dev/null | grep -E '^(duckdb|polars|pandas|pyspark) ' | tr -s ' ' | paste -sd ,), ready after $SECONDS s"
}

# True as soon as the command is true; false at the deadline, or if our ingestor has ended.
wait_for() {
    local end=$((SECONDS + DEADLINE_SECONDS))
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        [ -z "$INGESTOR_PID" ] || is_running || return 1
        sleep 0.1
    done
}

is_running() { kill -0 "$INGESTOR_PID" 2>/dev/null; }
is_stopped() { ! is_running; }
is_gone() { [ ! -e "$1" ]; }
has_logged() { grep -sqF "\"event\":\"$1\"" "$INGESTOR_LOG"; }

# Starts an ingestor on directories in $1, with the further options.
start_ingestor() {
    local dir=$1
    shift
    INPUT=$dir/staging
    WAREHOUSE=${WAREHOUSE:-$dir/warehouse}
    MANIFESTS=$dir/manifests
    mkdir -p -- "$INPUT"
    "$INGESTOR" run --input "$INPUT" --warehouse "$WAREHOUSE" --manifests "$MANIFESTS" \
        --state-path "$dir/state" --stability-seconds "$STABILITY_SECONDS" --scan-interval "${SCAN_SECONDS}s" \
        "$@" 2>"$INGESTOR_LOG" &
    INGESTOR_PID=$!
    wait_for has_logged started || fail "the ingestor did not start"
}

# Ends the ingestor that we started, and no other; returns its exit code.
stop_ingestor() {
    [ -n "$INGESTOR_PID" ] || return 0
    local pid=$INGESTOR_PID
    kill -TERM "$pid" 2>/dev/null || true
    # It finishes its batch; should it hang, it must not outlive us all the same.
    wait_for is_stopped || kill -KILL "$pid" 2>/dev/null || true
    INGESTOR_PID=''
    wait "$pid"
}

# Reads the arguments of a simulate script. Without any, it starts an ingestor of its own.
begin_simulation() {
    while [ $# -gt 0 ]; do
        case $1 in
            --input) INPUT=${2:?} ;;
            --warehouse) WAREHOUSE=${2:?} ;;
            --manifests) MANIFESTS=${2:?} ;;
            --stability-seconds) STABILITY_SECONDS=${2:?} ;;
            -h | --help)
                sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
                exit 0
                ;;
            *) fail "unknown argument $1; see --help" ;;
        esac
        shift 2
    done
    if [ -n "$INPUT$WAREHOUSE$MANIFESTS" ]; then
        local dir
        for dir in "$INPUT" "$WAREHOUSE" "$MANIFESTS"; do
            [ -d "$dir" ] || fail "--input, --warehouse and --manifests must all be given, and be directories"
        done
    else
        STABILITY_SECONDS=1
        SCAN_SECONDS=1
        find_ingestor
    fi
}

# True if an ingestor of our own has to be started.
is_own() { [ -n "$INGESTOR" ]; }

# Waits for so many stability windows and three scans: time enough for an ingestor to do what it must not do.
sit_out() { sleep "$(seconds "$1")" "$((SCAN_SECONDS * 3))"; }

# So many stability windows in seconds. awk, since windows may have decimals.
seconds() { awk -v windows="$1" -v window="$STABILITY_SECONDS" 'BEGIN { print windows * window }'; }

# A CSV file of so many rows that no other run has written.
make_csv() {
    say "id,name,amount,$TAG-$RANDOM"
    seq "$1" | sed 's/.*/&,customer &,&.50,x/'
}

# Puts a copy of $1 into staging as $2, complete from the first moment on.
drop() {
    cp -p -- "$1" "$INPUT/$2.tmp"
    mv -- "$INPUT/$2.tmp" "$INPUT/$2"
}

sha256_of() { sha256sum <"$1" | cut -d ' ' -f 1; }

# Files in the warehouse whose name matches.
warehouse_files() { find "$WAREHOUSE" -mindepth 2 -maxdepth 2 -path '*/ingest_date=*' -type f -name "$1"; }

# How many manifest lines contain the text.
manifest_lines() {
    find "$MANIFESTS" -type f -name manifest.jsonl -exec cat -- {} + | grep -cF -- "$1" || true
}

has_manifest_line() { [ "$(manifest_lines "$1")" -gt 0 ]; }

# Waits until $2 was ingested under the name $1, and checks everything that is promised about it.
must_be_ingested() {
    local name=$1 original=$2 sha256 found
    sha256=$(sha256_of "$original")
    wait_for has_manifest_line "$sha256" || fail "$name is in no manifest"
    found=$(warehouse_files "$name")
    [ -f "$found" ] || fail "$name is not in the warehouse exactly once: ${found:-not at all}"
    cmp -- "$original" "$found" || fail "$name arrived with other content"
    wait_for is_gone "$INPUT/$name" || fail "$name is still in staging"
    [ "$(manifest_lines "$sha256")" -eq 1 ] || fail "$name has more than one manifest line"
}

must_be_ignored() {
    [ -e "$INPUT/$1" ] || fail "$1 was taken out of staging"
    [ -z "$(warehouse_files "$1")" ] || fail "$1 is in the warehouse"
    [ "$(manifest_lines "/$1\"")" -eq 0 ] || fail "$1 is in a manifest"
}
