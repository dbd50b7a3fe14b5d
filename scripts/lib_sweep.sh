# shellcheck shell=bash
# One case of crash_sweep: a fresh place, the program hurt at one system call, and what must hold after that. Each case
# uses few processes, since there are thousands of them: what bash can do itself, it does.
#
# shellcheck disable=SC2034 # some results are for the sweep itself

# A step that takes longer hangs.
STEP_SECONDS=60

# What changes something durable or makes it durable, in this program and in others: which of them it really uses is
# counted. On processors that lack an old call, strace ignores its name after the question mark. Opening is not in the
# list: a file that was only created is the same to the next start as one that is not there, and the call that comes next
# on that thread is.
CHANGING_CALLS=(
    pwrite64 write fsync fdatasync syncfs renameat2 unlinkat mkdirat ftruncate linkat fchmod utimensat
    writev pwritev pwritev2 sync sync_file_range msync fallocate truncate copy_file_range sendfile splice
    rename renameat unlink rmdir mkdir link symlink symlinkat chmod fchmodat chown fchown fchownat setxattr fsetxattr
)
EVERY_CALL=$(printf ',?%s' "${CHANGING_CALLS[@]}")
EVERY_CALL=${EVERY_CALL#,}

# ids are read where they stand in every manifest line, in the contract's order of keys.
LINE_PATTERN='^\{"path":"[^"]*","sha256":"([0-9a-f]{64})",.*,"warehouse_path":"([^"]*)","ingest_id":([0-9]+),.*\}$'

declare -A CONTENTS=()              # SHA-256 of each content that is staged
declare -A STAGED=() PUBLISHED=()   # where the last survey found each content
declare -A CONFINED=()              # the same, of quarantine
PROBLEMS=()                         # of this case
CHILDREN=()                         # processes of this case that may be running

problem() { PROBLEMS+=("$*"); }

# Not `read -t`, though it would need no process: with its timer bash forgets a child once in a hundred thousand times.
nap() { sleep 0.01; }

# Also false for one that has ended and was not waited for yet.
is_alive() { [ -e "/proc/$1/exe" ]; }

# Makes the files that every case stages, in $1/plain, with sidecars in $1/sidecars, and with a malformed one in $1/malformed.
make_templates() {
    local plain=$1/plain sidecars=$1/sidecars malformed=$1/malformed file sha256
    mkdir -p -- "$plain" "$sidecars" "$malformed"
    make_csv 3 >"$plain/small.csv"
    make_csv 700 >"$plain/rows.csv"
    # Large enough to be made durable where it is hashed.
    make_csv 60000 >"$plain/large.csv"
    : >"$plain/empty.csv"
    cp -- "$plain/small.csv" "$plain/again-small.csv"
    cp -- "$plain/rows.csv" "$plain/zz-rows.csv"
    DUPLICATES=2
    for file in "$plain"/*; do
        sha256=$(sha256_of "$file")
        CONTENTS[$sha256]=1
        cp -- "$file" "$malformed/"
        cp -- "$file" "$sidecars/"
        # Some are mere markers, some hold the sum.
        case $file in
            */large.csv | */zz-rows.csv) say "$sha256  ${file##*/}" >"$sidecars/${file##*/}.ok" ;;
            *) : >"$sidecars/${file##*/}.ok" ;;
        esac
    done
    printf 'id,name\n1\n' >"$malformed/malformed.csv"
    MALFORMED=$(sha256_of "$malformed/malformed.csv")
}

# Makes the directories of a case and sets the variables that describe it:
# LAYOUT/VARIANT/PLACE/FAULT/CALL/N, as in --case.
begin_case() {
    IFS=/ read -r LAYOUT VARIANT PLACE FAULT CALL N <<<"$1"
    DIR=$CASES/${1//\//.}
    STAGING=$DIR/staging STATE=$DIR/state MANIFESTS=$DIR/manifests ASIDE=$DIR/aside WAREHOUSE=$DIR/warehouse
    if [ "$LAYOUT" = cross ]; then WAREHOUSE=$OTHER/${1//\//.}/warehouse; fi
    PROBLEMS=() CHILDREN=()
    TEMPLATE=$WORK/plain LEFT=$DUPLICATES MOVED=0
    OPTIONS=(--stability-seconds 0 --concurrency 1 --scan-interval 100ms)
    OPTIONS+=(--input "$STAGING" --warehouse "$WAREHOUSE" --manifests "$MANIFESTS" --state-path "$STATE")
    ALSO=()
    case $VARIANT in
        keep) ;;
        remove)
            OPTIONS+=(--duplicates remove)
            LEFT=0
            ;;
        sidecar)
            OPTIONS+=(--mode sidecar --duplicates move --duplicates-dir "$ASIDE")
            TEMPLATE=$WORK/sidecars LEFT=0 MOVED=$DUPLICATES
            ;;
        # The file, and its reason.
        quarantine)
            OPTIONS+=(--validate csv --quarantine "$ASIDE")
            TEMPLATE=$WORK/malformed MOVED=2
            ;;
        # As on an old kernel, or a file system that cannot rename without replacing.
        links) ALSO=(-e 'inject=renameat2:error=EINVAL') ;;
        *) fail "unknown variant $VARIANT" ;;
    esac
    mkdir -p -- "$STAGING"
}

end_case() {
    rm -rf -- "$DIR"
    if [ "$LAYOUT" = cross ]; then rm -rf -- "${WAREHOUSE%/warehouse}"; fi
}

# strace's options for the fault, in FAULTY.
choose_fault() {
    local trace=$CALL inject
    if [ ${#ALSO[@]} -gt 0 ]; then trace+=,renameat2; fi
    case $FAULT in
        count) FAULTY=(-e "trace=$EVERY_CALL" "${ALSO[@]}") && return ;;
        kill) inject="signal=SIGKILL:when=$N" ;;
        EIO | ENOSPC) inject="error=$FAULT:when=$N" ;;
        EIO+) inject="error=EIO:when=$N+" ;;
        *) fail "unknown fault $FAULT" ;;
    esac
    FAULTY=(-e "trace=$trace" "${ALSO[@]}" -e "inject=$CALL:$inject")
}

# Ends a process and what it has started, by their ids: what it has started first.
end_tree() {
    local child started=()
    read -ra started 2>/dev/null <"/proc/$1/task/$1/children" || true
    for child in "${started[@]}"; do end_tree "$child"; done
    kill -KILL "$1" 2>/dev/null || true
}

# Ends the processes of this case, if any are left.
end_children() {
    local pid
    for pid in "${CHILDREN[@]}"; do end_tree "$pid"; done
    CHILDREN=()
}

# Waits for the one child that runs to end; its exit code in STATUS.
await() {
    local began=$SECONDS
    STATUS=0
    # bash would say on standard error that it was killed.
    { wait "$1"; } 2>/dev/null || STATUS=$?
    if [ $((SECONDS - began)) -ge "$STEP_SECONDS" ]; then problem "it hung"; fi
    CHILDREN=()
}

# Runs the program with these words to its end.
run_plain() {
    timeout -k 1 "$STEP_SECONDS" "$INGESTOR" "$@" >"$DIR/out" 2>>"$DIR/log" &
    CHILDREN=($!)
    await $!
}

# The same under strace. When any one thread comes to its N-th call, the fault strikes.
run_traced() {
    choose_fault
    # Not with --seccomp-bpf: the signal would not come.
    timeout -k 1 "$STEP_SECONDS" strace -f -qq -o "$DIR/trace" "${FAULTY[@]}" \
        "$INGESTOR" "$@" >"$DIR/out" 2>>"$DIR/log" &
    CHILDREN=($!)
    await $!
}

read_file() { IFS= read -rd '' "$2" 2>/dev/null <"$1" || true; }

logged() {
    read_file "$DIR/log" LOG
    [[ $LOG == *"$1"* ]]
}

# The id of the daemon's thread of that name, in THREAD.
find_thread() {
    local comm name
    for comm in /proc/"$1"/task/*/comm; do
        read -r name 2>/dev/null <"$comm" || continue
        if [ "$name" = "$2" ]; then
            comm=${comm%/comm}
            THREAD=${comm##*/}
            return
        fi
    done
    return 1
}

is_traced() {
    read_file "/proc/$1/task/$2/status" TASK
    [[ $TASK != *$'TracerPid:\t0\n'* ]]
}

# Waits until the command is true; false if the process ends before, or it takes too long.
until_true() {
    local pid=$1 end=$((SECONDS + STEP_SECONDS))
    shift
    until "$@"; do
        is_alive "$pid" || return 1
        if [ "$SECONDS" -ge "$end" ]; then
            problem "waited in vain for: $*"
            return 1
        fi
        nap
    done
}

# Everything that came is dealt with. After a fault that lasts, a file that is tried again and again is as much as can be.
is_quiet() {
    local names=("$STAGING"/*)
    if [ "$FAULT" = EIO+ ] && logged '"event":"file_failed"'; then return; fi
    [ ${#names[@]} -eq "$LEFT" ] && logged '"event":"duplicate_skipped"' || return 1
    # What is still waiting for room would be cut short by SIGTERM.
    [[ $LOG != *'"event":"disk_full"'* || $LOG == *'"event":"disk_has_room"'* ]]
}

# A daemon that waits for files; then strace on that one thread of it, then the files. So N counts from the first file on
# and on that thread only: under run_traced the main thread's calls come first, and hide the others'.
run_on_thread() {
    local daemon tracer naps
    mkdir -- "$DIR/incoming"
    cp -- "$TEMPLATE"/* "$DIR/incoming/"
    "$INGESTOR" run "${OPTIONS[@]}" >"$DIR/out" 2>>"$DIR/log" &
    daemon=$!
    CHILDREN=("$daemon")
    until_true "$daemon" find_thread "$daemon" "$PLACE" || problem "the daemon did not start"
    choose_fault
    strace -qq -o "$DIR/trace" "${FAULTY[@]}" -p "$THREAD" 2>"$DIR/strace" &
    tracer=$!
    CHILDREN+=("$tracer")
    until_true "$tracer" is_traced "$daemon" "$THREAD" || [ -s "$DIR/trace" ] || problem "strace could not attach"
    mv -- "$DIR/incoming"/* "$STAGING/"
    until_true "$daemon" is_quiet || true
    if [ "$FAULT" = ENOSPC ]; then
        # The last frame may still be on its way.
        for ((naps = 0; naps < 10; naps++)); do nap; done
        until_true "$daemon" is_quiet || true
    fi
    kill -TERM "$daemon" 2>/dev/null || true
    until_true "$daemon" false || true
    if is_alive "$daemon"; then end_children; fi
    wait "$tracer" || true
    await "$daemon"
}

# What a crash left half done, for the start that is then hurt itself.
half_done() {
    local call=$1 number=$2 fault=$FAULT real_call=$CALL real_number=$N
    # Where renames are made of links, those are counted.
    if [ "$call/$VARIANT" = renameat2/links ]; then call=linkat; fi
    CALL=$call N=$number FAULT=kill
    run_traced run --once "${OPTIONS[@]}"
    CALL=$real_call N=$real_number FAULT=$fault
    [ "$STATUS" -eq 137 ] || problem "the crash before did not happen: exit code $STATUS"
}

# True if the last run came to its end. Not every file comes in where some are malformed (exit code 6).
is_through() { [ "$STATUS" -eq 0 ] || [ "$VARIANT/$STATUS" = quarantine/6 ]; }

# Lets the program run into the fault. Where it does, says what runs.
run_into_fault() {
    case $PLACE in
        commit | hash-0)
            run_on_thread
            return
            ;;
    esac
    # The first start tries out the file systems, which must not be counted where calls are.
    case $PLACE in
        moving | listing | garbled)
            run_plain run --once "${OPTIONS[@]}"
            [ "$STATUS" -eq 0 ] || problem "the start before failed"
            ;;
    esac
    cp -- "$TEMPLATE"/* "$STAGING/"
    case $PLACE in
        # A first start, with all that it makes.
        once) run_traced run --once "${OPTIONS[@]}" ;;
        # The start after a crash between the renames into the warehouse.
        moving)
            half_done renameat2 3
            run_traced run --once "${OPTIONS[@]}"
            ;;
        # replay after a crash between the manifest's lines and the clean-up, with the last line cut as by a power cut.
        listing)
            half_done unlinkat 1
            truncate -s -40 -- "$MANIFESTS"/*/*/*/*/manifest.jsonl || problem "no manifest before the clean-up"
            run_traced replay --state-path "$STATE"
            ;;
        # The same, and another ingestor has left half a line.
        garbled)
            half_done unlinkat 1
            printf '{"path":"/half/a/line' | tee -a -- "$MANIFESTS"/*/*/*/*/manifest.jsonl >/dev/null
            run_traced replay --state-path "$STATE"
            ;;
        # A compaction of what a run left.
        compact)
            run_plain run --once "${OPTIONS[@]}"
            is_through || problem "the run before failed"
            run_traced journal compact --state-path "$STATE"
            ;;
        *) fail "unknown place $PLACE" ;;
    esac
}

# Looks at everything: what is where, and what the manifests say of it. Whatever was hurt, no line may lie, no line and no
# file may be there twice.
survey() {
    local files sums sha256 path manifest line last
    STAGED=() PUBLISHED=() CONFINED=() IDS=() TORN='' LISTED=0 STAGED_FILES=0 ASIDE_FILES=0
    files=("$STAGING"/* "$WAREHOUSE"/ingest_date=*/* "$ASIDE"/*)
    if [ ${#files[@]} -gt 0 ]; then sums=$(sha256sum -- "${files[@]}") || problem "files came or went: ${files[*]}"; fi
    while read -r sha256 path; do
        case $path in
            '') continue ;;
            "$WAREHOUSE"/*)
                [ -z "${PUBLISHED[$sha256]:-}" ] || problem "twice in the warehouse: ${PUBLISHED[$sha256]} and $path"
                PUBLISHED[$sha256]=$path
                continue
                ;;
            "$ASIDE"/*)
                ASIDE_FILES=$((ASIDE_FILES + 1))
                if [ "$VARIANT" = quarantine ]; then
                    CONFINED[$sha256]=$path
                    continue
                fi
                ;;
            *) STAGED_FILES=$((STAGED_FILES + 1)) ;;
        esac
        STAGED[$sha256]=$path
    done <<<"${sums:-}"
    local -A seen=()
    for manifest in "$MANIFESTS"/*/*/*/*/manifest.jsonl; do
        last=0 line=''
        while IFS= read -r line; do
            if ! [[ $line =~ $LINE_PATTERN ]]; then
                problem "no manifest line: $line"
                continue
            fi
            sha256=${BASH_REMATCH[1]} path=${BASH_REMATCH[2]}
            [ "${PUBLISHED[$sha256]:-}" = "$path" ] || problem "listed, but not at its place: $line"
            [ -z "${seen[$sha256]:-}" ] || problem "listed twice: $line"
            [ "${BASH_REMATCH[3]}" -gt "$last" ] || problem "an id that does not increase: $line"
            [ -z "${IDS[${BASH_REMATCH[3]}]:-}" ] || problem "an id twice: $line"
            seen[$sha256]=1 last=${BASH_REMATCH[3]} LISTED=$((LISTED + 1))
            IDS[last]=1
        done <"$manifest"
        TORN+=$line
    done
}

# Right after the fault: nothing is lost, and what is said is true.
check_after_fault() {
    survey
    local sha256
    for sha256 in "${!CONTENTS[@]}"; do
        [ -n "${STAGED[$sha256]:-}${PUBLISHED[$sha256]:-}" ] || problem "lost right after the fault: $sha256"
    done
    if [ "$VARIANT" = quarantine ] && [ -z "${STAGED[$MALFORMED]:-}${CONFINED[$MALFORMED]:-}" ]; then
        problem "lost right after the fault: the malformed file"
    fi
}

# What must have come of it after a start that nothing disturbed.
check_end() {
    survey
    local sha256 left
    for sha256 in "${!CONTENTS[@]}"; do
        [ -n "${PUBLISHED[$sha256]:-}" ] || problem "not in the warehouse: $sha256"
    done
    [ ${#PUBLISHED[@]} -eq ${#CONTENTS[@]} ] || problem "${#PUBLISHED[@]} files in the warehouse, of ${#CONTENTS[@]} contents"
    [ "$LISTED" -eq ${#CONTENTS[@]} ] || problem "$LISTED manifest lines for ${#CONTENTS[@]} contents"
    [ -z "$TORN" ] || problem "a manifest ends in the middle of a line: $TORN"
    [ "$STAGED_FILES" -eq "$LEFT" ] || problem "$STAGED_FILES files left in staging instead of $LEFT"
    [ "$ASIDE_FILES" -eq "$MOVED" ] || problem "$ASIDE_FILES files moved away instead of $MOVED"
    if [ "$VARIANT" = quarantine ] && [ -z "${CONFINED[$MALFORMED]:-}" ]; then problem "it is not in quarantine"; fi
    for sha256 in "${!STAGED[@]}"; do
        [ -n "${PUBLISHED[$sha256]:-}" ] || problem "left in staging, and no duplicate: ${STAGED[$sha256]}"
    done
    left=("$WAREHOUSE"/.csv-ingestor/*/* "$STATE"/*.tmp "$ASIDE"/.csv-ingestor-* "$STAGING"/.csv-ingestor-*)
    [ ${#left[@]} -eq 0 ] || problem "left over: ${left[*]}"
}

# Everything that a start without anything to do must leave as it is.
photograph() {
    PHOTOGRAPH=$(find "$STAGING" "$WAREHOUSE" "$MANIFESTS" -type f -printf '%p %i %s %T@ %C@\n' &&
        "$INGESTOR" journal inspect --json --state-path "$STATE") || problem "inspect failed"
}

# A start that was killed before the journal had its name leaves none, and replay says so.
must_replay() {
    local segments=("$STATE"/wal-*.log)
    run_plain replay --state-path "$STATE"
    if [ ${#segments[@]} -eq 0 ] && [ "$STATUS" -eq 2 ]; then return; fi
    [ "$STATUS" -eq 0 ] || problem "replay without a fault: exit code $STATUS"
}

must_succeed() {
    run_plain "$@"
    is_through || problem "$1 $2 without a fault: exit code $STATUS"
}

# Starts again, undisturbed, and checks the end; then twice must be as once. Every other time it is replay that finishes
# what was half done, and only then a start takes the rest.
recover_and_check() {
    local before
    if [ $((N % 2)) -eq 0 ]; then must_replay; fi
    must_succeed run --once "${OPTIONS[@]}"
    check_end
    must_succeed journal verify --state-path "$STATE"
    photograph
    before=$PHOTOGRAPH
    [[ $PHOTOGRAPH != *'"state":"'@(DISCOVERED|HASHED|MOVED)'"'* ]] || problem "half done after all"
    must_replay
    must_succeed run --once "${OPTIONS[@]}"
    photograph
    [ "$PHOTOGRAPH" = "$before" ] || problem "another start changed something"
}

# How it ended is one of the ways that are documented. REACHED: whether the fault struck.
judge_ending() {
    REACHED='' TRACE=''
    if [ "$FAULT" = kill ]; then
        case $STATUS in
            137) REACHED=1 ;;
            0 | 6) is_through || problem "exit code $STATUS without a kill" ;;
            *) problem "exit code $STATUS instead of a kill" ;;
        esac
        return
    fi
    read_file "$DIR/trace" TRACE
    # Of the calls that always fail here, only this one counts.
    if [[ $TRACE =~ (^|$'\n'|' ')$CALL\([^$'\n']*INJECTED ]]; then REACHED=1; fi
    if [[ $TRACE =~ $CALL' resumed>'[^$'\n']*INJECTED ]]; then REACHED=1; fi
    if logged panicked; then problem "a panic"; fi
    case $STATUS in
        0) ;;
        # One file did not come in, for the fault or because it is malformed.
        6) [ -n "$REACHED" ] || is_through || problem "exit code 6 without a fault" ;;
        1)
            [ -n "$REACHED" ] || problem "exit code 1 without a fault"
            if [ "$PLACE" != compact ] && [[ $PLACE != @(listing|garbled) ]] && ! logged '"event":"failed"'; then
                problem "exit code 1, and no word about it"
            fi
            ;;
        *) problem "exit code $STATUS" ;;
    esac
    judge_full_disk
}

# A daemon waits for room and goes on by itself. Only where a sync says that there is none is it too late for that: what
# was written before may be lost, and the next start has to look.
judge_full_disk() {
    if [ "$FAULT" != ENOSPC ] || [ -z "$REACHED" ]; then return; fi
    case $PLACE/$CALL in
        */fsync | */fdatasync | */syncfs) ;;
        commit/* | hash-0/*)
            # What promises nothing may be left out without a word: a mark in the journal (a frame of another kind than the
            # first), and that the copy of a duplicate goes at once.
            if [[ $TRACE =~ (CSVF\\1\\[^1]|\.copy\",\ 0\))[^$'\n']*INJECTED ]]; then return; fi
            [ "$STATUS" -eq 0 ] || problem "a full disk ended the daemon: exit code $STATUS"
            # A file that finds no room in quarantine stays, and waits for nobody.
            if ! logged '"event":"disk_full"' && ! logged 'not moved to quarantine'; then problem "a full disk, and no word about it"; fi
            ;;
    esac
}

# One case, named as for --case. True if it is as it must be; then nothing is left of it.
try_case() {
    begin_case "$1"
    run_into_fault
    judge_ending
    check_after_fault
    recover_and_check
    [ ${#PROBLEMS[@]} -eq 0 ] || return 1
    end_case
}
