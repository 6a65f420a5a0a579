/* What the tests of voc_redis*.c share: strings, and too little memory. */

#ifndef REDIS_FIXTURE_H
#define REDIS_FIXTURE_H

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <unistd.h>

#include <cmocka.h>

#include "voc_redis.h"

static inline voc_str_t
text(const char *s)
{
    voc_str_t str = {s, strlen(s)};

    return str;
}

/* ASan ends the program, or reports, where an allocation is too large. */
const char *__asan_default_options(void);
void __sanitizer_set_report_fd(void *fd) __attribute__((weak));

const char *
__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static inline void
report_to(int fd)
{
    if (__sanitizer_set_report_fd != NULL) {
        __sanitizer_set_report_fd((void *)(intptr_t)fd);
    }
}

#define TOO_MUCH ((size_t)PTRDIFF_MAX) /* bytes: as without memory */

/* Around what asks for TOO_MUCH: its fd, to be handed to report_end(). */
static inline int
report_begin(void)
{
    int fd = open("/dev/null", O_WRONLY);

    assert_true(fd != -1);
    report_to(fd);
    return fd;
}

static inline void
report_end(int fd)
{
    report_to(STDERR_FILENO);
    close(fd);
}

#endif
