/* Preloaded into a writer: the calls that change files below a folder are counted, and those with
   the numbers from `at` on fail with `error`, `times` in a row; error -1 kills the process before
   the call, -2 after half of a write. Armed by `faults_arm`, usually after a fork. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[4096];
static long at, times, calls;
static int failure;

void faults_arm(const char *below, long first, long many, int error) {
    snprintf(folder, sizeof folder, "%s", below);
    calls = 0, at = first, times = many, failure = error;
}

long faults_calls(void) { return calls; }

static int watched(int fd) {
    char link[64], name[4096];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < 0) return 0;
    name[length] = 0;
    return strncmp(name, folder, strlen(folder)) == 0;
}

/* Whether this call is to fail; does not return where it is to be the last. */
static int due(int fd) {
    if (!watched(fd)) return 0;
    long number = __sync_add_and_fetch(&calls, 1);
    if (!at || number < at || number >= at + times) return 0;
    if (failure == -1) kill(getpid(), SIGKILL);
    return 1;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);

#define WRITER(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) { \
        REAL(ssize_t, #name, int, const void *, size_t, offset_type) \
        if (due(fd)) { \
            if (failure == -2) { real(fd, data, size / 2, offset); kill(getpid(), SIGKILL); } \
            errno = failure; \
            return -1; \
        } \
        return real(fd, data, size, offset); \
    }
WRITER(pwrite, off_t)
WRITER(pwrite64, off64_t)

#define FLUSHER(name, ...) \
    int name(int fd __VA_OPT__(, __VA_ARGS__ size)) { \
        REAL(int, #name, int __VA_OPT__(, __VA_ARGS__)) \
        if (due(fd)) { \
            if (failure == -2) kill(getpid(), SIGKILL); \
            errno = failure; \
            return -1; \
        } \
        return real(fd __VA_OPT__(, size)); \
    }
FLUSHER(fsync)
FLUSHER(fdatasync)
FLUSHER(ftruncate, off_t)
FLUSHER(ftruncate64, off64_t)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t)
    if (due(fd)) {
        if (failure == -2) { real(fd, data, size / 2); kill(getpid(), SIGKILL); }
        errno = failure;
        return -1;
    }
    return real(fd, data, size);
}
