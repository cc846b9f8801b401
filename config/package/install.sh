#!/bin/sh
# Installs cbs-backupd from this folder, for machines that take no Debian package. Running it again is an upgrade: a daemon
# that runs is restarted, and the configuration is left as it is.
#
#   ./install.sh [--prefix DIR]        default: /usr/local
#   ./install.sh --uninstall [--prefix DIR]
#
# With DESTDIR set, the files go under that folder and systemd is not spoken to: for building a package or an image.
# --uninstall leaves the configuration and the journal.
set -eu

usage() {
    sed -n '2,/^set/{s/^# \{0,1\}//p}' "$0"
    exit "$1"
}

prefix=/usr/local
remove=false
while [ $# -gt 0 ]; do
    case $1 in
    --prefix) [ $# -ge 2 ] || usage 2 >&2; prefix=$2; shift ;;
    --prefix=*) prefix=${1#*=} ;;
    --uninstall) remove=true ;;
    --help) usage 0 ;;
    *) usage 2 >&2 ;;
    esac
    shift
done
case $prefix in
/*) ;;
*) echo "--prefix $prefix: expected an absolute path" >&2; exit 2 ;;
esac
root=${DESTDIR-}
here=$(cd "$(dirname "$0")" && pwd)
units=/etc/systemd/system
live=false
if [ -z "$root" ] && [ -d /run/systemd/system ]; then live=true; fi

running() {
    systemctl list-units --full --plain --no-legend --state=active cbs-backupd.service 'cbs-backupd@*.service' | cut -d' ' -f1
}

# Every file of share/ by its path, since other programs have theirs in the same folders.
files=$(cd "$here/share" && find . -type f | sed 's|^\./||' | sort)

if $remove; then
    if $live; then
        # shellcheck disable=SC2046
        for unit in $(running); do systemctl stop "$unit"; done
        systemctl disable cbs-backupd.service >/dev/null 2>&1 || true
        for link in "$units"/*.wants/cbs-backupd@*.service; do rm -f "$link"; done
    fi
    rm -f "$root$units/cbs-backupd.service" "$root$units/cbs-backupd@.service" "$root$prefix/bin/cbs-backupd"
    echo "$files" | while read -r file; do rm -f "$root$prefix/share/$file"; done
    for folder in doc/cbs-backupd/examples/cam doc/cbs-backupd/examples doc/cbs-backupd \
        cbs-backupd/prometheus cbs-backupd/grafana cbs-backupd; do
        rmdir "$root$prefix/share/$folder" 2>/dev/null || true
    done
    if $live; then systemctl daemon-reload; fi
    echo "removed; the configuration in /etc/cbs-backupd and the journal in /var/lib/cbs-backupd are left"
    exit 0
fi

# A running program's file cannot be written to, but another can take its place.
install -D -m 755 "$here/cbs-backupd" "$root$prefix/bin/.cbs-backupd.new"
mv "$root$prefix/bin/.cbs-backupd.new" "$root$prefix/bin/cbs-backupd"
echo "$files" | while read -r file; do install -D -m 644 "$here/share/$file" "$root$prefix/share/$file"; done
for unit in cbs-backupd.service cbs-backupd@.service; do
    mkdir -p "$root$units"
    sed "s|/usr/bin/cbs-backupd|$prefix/bin/cbs-backupd|" "$here/systemd/$unit" >"$root$units/$unit"
    chmod 644 "$root$units/$unit"
done
if [ ! -e "$root/etc/cbs-backupd/config.yaml" ]; then
    install -D -m 644 "$here/config.yaml" "$root/etc/cbs-backupd/config.yaml"
fi
if $live; then
    systemctl daemon-reload
    for unit in $(running); do systemctl restart "$unit"; done
fi
echo "installed; next: edit /etc/cbs-backupd/config.yaml, then systemctl enable --now cbs-backupd"
