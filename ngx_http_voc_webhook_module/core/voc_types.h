/*
 * What every file of core/ shares.  core/ is plain C11 on a POSIX system; it
 * knows no web server, so that the unit tests, the fuzzers and voc-journal
 * run the same code as the module.
 */

#ifndef VOC_TYPES_H
#define VOC_TYPES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes with a length, not NUL-terminated; data == NULL means "not there". */
typedef struct {
    const char *data;
    size_t len; /* bytes */
} voc_str_t;

#define voc_str(literal)                                                     \
    {                                                                        \
        (literal), sizeof(literal) - 1                                       \
    }

/*
 * Padded strings, which are looked at and copied 16 bytes at a time: so many
 * bytes behind the end may be read, whatever they are, and where they go as
 * many may be written.
 */
#define VOC_STR_SLACK 16

static inline int
voc_str_equal(voc_str_t a, voc_str_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* For what few requests need: out of the way of the others. */
#define VOC_RARE __attribute__((cold, noinline))

/* A field as it was sent, decoded. */
typedef struct {
    voc_str_t name;
    voc_str_t value;
} voc_pair_t;

/*
 * Where request memory comes from: alloc() returns size bytes aligned for any
 * object, or NULL.  Nothing is freed one by one; the pool goes as a whole.
 */
typedef struct {
    void *(*alloc)(void *pool, size_t size);
    void *pool;
} voc_memory_t;

/* The text of a failure, for a log line: what was tried, and on what. */
#define VOC_ERROR_MAX 512 /* bytes, with the final NUL */

typedef struct {
    int number; /* errno, or 0 where there is none */
    char text[VOC_ERROR_MAX];
} voc_error_t;

#endif
