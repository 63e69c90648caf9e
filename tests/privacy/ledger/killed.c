/* Kills its process at the nth call that changes a file; loaded before the C library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

static int calls_left = 0;
static int torn = 0; /* write half of the bytes before dying, as a power cut may */

void arm(int calls, int halfway) {
  calls_left = calls;
  torn = halfway;
}

static int is_due(void) { return calls_left > 0 && --calls_left == 0; }

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

#define CHANGING(name, parameters, arguments)                      \
  int name parameters {                                            \
    int(*original) parameters = dlsym(RTLD_NEXT, #name);           \
    if (is_due()) die();                                           \
    return original arguments;                                     \
  }

#define WRITING(name, parameters, arguments, half)                 \
  ssize_t name parameters {                                        \
    ssize_t(*original) parameters = dlsym(RTLD_NEXT, #name);       \
    if (is_due()) {                                                \
      if (torn && original half) die();                            \
      die();                                                       \
    }                                                              \
    return original arguments;                                     \
  }

CHANGING(fsync, (int fd), (fd))
CHANGING(fdatasync, (int fd), (fd))
CHANGING(ftruncate, (int fd, off_t size), (fd, size))
CHANGING(ftruncate64, (int fd, off64_t size), (fd, size))
CHANGING(unlink, (const char *path), (path))
CHANGING(rename, (const char *from, const char *to), (from, to))
WRITING(write, (int fd, const void *bytes, size_t size), (fd, bytes, size), (fd, bytes, size / 2))
WRITING(pwrite, (int fd, const void *bytes, size_t size, off_t at), (fd, bytes, size, at),
        (fd, bytes, size / 2, at))
WRITING(pwrite64, (int fd, const void *bytes, size_t size, off64_t at), (fd, bytes, size, at),
        (fd, bytes, size / 2, at))
