#!/bin/sh
# TeraFerry installer file: this script, then the packed program, its digest list and a root.
#
# Run it with `sh FILE ARGUMENTS`: a medium is mounted noexec, so the shell reads the file and
# nothing on the medium is ever executed. The script
#   1. checks that it is root, and that processor, glibc and tools are there;
#   2. finds a directory that only root can change and where programs may run;
#   3. if the program is not there yet: copies it off the medium, checks the copy's SHA-256,
#      unpacks the copy under another name, checks every file, and renames it into place;
#   4. if it is there: checks every file again, on every start, against the digest list whose
#      own SHA-256 stands below;
#   5. starts it.
# A power cut or `kill -9` at any point leaves a part that the next start removes. All of this
# happens under a lock that the kernel drops with the process, so two starts at once are safe.
#
# These checks find damage and half-done work. They cannot tell who made the file: that is
# what SHA256SUMS and its signatures are for (START-HERE.html), before the first start.

set -u
umask 077
# Libraries of a program that started us must not be loaded by our tools.
unset LD_LIBRARY_PATH LD_LIBRARY_PATH_ORIG LD_PRELOAD LD_AUDIT CDPATH
# Nor may an older installer that handed over to us be taken for the same program by the new one.
unset _PYI_ARCHIVE_FILE _PYI_APPLICATION_HOME_DIR _PYI_PARENT_PROCESS_LEVEL _PYI_LINUX_PROCESS_NAME
PATH=${PATH:-/bin}:/usr/sbin:/usr/bin:/sbin:/bin

VERSION='@VERSION@'
MACHINE='@MACHINE@'
GLIBC='@GLIBC@'
STUB_BYTES=@STUB_BYTES@
PACKED_BYTES=@PACKED_BYTES@
PACKED_SHA256=@PACKED_SHA256@
LIST_BYTES=@LIST_BYTES@
LIST_SHA256=@LIST_SHA256@
ROOT_BYTES=@ROOT_BYTES@
UNPACKED_BYTES=@UNPACKED_BYTES@

PROGRAM=teraferry-installer
LIST=SHA256SUMS
ROOT=root.json

json=
quiet=
part=

# Paths come from outside: what a terminal would obey instead of show is replaced.
shown() {
    printf '%s' "$1" | LC_ALL=C tr -c '\040-\176' '?'
}

say() {
    [ -n "$quiet" ] || printf '%s: %s\n' "$PROGRAM" "$(shown "$1")" >&2
}

# refuse STATUS REFERENCE WHAT-HAPPENED WHAT-TO-DO
refuse() {
    verdict=REFUSED
    [ "$1" != 11 ] || verdict=FAILED
    {
        printf '%s: %s\n' "$PROGRAM" "$verdict"
        printf '  what happened: %s\n' "$(shown "$3")"
        printf '  what to do:    %s\n' "$(shown "$4")"
        printf '  reference:     %s, exit status %s\n' "$2" "$1"
    } >&2
    if [ -n "$json" ]; then
        printf '{"event": "result", "command": "start", "status": %s, "reference": "%s", "message": "%s", "hint": "%s"}\n' \
            "$1" "$2" "$(shown "$3" | sed 's/[\\"]/\\&/g')" "$(shown "$4" | sed 's/[\\"]/\\&/g')"
    fi
    [ -z "$part" ] || rm -rf -- "$part"
    exit "$1"
}

read_options() {
    for argument; do
        case $argument in
            --) return 0 ;;
            --json) json=yes ;;
            --quiet) quiet=yes ;;
        esac
    done
}

require_machine() {
    found=$(uname -m)
    [ "$found" = "$MACHINE" ] || refuse 2 installer-wrong-processor \
        "processor of this machine: $found, expected $MACHINE" \
        "Use a machine with a $MACHINE processor, or ask your supplier for the installer for $found."
}

require_glibc() {
    found=$(getconf GNU_LIBC_VERSION 2>/dev/null) || found=$(ldd --version 2>/dev/null | head -n 1)
    found=${found##* }
    major=${found%%.*}
    minor=${found#*.}
    minor=${minor%%.*}
    case $major:$minor in
        :* | *: | *[!0-9:]*)
            refuse 2 installer-needs-glibc \
                "C library of this machine: not a GNU C library that tells its version, expected glibc $GLIBC or newer" \
                "Use a machine with glibc $GLIBC or newer, or ask your supplier for an installer built for an older system."
            ;;
    esac
    [ $((major * 1000 + minor)) -ge $((${GLIBC%%.*} * 1000 + ${GLIBC#*.})) ] || refuse 2 installer-needs-glibc \
        "C library of this machine: glibc $found, expected glibc $GLIBC or newer" \
        "Use a machine with glibc $GLIBC or newer, or ask your supplier for an installer built for glibc $found."
}

require_tools() {
    for tool in find flock gzip head id ls mkdir mv rm sed sha256sum sort tail tar tr; do
        command -v "$tool" >/dev/null 2>&1 || refuse 2 installer-tool-missing \
            "tool $tool: not found in PATH, expected a POSIX system with $tool" \
            "Install $tool (coreutils, findutils, gzip, tar, util-linux; or busybox), then type the same command again."
    done
}

require_root() {
    [ "$(id -u)" = 0 ] || refuse 2 installer-not-root \
        "user: $(id -u), expected root (0)" \
        "Type it with sudo: sudo DEPLOYMENT_TIER=... sh $0 ..."
}

# only_root_changes DIRECTORY [sticky]: a directory of root's that nobody else can write in.
# Where others may only add names (a sticky /tmp), they cannot replace root's.
only_root_changes() {
    may_be=${2:-}
    # shellcheck disable=SC2046 # split into fields on purpose: mode, links, owner, ...
    set -- $(LC_ALL=C ls -ldn -- "$1")
    [ "${3:-}" = 0 ] || return 1
    case $1 in
        d????????[tT]*) [ -n "$may_be" ] ;;
        d????w* | d???????w*) return 1 ;;
        d*) return 0 ;;
        *) return 1 ;;
    esac
}

# usable_home DIRECTORY: print its real path; or print what is wrong with it and return 1.
usable_home() {
    case $1 in
        /*) ;;
        *) echo "is not an absolute path"; return 1 ;;
    esac
    [ ! -L "$1" ] || { echo "is a symbolic link"; return 1; }
    mkdir -p -- "$1" 2>/dev/null || { echo "cannot be made"; return 1; }
    real=$(cd -P -- "$1" && pwd -P) || { echo "cannot be entered"; return 1; }
    only_root_changes "$real" || { echo "is not a directory that only root can change"; return 1; }
    above=$real
    while [ "$above" != / ]; do
        above=${above%/*}
        above=${above:-/}
        only_root_changes "$above" sticky || { echo "lies in $above, which others than root can change"; return 1; }
    done
    probe=$real/.probe.$$
    { printf '#!/bin/sh\nexit 7\n' >"$probe" && chmod 700 "$probe"; } 2>/dev/null || {
        rm -f -- "$probe"
        echo "cannot be written to"
        return 1
    }
    "$probe" 2>/dev/null
    ran=$?
    rm -f -- "$probe"
    [ "$ran" = 7 ] || { echo "may not execute programs (mounted noexec)"; return 1; }
    printf '%s\n' "$real"
}

find_home() {
    if [ -n "${TERAFERRY_HOME:-}" ]; then
        set -- "$TERAFERRY_HOME"
    else
        set -- /var/lib/teraferry/installer /opt/teraferry /usr/local/lib/teraferry
    fi
    faults=
    for candidate; do
        if home=$(usable_home "$candidate"); then
            return 0
        fi
        faults="$faults$candidate $home; "
    done
    refuse 2 installer-no-directory \
        "directory for the program: ${faults%; }, expected one that only root can change and that may execute programs" \
        "Make such a directory and name it: sudo TERAFERRY_HOME=/path/of/it sh $0 ..."
}

# tree_state DIRECTORY: print "intact" if it is exactly what the digest list says, else what differs.
# Only that word counts: a check that was killed half-way has said nothing.
tree_state() (
    if [ -L "$1" ] || [ ! -d "$1" ]; then
        echo "it is not a directory"
        return
    fi
    cd -P -- "$1" || return
    # shellcheck disable=SC2046 # split into fields on purpose: mode, links, owner, ...
    set -- $(LC_ALL=C ls -ldn .)
    case "$1 $3" in
        "drwx------ 0" | "drwx------. 0") ;;
        *) echo "others than root may enter it"; return ;;
    esac
    if [ -L "$LIST" ] || ! printf '%s  %s\n' "$LIST_SHA256" "$LIST" | sha256sum -c >/dev/null 2>&1; then
        echo "$LIST differs"
        return
    fi
    # A link would pass by what it points to now, and could point elsewhere a moment later.
    there=$(find . -type f ! -path "./$LIST" -print -o ! -type d ! -type f -exec echo "no file: {}" \; | LC_ALL=C sort)
    if [ "$there" != "$(sed 's/^.\{66\}/.\//' "$LIST")" ]; then
        echo "files were added, removed or replaced by links"
        return
    fi
    # openssl uses the processor's SHA instructions and is five times as fast as most sha256sum;
    # what it does not confirm, or where it is not there, sha256sum decides.
    quick=$(sed 's/^.\{66\}//' "$LIST" | xargs openssl dgst -sha256 -r 2>/dev/null | sed 's/ \*/  /')
    if [ "$quick" = "$(cat "$LIST")" ]; then
        echo intact
    elif checked=$(LC_ALL=C sha256sum -c "$LIST" 2>/dev/null); then
        echo intact
    else
        checked=$(printf '%s\n' "$checked" | sed -n '/: OK$/!{s/: .*//;p;q;}')
        echo "${checked:-a file} differs"
    fi
)

# section NAME OFFSET BYTES SHA256: copy one section of the installer file, then check the copy.
section() {
    tail -c "+$(($2 + 1))" <"$installer" 2>/dev/null | head -c "$3" 2>/dev/null >"$part/$1" || no_space
    if ! (cd "$part" && printf '%s  %s\n' "$4" "$1" | sha256sum -c >/dev/null 2>&1); then
        cat <"$installer" >/dev/null 2>&1 || refuse 11 medium-unreadable \
            "installer file $installer: cannot be read to its end, expected a readable file" \
            "Try the medium in another port, or ask for a new copy of the kit."
        refuse 10 installer-damaged \
            "installer file $installer: its $1 differs or is cut short, expected SHA-256 $4" \
            "Check it: sha256sum -c SHA256SUMS beside it. Then copy it again, or ask for a new copy of the kit."
    fi
}

no_space() {
    refuse 44 installer-no-space \
        "directory $home: the program cannot be written, expected room for $((UNPACKED_BYTES + PACKED_BYTES)) bytes" \
        "Free that much there, or name another directory: sudo TERAFERRY_HOME=/path/of/it sh $0 ..."
}

unpack() {
    say "unpacking version $VERSION into $home, once ($((UNPACKED_BYTES / 1048576)) MiB)"
    part=$home/.part.$$
    trap 'rm -rf -- "$part"; exit 43' HUP INT TERM
    { mkdir -- "$part" && mkdir -- "$part/tree"; } 2>/dev/null || no_space
    section program "$STUB_BYTES" "$PACKED_BYTES" "$PACKED_SHA256"
    section "tree/$LIST" $((STUB_BYTES + PACKED_BYTES)) "$LIST_BYTES" "$LIST_SHA256"
    # The list names the root's digest too; it is checked with every other file.
    tail -c "+$((STUB_BYTES + PACKED_BYTES + LIST_BYTES + 1))" <"$installer" 2>/dev/null |
        head -c "$ROOT_BYTES" 2>/dev/null >"$part/tree/$ROOT" || no_space
    gzip -dc <"$part/program" | tar -xf - -C "$part/tree" || no_space
    state=$(tree_state "$part/tree")
    if [ "$state" != intact ]; then
        refuse 10 installer-damaged \
            "installer file $installer: after unpacking, ${state:-it could not be checked}, expected what its digest list says" \
            "Check it: sha256sum -c SHA256SUMS beside it. Then copy it again, or ask for a new copy of the kit."
    fi
    "$part/tree/$PROGRAM" --help >/dev/null 2>"$part/said" </dev/null || refuse 2 installer-cannot-run \
        "program in $home: it does not start here: $(head -n 1 "$part/said"), expected a $MACHINE Linux with glibc $GLIBC" \
        "Show this line to your supplier; another machine of the site may do as well."
    mv -- "$part/tree" "$tree" || no_space
    rm -rf -- "$part"
    part=
    trap - HUP INT TERM
}

open_tree() {
    tree=$home/$(printf '%.32s' "$LIST_SHA256")
    exec 9>"$home/.lock"
    flock -n 9 || {
        say "waiting for another start of the installer"
        flock 9
    }
    # The lock is ours, so every part here belongs to a start that was cut off.
    for left in "$home"/.part.*; do
        [ ! -e "$left" ] || rm -rf -- "$left"
    done
    if [ -e "$tree" ] || [ -L "$tree" ]; then
        state=$(tree_state "$tree")
        [ "$state" != intact ] || return 0
        say "the unpacked program in $tree was changed (${state:-it could not be checked}): it is replaced from $installer"
        rm -rf -- "$tree"
    fi
    unpack
}

main() {
    read_options "$@"
    case $0 in
        /*) installer=$0 ;;
        *) installer=$PWD/$0 ;;
    esac
    [ -f "$installer" ] || refuse 2 installer-file-unknown \
        "installer file $0: not found from here, expected a path" \
        "Type its whole path: sh /path/of/teraferry-installer ..."
    require_tools
    require_root
    require_machine
    require_glibc
    find_home
    open_tree
    exec 9>&-
    TERAFERRY_INSTALLER_FILE=$installer
    TERAFERRY_EMBEDDED_ROOT=$tree/$ROOT
    export TERAFERRY_INSTALLER_FILE TERAFERRY_EMBEDDED_ROOT
    exec "$tree/$PROGRAM" "$@"
}

# The shell has read the whole script before its first step; a torn copy does nothing.
main "$@"
exit 1
