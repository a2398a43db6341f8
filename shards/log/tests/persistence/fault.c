// Stands between a process and the kernel. While the file FAULT_ARMED exists, calls of the kind FAULT_CALL (write or
// sync) on files whose name ends with FAULT_SUFFIX fail with EIO (a write after its first half), or wait until it is
// gone, as FAULT_WAY says (fail or wait).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int is_armed(void) {
    const char *armed = getenv("FAULT_ARMED");
    return armed && access(armed, F_OK) == 0;
}

// Whether the call fails. Waits first, if that is the way.
static int meets(const char *call, int file) {
    const char *wanted = getenv("FAULT_CALL"), *suffix = getenv("FAULT_SUFFIX"), *way = getenv("FAULT_WAY");
    if (!wanted || !suffix || !way || strcmp(wanted, call) || !is_armed())
        return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    size_t end = strlen(suffix);
    if (length < (ssize_t)end || strncmp(path + length - end, suffix, end))
        return 0;
    if (!strcmp(way, "fail"))
        return 1;
    while (is_armed())
        usleep(1000);
    return 0;
}

static int failed(void) {
    errno = EIO;
    return -1;
}

#define REAL(type, name, ...)                                                                                          \
    static type (*real)(__VA_ARGS__);                                                                                  \
    if (!real)                                                                                                         \
    real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *bytes, size_t length) {
    REAL(ssize_t, write, int, const void *, size_t);
    if (meets("write", file)) {
        // What follows of this very call fails as well.
        if (length > 1)
            real(file, bytes, length / 2);
        return failed();
    }
    return real(file, bytes, length);
}

int fsync(int file) {
    REAL(int, fsync, int);
    return meets("sync", file) ? failed() : real(file);
}

int fdatasync(int file) {
    REAL(int, fdatasync, int);
    return meets("sync", file) ? failed() : real(file);
}
