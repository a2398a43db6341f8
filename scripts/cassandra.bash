# Apache Cassandra, one node, from its Maven artifacts.
# Sourced by `scripts/stores`; does nothing by itself.
#
# CASSANDRA_HEAP      how large its heap may become; 1G
# CASSANDRA_JVM_ARGS  more arguments of Java. The default compiles quickly and not well: the node is up in seconds, and its
#                     speed does not change while a test runs. Set it to nothing for load tests, and warm it up
# CASSANDRA_AUTH      `password` for clients that log in; the first one as cassandra, with the password cassandra
# CASSANDRA_TLS       a folder: clients speak TLS, and what they need is in its ca.pem. Authority, certificate and key are
#                     made there where they are missing
#
# It flushes its log every ten seconds and its own tables never, so that its data survive a kill but no loss of power.
# shellcheck shell=bash

CASSANDRA_VERSION=5.0.9
CASSANDRA_PORT=${CASSANDRA_PORT:-19242}
CASSANDRA_STORAGE_PORT=${CASSANDRA_STORAGE_PORT:-17200}
CASSANDRA_HEAP=${CASSANDRA_HEAP:-1G}
CASSANDRA_JVM_ARGS=${CASSANDRA_JVM_ARGS--XX:TieredStopAtLevel=1}
CASSANDRA_AUTH=${CASSANDRA_AUTH:-}
CASSANDRA_TLS=${CASSANDRA_TLS:+$(realpath -m -- "$CASSANDRA_TLS")}

# Read by scripts/stores.
# shellcheck disable=SC2034
cassandra_ports=("$CASSANDRA_PORT" "$CASSANDRA_STORAGE_PORT") cassandra_patience_s=180
CASSANDRA_JARS=$PROGRAMS/cassandra-$CASSANDRA_VERSION
CASSANDRA_FOLDER=$SIPFED_STORES_DATA/cassandra

# java_fits PROGRAM: Cassandra 5.0 runs on Java 11 and 17, and refuses others.
java_fits() {
    command -v "$1" >/dev/null && "$1" -version 2>&1 | grep -qE '^[^ ]+ version "(11|17)[."]'
}

# find_java sets `java`; fails when there is none that fits.
find_java() {
    for java in "${JAVA_HOME:+$JAVA_HOME/bin/java}" java /usr/lib/jvm/*/bin/java; do
        if [[ -n $java ]] && java_fits "$java"; then
            return 0
        fi
    done
    return 1
}

cassandra_install() {
    [[ $CASSANDRA_AUTH == "" || $CASSANDRA_AUTH == password ]] || die "CASSANDRA_AUTH is either empty or: password"
    if ! find_java; then
        (install_packages openjdk-17-jre-headless) || die "Cassandra needs Java 17 or 11, and there is no package of it here"
        find_java || die "Cassandra needs Java 17 or 11, and it was not found after its installation"
    fi
    [[ -z $CASSANDRA_TLS ]] || install_missing openssl:openssl
    [[ ! -d $CASSANDRA_JARS ]] || return 0
    install_missing mvn:maven
    say "getting Cassandra $CASSANDRA_VERSION (Maven, once)"
    work=$(mktemp -d "$PROGRAMS/installing.XXXXXX")
    cat >"$work/pom.xml" <<POM
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>sipfed</groupId>
  <artifactId>stores</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.cassandra</groupId>
      <artifactId>cassandra-all</artifactId>
      <version>$CASSANDRA_VERSION</version>
    </dependency>
  </dependencies>
</project>
POM
    mvn --batch-mode --quiet --strict-checksums --file "$work/pom.xml" \
        org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$work/jars" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        die "Maven could not get Cassandra $CASSANDRA_VERSION"
    }
    mv "$work/jars" "$CASSANDRA_JARS"
    rm -rf "$work"
    work=
}

cassandra_settings() {
    printf 'url=%s\nCASSANDRA_AUTH=%s\nCASSANDRA_TLS=%s\n' "$(own_url cassandra)" "$CASSANDRA_AUTH" "$CASSANDRA_TLS"
}

# The authority and the node's certificate for 127.0.0.1 and localhost, made once.
cassandra_certificates() {
    local tls=$CASSANDRA_TLS new
    [[ ! -f $tls/node.p12 ]] || return 0
    mkdir -p "$tls"
    new=$(mktemp -d "$tls/new.XXXXXX")
    printf '%s\n' 'subjectAltName=IP:127.0.0.1,DNS:localhost' 'extendedKeyUsage=serverAuth' >"$new/node.ext"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650 -subj '/CN=sipfed test authority' \
        -addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout "$new/ca.key" -out "$new/ca.pem" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj '/CN=localhost' \
        -keyout "$new/node.key" -out "$new/node.csr" 2>/dev/null
    openssl x509 -req -in "$new/node.csr" -CA "$new/ca.pem" -CAkey "$new/ca.key" -CAcreateserial -days 3650 \
        -extfile "$new/node.ext" -out "$new/node.pem" 2>/dev/null
    openssl pkcs12 -export -in "$new/node.pem" -inkey "$new/node.key" -certfile "$new/ca.pem" -name node \
        -passout pass:sipfed -out "$new/node.p12"
    # The last one says that all are there.
    mv -f "$new"/{ca.key,ca.pem,node.key,node.pem} "$tls"
    mv -f "$new/node.p12" "$tls"
    rm -rf "$new"
}

cassandra_write_configuration() {
    local authenticator=AllowAllAuthenticator
    [[ $CASSANDRA_AUTH != password ]] || authenticator=PasswordAuthenticator
    # One that was killed leaves unpacked libraries behind.
    rm -rf "$CASSANDRA_FOLDER/tmp"
    mkdir -p "$CASSANDRA_FOLDER/tmp"
    {
        cat <<YAML
cluster_name: sipfed
listen_address: 127.0.0.1
storage_port: $CASSANDRA_STORAGE_PORT
rpc_address: 127.0.0.1
native_transport_port: $CASSANDRA_PORT
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "127.0.0.1:$CASSANDRA_STORAGE_PORT"
endpoint_snitch: SimpleSnitch
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
# Alone, it owns the whole ring: nothing is to be handed over or waited for.
auto_bootstrap: false
num_tokens: 1
initial_token: 0
hinted_handoff_enabled: false
authenticator: $authenticator
data_file_directories:
  - "$CASSANDRA_FOLDER/data"
commitlog_directory: "$CASSANDRA_FOLDER/commitlog"
hints_directory: "$CASSANDRA_FOLDER/hints"
saved_caches_directory: "$CASSANDRA_FOLDER/saved_caches"
commitlog_sync: periodic
commitlog_sync_period: 10s
commitlog_segment_size: 16MiB
commitlog_total_space: 512MiB
auto_snapshot: false
# Longer than usual, so that a busy machine fails no test.
read_request_timeout: 10s
write_request_timeout: 10s
range_request_timeout: 30s
YAML
        [[ -z $CASSANDRA_TLS ]] || cat <<YAML
client_encryption_options:
  enabled: true
  optional: false
  store_type: PKCS12
  keystore: "$CASSANDRA_TLS/node.p12"
  keystore_password: sipfed
YAML
    } >"$CASSANDRA_FOLDER/cassandra.yaml"
    cat >"$CASSANDRA_FOLDER/logback.xml" <<'XML'
<configuration>
  <appender name="log" class="ch.qos.logback.core.ConsoleAppender">
    <encoder>
      <pattern>%date{ISO8601} %level %logger{0}: %message%n</pattern>
    </encoder>
  </appender>
  <root level="INFO">
    <appender-ref ref="log"/>
  </root>
</configuration>
XML
}

cassandra_run() {
    local java part arguments more
    find_java || die "Cassandra needs Java 17 or 11"
    [[ -z $CASSANDRA_TLS ]] || cassandra_certificates
    cassandra_write_configuration
    arguments=(
        "-Xmx$CASSANDRA_HEAP" -Xss256k -XX:+UseG1GC -XX:-UsePerfData -XX:+ExitOnOutOfMemoryError
        "-Djava.io.tmpdir=$CASSANDRA_FOLDER/tmp"
        "-Dcassandra.config=file://$CASSANDRA_FOLDER/cassandra.yaml"
        "-Dcassandra.storagedir=$CASSANDRA_FOLDER"
        "-Dcassandra.logdir=$CASSANDRA_FOLDER"
        "-Dlogback.configurationFile=$CASSANDRA_FOLDER/logback.xml"
        # What a cluster waits for, and a node alone need not.
        -Dcassandra.ring_delay_ms=0 -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.shutdown_announce_in_ms=0
        -Dcassandra.superuser_setup_delay_ms=0
        # Its own tables are not flushed to the disk at each change.
        -Dcassandra.unsafesystem=true
        -Djdk.attach.allowAttachSelf=true -Dio.netty.tryReflectionSetAccessible=true
    )
    # What it uses of the inner parts of Java, by the list that comes with it for Java 11 and 17.
    for part in java.base/{java.lang.ref,jdk.internal.misc} java.management.rmi/com.sun.jmx.remote.internal.rmi \
        java.rmi/sun.rmi.{registry,server} java.sql/java.sql jdk.attach/sun.tools.attach \
        jdk.compiler/com.sun.tools.javac.file jdk.unsupported/sun.misc; do
        arguments+=(--add-exports "$part=ALL-UNNAMED")
    done
    for part in java.base/java.{io,lang,lang.module,lang.reflect,nio,util} java.base/sun.nio.ch \
        java.base/jdk.internal.{loader,math,module,ref,reflect,util.jar} jdk.compiler/com.sun.tools.javac \
        jdk.management/com.sun.management.internal; do
        arguments+=(--add-opens "$part=ALL-UNNAMED")
    done
    for part in "$CASSANDRA_JARS"/jamm-*.jar; do
        arguments+=("-javaagent:$part")
    done
    read -ra more <<<"$CASSANDRA_JVM_ARGS"
    launch cassandra "$java" "${arguments[@]}" "${more[@]}" -cp "$CASSANDRA_JARS/*" \
        org.apache.cassandra.service.CassandraDaemon
}

# Speaks CQL v4, to the node on standard output and from it on standard input. Tells by its exit code whether the node is
# ready for clients.
cassandra_conversation() {
    local header
    if [[ $CASSANDRA_AUTH != password || -f $CASSANDRA_FOLDER/has-superuser ]]; then
        # OPTIONS, which is answered by SUPPORTED.
        printf '\x04\0\0\0\x05\0\0\0\0'
        [[ $(reply 9) == 8400000006* ]]
        return
    fi
    # The first user is made some time after the port is opened: STARTUP, AUTHENTICATE with the name of a class,
    # AUTH_RESPONSE, AUTH_SUCCESS.
    printf '\x04\0\0\0\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.0.0'
    header=$(reply 9)
    [[ $header == 8400000003* ]] || return 1
    reply $((16#${header:10})) >&2
    printf '\x04\0\0\0\x0f\0\0\0\x18\0\0\0\x14\0cassandra\0cassandra'
    [[ $(reply 9) == 8400000010* ]] && touch "$CASSANDRA_FOLDER/has-superuser"
}

cassandra_answers() {
    (
        if [[ -z $CASSANDRA_TLS ]]; then
            exec <>"/dev/tcp/127.0.0.1/$CASSANDRA_PORT" >&0 || exit 1
        else
            coproc openssl s_client -quiet -verify_quiet -verify_return_error -CAfile "$CASSANDRA_TLS/ca.pem" \
                -verify_ip 127.0.0.1 -connect "127.0.0.1:$CASSANDRA_PORT"
            trap 'kill "$COPROC_PID"' EXIT
            exec <&"${COPROC[0]}" >&"${COPROC[1]}"
        fi
        cassandra_conversation
    ) 2>/dev/null
}
