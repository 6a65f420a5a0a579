/* PCRE2 patterns that must match a whole value; compiled once, with JIT. */

#ifndef VOC_PATTERN_H
#define VOC_PATTERN_H

#include "voc_types.h"

typedef struct voc_pattern_s voc_pattern_t;

/* NULL on error, with its text and the offset in *error.  The caller frees. */
voc_pattern_t *voc_pattern_compile(voc_str_t expression, voc_error_t *error);
void voc_pattern_free(voc_pattern_t *pattern);

/*
 * 1 where all of value matches, 0 where it does not or is not UTF-8, -1 on
 * an error (no memory, match limit).  One thread at a time per pattern.
 */
int voc_pattern_match(const voc_pattern_t *pattern, voc_str_t value);

#endif
