/* What the fuzzers share: the entry point, and a check that ends them. */

#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As assert(), but never compiled out. */
#define must(condition)                                                      \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__,    \
                    #condition);                                             \
            abort();                                                         \
        }                                                                    \
    } while (0)

/* A fuzzer's own checks: what they compare is no news to libFuzzer. */
#ifdef __clang__
#define UNSEEN __attribute__((no_sanitize("coverage")))
#else
#define UNSEEN
#endif

/* Memory of exact size, so that ASan sees a byte too many. */
static inline void *
fuzz_alloc(size_t size)
{
    void *p = malloc(size);

    must(p != NULL || size == 0);
    return p;
}

/* A fuzzer's input, taken off from the front; zeros behind its end. */
typedef struct {
    const uint8_t *data;
    size_t left; /* bytes */
} fuzz_input_t;

static inline uint64_t
fuzz_take(fuzz_input_t *input, unsigned bytes)
{
    uint64_t value = 0;
    unsigned i;

    for (i = 0; i < bytes && input->left > 0; i++) {
        value |= (uint64_t)*input->data++ << (8 * i);
        input->left--;
    }

    return value;
}

/* Up to len bytes of it, at *data. */
static inline size_t
fuzz_bytes(fuzz_input_t *input, size_t len, const uint8_t **data)
{
    if (len > input->left) {
        len = input->left;
    }

    *data = input->data;
    input->data += len;
    input->left -= len;
    return len;
}

#endif
