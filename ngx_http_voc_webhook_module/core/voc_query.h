/* application/x-www-form-urlencoded (WHATWG URL): a query or a form body. */

#ifndef VOC_QUERY_H
#define VOC_QUERY_H

#include "voc_types.h"

typedef struct {
    voc_str_t name;
    voc_str_t value;
} voc_pair_t;

/* The number of pairs in it, empty ones not counted. */
size_t voc_query_count(voc_str_t query);

/*
 * Decodes query into out, which holds query.len bytes, and points pairs into
 * it: pairs between '&', empty ones skipped, split at the first '=', '+' a
 * space, %XX a byte.  '&' and '=' stand in out as they stand in query, so that
 * one look at out sees every byte, and no character spans two values.
 * Returns the number of pairs, -1 for a broken percent-encoding.
 * *decoded is all that was written to out.
 */
int voc_query_decode(voc_str_t query, char *out, voc_pair_t *pairs,
                     voc_str_t *decoded);

/* Whether a field of this name is in the query; no memory is needed. */
int voc_query_has(voc_str_t query, voc_str_t name);

#endif
