#!/usr/bin/env bash
# Programs for the tests that come from the system: those of scp: and rsync:, Slurm, Open MPI, a browser, Node. As root on Debian and its like:
# installs what is missing. Elsewhere: says what will be skipped. Starts no service.
set -euo pipefail

declare -A package_of=(
    [scp]=openssh-client
    [sftp]=openssh-client
    [ssh-keygen]=openssh-client
    [sshd]=openssh-server
    [rsync]=rsync
    [slurmctld]=slurmctld
    [slurmd]=slurmd
    [sbatch]=slurm-client
    [mpiexec.openmpi]=openmpi-bin
    [chromium]=chromium
    [node]=nodejs
    [npm]=npm
)

# Daemons lie in a directory that few people have on their PATH.
has() { PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$1" > /dev/null; }

packages=()
for program in "${!package_of[@]}"; do
    has "$program" || packages+=("${package_of[$program]}")
done
[ ${#packages[@]} -gt 0 ] || exit 0
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)

skipped="the tests that need them (copies over SSH, Slurm, Open MPI, the web page, Node) will be skipped"
if ! command -v apt-get > /dev/null; then
    echo "Not installed: ${packages[*]} (or what this system calls them); $skipped."
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "Not installed: ${packages[*]}; $skipped. To have them: apt-get install ${packages[*]}"
    exit 0
fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
ours=
cleanup() { rm -f "$log" ${ours:+"$policy"}; }
trap cleanup EXIT

# Packages start their services as they are installed, unless this forbids it.
if [ ! -e "$policy" ]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${packages[@]}" > "$log" 2>&1
}

echo "Installing ${packages[*]} for the tests ..."
# The lists of packages may be missing, or too old to name what is there now.
if ! install && ! { apt-get update > "$log" 2>&1 && install; }; then
    tail -n 3 "$log" >&2
    echo "Not installed: ${packages[*]}; $skipped."
    exit 0
fi
# A server that was not here before does not come up at the next start either.
disable() {
    if [[ " ${packages[*]} " == *" $1 "* ]] && command -v systemctl > /dev/null; then
        systemctl disable --quiet "${@:2}" > /dev/null 2>&1 || true
    fi
}
disable openssh-server ssh.service ssh.socket
disable slurmctld slurmctld.service
disable slurmd slurmd.service
