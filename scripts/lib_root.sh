# shellcheck shell=bash
# A copy of this machine's file system that can be thrown away, for scripts that install something: what is written goes
# to memory, and nothing of it is left. Sourced after lib.sh.

COPY='' COPY_MOUNTS=()

# Makes the copy: $COPY. The data of the services in it lies on a real disk, $COPY_DATA, which it has as /srv: leases and
# renames are to be seen as they are there.
copy_this_machine() {
    [ "$(id -u)" -eq 0 ] || skip "it takes root"
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

# Runs a program of the copy in it: behind --as-pid2, as a process beside others; with --boot, below a systemd of its own.
# The arguments are systemd-nspawn's.
run_in_copy() {
    command -v systemd-nspawn >/dev/null || skip "systemd-nspawn is not installed (Debian: systemd-container)"
    # A network of its own, without a way out. Not registered anywhere: a systemd outside is not needed.
    systemd-nspawn --quiet --directory="$COPY" --bind="$COPY_DATA:/srv" --private-network \
        --machine="csv-ingestor-$$" --link-journal=no --register=no --keep-unit "$@" </dev/null
}
