#!/bin/sh
# tree.sh TREE SOURCE: fill TREE with what the image holds; runs in the Containerfile's first stage.
#
# Debian's packages are unpacked and not installed, so that nothing needs mounts or privileges, and no maintainer script
# leaves this machine's name or resolver behind. Their names stay in /var/lib/dpkg/status.d, where scanners look.
set -eu
tree=$1 source=$2
home=/opt/credit-monitor
python=$(python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')

# Wanted by maintainer scripts alone, which do not run here.
is_left_out() {
    case "$1" in
        perl-base | debconf* | cdebconf | dpkg | tar | mawk | coreutils | adduser | passwd | login* | sensible-utils) true ;;
        init-system-helpers | mailcap | readline-common | libreadline* | gcc-*-base | libgmp10 | libattr1 | libacl1) true ;;
        libselinux1 | libpcre2-8-0 | libmd0 | libpam* | libsystemd0 | libdebconfclient0 | libaudit* | libcap-ng0) true ;;
        libsemanage* | libsepol*) true ;;
        *) false ;;
    esac
}

unpack_debian() {
    mkdir -p "$tree" /debs/partial "$tree/var/lib/dpkg/status.d"
    for name in bin sbin lib lib64; do
        mkdir -p "$tree/usr/$name"
        ln -s "usr/$name" "$tree/$name"
    done
    : >/debs/nothing-installed
    apt-get install -qq -y --no-install-recommends --download-only \
        -o Dir::State::status=/debs/nothing-installed -o Dir::Cache::archives=/debs \
        base-files netbase python3 ca-certificates tzdata >/dev/null
    for deb in /debs/*.deb; do
        name=$(dpkg-deb -f "$deb" Package)
        if is_left_out "$name"; then continue; fi
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$tree" --keep-directory-symlink --no-same-owner \
            --exclude='./usr/share/man*' --exclude='./usr/share/locale*' --exclude='./usr/share/info*' \
            --exclude='./usr/share/lintian*' --exclude='./usr/share/bug*' --exclude='./usr/share/doc-base*'
        dpkg-deb -f "$deb" >"$tree/var/lib/dpkg/status.d/$name"
    done
    find "$tree/usr/share/doc" -type f ! -name copyright -delete
    find "$tree/usr/share/doc" -depth -type d -empty -delete
    rm -rf "$tree"/usr/share/zoneinfo/right "$tree"/usr/share/zoneinfo/posix
    (cd "$tree/usr/lib/$python" && rm -rf lib2to3 pydoc_data ensurepip idlelib turtledemo)
}

# What maintainer scripts would have made.
set_up() {
    mkdir -p "$tree/etc/ssl/certs" "$tree/tmp" "$tree/run" "$tree/var/lib/credit-monitor" "$tree/etc/credit-monitor"
    cat "$tree"/usr/share/ca-certificates/mozilla/*.crt >"$tree/etc/ssl/certs/ca-certificates.crt"
    {
        echo 'root:x:0:0:root:/root:/usr/sbin/nologin'
        echo 'credit-monitor:x:65532:0::/var/lib/credit-monitor:/usr/sbin/nologin'
    } >"$tree/etc/passwd"
    echo 'root:x:0:' >"$tree/etc/group"
    echo 'hosts: files dns' >"$tree/etc/nsswitch.conf"
}

pip() {
    env -i PATH="$PATH" ${SSL_CERT_FILE:+SSL_CERT_FILE="$SSL_CERT_FILE"} /opt/pip/bin/pip --quiet --isolated \
        --no-cache-dir --disable-pip-version-check --python "$home/bin/python" "$@"
}

install_daemon() {
    python3 -m venv /opt/pip
    python3 -m venv --without-pip "$home"
    if ls "$source"/dist/image/*.whl >/dev/null 2>&1; then
        pip install --no-index --no-compile --find-links "$source/dist/image" -c "$source/constraints.txt" \
            'credit-monitor[postgres]'
    else
        pip install --no-compile -c "$source/constraints.txt" "$source[postgres]"
    fi
    find "$home" -name '*.so*' -exec strip --strip-unneeded {} +
    find "$home/bin" -type f ! -name credit-monitor -delete
    mkdir -p "$tree/opt"
    mv "$home" "$tree$home"
}

# Bytecode, owners, modes, times: the same layer for the same content.
finish() {
    find "$tree" -name __pycache__ -type d -prune -exec rm -rf {} +
    python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$tree" -p / \
        "$tree/usr/lib/$python" "$tree$home/lib" >/dev/null || true # a library's file for another Python
    rm -f "$tree"/usr/bin/sh "$tree"/usr/bin/dash "$tree"/usr/bin/bash
    chown -R 0:0 "$tree"
    chmod -R ug-s,o-w "$tree"
    chown 65532:0 "$tree/var/lib/credit-monitor"
    chmod 0770 "$tree/var/lib/credit-monitor"
    chmod 1777 "$tree/tmp"
    find "$tree" -xdev -exec touch -h -d '2020-02-02 00:00:00 UTC' {} +
}

unpack_debian
set_up
install_daemon
finish
