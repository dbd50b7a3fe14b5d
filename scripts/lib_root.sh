# shellcheck shell=bash
# A temporary copy of this machine's file system, for scripts that install something: changes go to memory and are
# discarded. Sourced after lib.sh.

COPY='' COPY_MOUNTS=()

# Makes the copy: $COPY. The data of its services is on a real disk, in $COPY_DATA, which is /srv in the copy: leases
# and renames must behave as they do there.
copy_this_machine() {
    [ "$(id -u)" -eq 0 ] || skip "it needs root"
    local layers=$WORK/layers
    mkdir -p "$layers" "$WORK/data"
    mount -t tmpfs -o mode=755 tmpfs "$layers" || skip "nothing can be mounted here"
    COPY_MOUNTS=("$layers")
    mkdir "$layers/upper" "$layers/work" "$layers/root"
    mount -t overlay -o "lowerdir=/,upperdir=$layers/upper,workdir=$layers/work" overlay "$layers/root" ||
        skip "this kernel has no overlay file system"
    COPY=$layers/root
    COPY_MOUNTS=("$COPY" "$layers")
    COPY_DATA=$WORK/data
}

# shellcheck disable=SC2317 # lib.sh calls it
clean_up_more() {
    local mounted
    for mounted in "${COPY_MOUNTS[@]}"; do umount -- "$mounted" || umount -l -- "$mounted" || true; done
}

# Runs a program of the copy in it: with --as-pid2, as a process beside others; with --boot, below a systemd of its own.
# The arguments are systemd-nspawn's.
run_in_copy() {
    command -v systemd-nspawn >/dev/null || skip "systemd-nspawn is not installed (Debian: systemd-container)"
    # In its own network, without a connection. Not registered: a systemd outside is not needed.
    systemd-nspawn --quiet --directory="$COPY" --bind="$COPY_DATA:/srv" --private-network \
        --machine="csv-ingestor-$$" --link-journal=no --register=no --keep-unit "$@" </dev/null
}
