# MySQL's protocol: MariaDB from the packages of Debian or Ubuntu, with data of its own and without a service.
# Sourced by `scripts/stores`; does nothing by itself.
#
# Everybody on this machine may log in as opensips with the password opensipsrw, and use the database opensips. It writes
# to the disk once a second, so that its data survive a kill but no loss of power.
# shellcheck shell=bash

MYSQL_PORT=${MYSQL_PORT:-13406}
# Read by scripts/stores.
# shellcheck disable=SC2034
mysql_ports=("$MYSQL_PORT") mysql_patience_s=60
MYSQL_FOLDER=$SIPFED_STORES_DATA/mysql
# Where the server is, and where the PATH of a user may not lead.
PATH=$PATH:/usr/sbin

mysql_install() {
    local program missing=false
    for program in mariadbd mariadb-install-db mariadb; do
        command -v "$program" >/dev/null || missing=true
    done
    $missing || return 0
    # The core packages are the programs alone; the others bring a service, which starts at the usual port.
    (install_packages mariadb-server-core mariadb-client-core) || install_packages mariadb-server mariadb-client
}

mysql_url() {
    printf 'mysql://opensips:opensipsrw@127.0.0.1:%s/opensips\n' "$MYSQL_PORT"
}

mysql_settings() {
    printf 'url=%s\n' "$(own_url mysql)"
}

mysql_run() {
    local data=$MYSQL_FOLDER/data user=() host
    # It does not run as root unless it is told that this is meant.
    [[ $(id -u) -ne 0 ]] || user=(--user=root)
    if [[ ! -d $data ]]; then
        rm -rf "$data.new"
        mariadb-install-db --no-defaults "${user[@]}" --datadir="$data.new" --auth-root-authentication-method=normal \
            --skip-test-db >"$MYSQL_FOLDER/log" 2>&1 || {
            tail -n 30 "$MYSQL_FOLDER/log" >&2
            die "MariaDB could not make its own tables ($data)"
        }
        mv "$data.new" "$data"
    fi
    {
        printf 'CREATE DATABASE IF NOT EXISTS opensips;\n'
        for host in localhost 127.0.0.1; do
            printf "CREATE USER IF NOT EXISTS opensips@%s IDENTIFIED BY 'opensipsrw';\n" "$host"
            printf 'GRANT ALL ON *.* TO opensips@%s;\n' "$host"
        done
    } >"$MYSQL_FOLDER/init.sql"
    # The socket's name is relative to the data: a path to it may be longer than a name of a socket can be.
    launch mysql "$(command -v mariadbd)" --no-defaults "${user[@]}" --datadir="$data" --socket=socket \
        --pid-file="$MYSQL_FOLDER/mariadbd.pid" --bind-address=127.0.0.1 --port="$MYSQL_PORT" --skip-name-resolve \
        --init-file="$MYSQL_FOLDER/init.sql" --character-set-server=utf8mb4 --max-connections=500 \
        --innodb-flush-log-at-trx-commit=2 --innodb-buffer-pool-size=32M
}

# The user can log in, and the database is there.
mysql_answers() {
    MYSQL_PWD=opensipsrw mariadb --no-defaults --protocol=tcp --host=127.0.0.1 --port="$MYSQL_PORT" --user=opensips \
        --connect-timeout=5 --execute='SELECT 1' opensips >/dev/null 2>&1
}
