# shellcheck shell=bash
# What scripts share that run several ingestors on one lake. It is read after lib.sh.

LAKE='' LAKE_MANIFESTS='' # URLs
HOSTS_DIR=''              # has a directory host-NAME for each host, with staging, state and ingestor.log
declare -A HOST_PIDS=()   # of those that run, by name
STORE_DIR=''              # of the server that we started; empty if we did not

# shellcheck disable=SC2317 # lib.sh calls it
clean_up_more() {
    local host
    for host in "${!HOST_PIDS[@]}"; do kill -KILL "${HOST_PIDS[$host]}" 2>/dev/null || true; done
    if [ -n "$STORE_DIR" ]; then "$ROOT/scripts/object_store" stop "$STORE_DIR" || true; fi
}

# Starts SeaweedFS with its data in $1, and exports how it is reached. The lake is in its bucket.
start_seaweedfs() {
    local code=0
    STORE_DIR=$1
    "$ROOT/scripts/object_store" start seaweedfs "$STORE_DIR" >"$WORK/store.env" 2>"$WORK/store.err" || code=$?
    if [ "$code" -eq 3 ]; then skip "$(cat -- "$WORK/store.err")"; fi
    [ "$code" -eq 0 ] || fail "SeaweedFS does not start: $(cat -- "$WORK/store.err")"
    # shellcheck disable=SC1091 # it is generated
    . "$WORK/store.env"
    LAKE=$CSV_INGESTOR_TEST_STORE/warehouse LAKE_MANIFESTS=$CSV_INGESTOR_TEST_STORE/manifests
}

# Ends the server; what it keeps stays.
stop_store() {
    "$ROOT/scripts/object_store" stop "$STORE_DIR"
    STORE_DIR=''
}

make_lake() { "$INGESTOR" lake init "$LAKE" --manifests "$LAKE_MANIFESTS"; }

staging_of() { printf '%s' "$HOSTS_DIR/host-$1/staging"; }
log_of() { printf '%s' "$HOSTS_DIR/host-$1/ingestor.log"; }
host_has_logged() { grep -sqF "\"event\":\"$2\"" "$(log_of "$1")"; }
host_has_finished() { [ -z "$(ls -A -- "$(staging_of "$1")")" ]; }

# Starts the ingestor of a host, with the further options, and does not wait for it.
begin_host() {
    local host=$1 dir=$HOSTS_DIR/host-$1
    shift
    mkdir -p -- "$dir/staging"
    "$INGESTOR" run --input "$dir/staging" --state-path "$dir/state" --warehouse "$LAKE" --manifests "$LAKE_MANIFESTS" \
        --stability-seconds "$STABILITY_SECONDS" --scan-interval "${SCAN_SECONDS}s" --duplicates remove \
        "$@" 2>"$(log_of "$host")" &
    HOST_PIDS[$host]=$!
}

# Waits until a command that takes the host's name is true; fails at the deadline, or if the host has ended.
await_host() {
    local host=$1 what=$2 end=$((SECONDS + DEADLINE_SECONDS))
    shift 2
    until "$1" "$host" "${@:2}"; do
        if [ "$SECONDS" -ge "$end" ] || ! kill -0 "${HOST_PIDS[$host]}" 2>/dev/null; then
            tail -n 20 -- "$(log_of "$host")" >&2
            fail "host $host did not $what"
        fi
        sleep 0.1
    done
}

await_start() { await_host "$1" start host_has_logged started; }
await_finish() { await_host "$1" finish host_has_finished; }

# Ends a host; it finishes its batch.
stop_host() {
    local pid=${HOST_PIDS[$1]}
    unset "HOST_PIDS[$1]"
    kill -TERM "$pid"
    wait "$pid" || fail "host $1 ended with exit code $?"
}
