/* Preloaded: makes the n-th call that changes files under a directory fail, or kills.
 *
 * TensorFlow writes by the C library's streams, whose own system calls cannot be
 * interposed: the calls of streams are counted instead. Every counted call is reported
 * as a line to a descriptor; that of the fault begins with an exclamation mark.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static atomic_long count;
static long target;
static int code, persistent, report = -1;

/* Arms: the call of number `number`, from 1, fails with `error`; -9: it kills.
 * `all`: the later calls that need space fail, too. Number 0: none fails. */
void faults_arm(const char *directory, long number, int error, int all, int fd) {
  strncpy(root, directory, sizeof root - 1);
  count = 0;
  target = number;
  code = error;
  persistent = all;
  report = fd;
}

static int is_watched(const char *path) {
  return root[0] && path && !strncmp(path, root, strlen(root));
}

static int fd_is_watched(int fd) {
  if (!root[0] || fd < 0) return 0;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return is_watched(path);
}

/* Returns whether the call must fail, with errno set. */
static int fails(const char *name, const char *path, int needs_space) {
  long number = ++count;
  int hit = target && (number == target ||
                       (persistent && number > target && needs_space));
  char line[PATH_MAX + 100];
  int size = snprintf(line, sizeof line, "%s%s %s\n", hit ? "!" : "", name,
                      path ? path : "");
  if (report >= 0) syscall(SYS_write, report, line, size);
  if (!hit) return 0;
  if (code == -9) syscall(SYS_kill, getpid(), SIGKILL);
  errno = code;
  return 1;
}

static int fd_fails(const char *name, int fd, int needs_space) {
  if (!fd_is_watched(fd)) return 0;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, sizeof path - 1);
  path[size < 0 ? 0 : size] = 0;
  return fails(name, path, needs_space);
}

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define WRITES (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)

#define OPEN(name)                                                  \
  int name(const char *path, int flags, ...) {                      \
    REAL(name);                                                     \
    va_list list;                                                   \
    va_start(list, flags);                                          \
    int mode = va_arg(list, int);                                   \
    va_end(list);                                                   \
    if ((flags & WRITES) && is_watched(path) && fails(#name, path, 1)) return -1; \
    return real(path, flags, mode);                                 \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                \
  int name(int directory, const char *path, int flags, ...) {       \
    REAL(name);                                                     \
    va_list list;                                                   \
    va_start(list, flags);                                          \
    int mode = va_arg(list, int);                                   \
    va_end(list);                                                   \
    if ((flags & WRITES) && is_watched(path) && fails(#name, path, 1)) return -1; \
    return real(directory, path, flags, mode);                      \
  }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                 \
  FILE *name(const char *path, const char *mode) {                  \
    REAL(name);                                                     \
    if (strpbrk(mode, "wa+") && is_watched(path) && fails(#name, path, 1)) \
      return NULL;                                                  \
    return real(path, mode);                                        \
  }
FOPEN(fopen)
FOPEN(fopen64)

#define BY_FD(type, name, needs_space, parameters, ...)             \
  type name parameters {                                            \
    REAL(name);                                                     \
    if (fd_fails(#name, fd, needs_space)) return -1;                \
    return real(__VA_ARGS__);                                       \
  }
BY_FD(ssize_t, write, 1, (int fd, const void *b, size_t n), fd, b, n)
BY_FD(ssize_t, pwrite, 1, (int fd, const void *b, size_t n, off_t o), fd, b, n, o)
BY_FD(ssize_t, pwrite64, 1, (int fd, const void *b, size_t n, off64_t o), fd, b, n, o)
BY_FD(ssize_t, writev, 1, (int fd, const struct iovec *v, int n), fd, v, n)
BY_FD(int, fsync, 1, (int fd), fd)
BY_FD(int, fdatasync, 1, (int fd), fd)
BY_FD(int, ftruncate, 0, (int fd, off_t n), fd, n)
BY_FD(int, ftruncate64, 0, (int fd, off64_t n), fd, n)
BY_FD(int, flock, 0, (int fd, int how), fd, how)

#define BY_PATH(name, needs_space, watched, parameters, ...)        \
  int name parameters {                                             \
    REAL(name);                                                     \
    if (is_watched(watched) && fails(#name, watched, needs_space)) return -1; \
    return real(__VA_ARGS__);                                       \
  }
BY_PATH(mkdir, 1, p, (const char *p, mode_t m), p, m)
BY_PATH(mkdirat, 1, p, (int d, const char *p, mode_t m), d, p, m)
BY_PATH(unlink, 0, p, (const char *p), p)
BY_PATH(unlinkat, 0, p, (int d, const char *p, int f), d, p, f)
BY_PATH(rmdir, 0, p, (const char *p), p)
BY_PATH(rename, 1, q, (const char *p, const char *q), p, q)
BY_PATH(renameat, 1, q, (int d, const char *p, int e, const char *q), d, p, e, q)
BY_PATH(link, 1, q, (const char *p, const char *q), p, q)
BY_PATH(linkat, 1, q, (int d, const char *p, int e, const char *q, int f), d, p, e, q, f)
BY_PATH(truncate, 0, p, (const char *p, off_t n), p, n)

size_t fwrite(const void *b, size_t size, size_t n, FILE *file) {
  REAL(fwrite);
  if (fd_fails("fwrite", fileno(file), 1)) return 0;
  return real(b, size, n, file);
}

int fflush(FILE *file) {
  REAL(fflush);
  if (file && fd_fails("fflush", fileno(file), 1)) return EOF;
  return real(file);
}

int fclose(FILE *file) {
  REAL(fclose);
  int failed = (fcntl(fileno(file), F_GETFL) & O_ACCMODE) != O_RDONLY &&
               fd_fails("fclose", fileno(file), 1);
  int error = errno;
  int result = real(file);
  if (!failed) return result;
  errno = error;
  return EOF;
}
