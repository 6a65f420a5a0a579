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

/* A walk through the pairs of a query and a form, decoded in a copy. */
typedef struct {
    char *text;
    char *at;  /* what is to come */
    char *end; /* of the text: an '&' stands here */
    int plain; /* what has been is all U+0020 to U+007E, decoded */
} voc_query_t;

#define VOC_QUERY_SLACK 17 /* bytes, over the length of query and body */

/* out holds query.len + body.len + VOC_QUERY_SLACK bytes. */
void voc_query_begin(voc_query_t *walk, char *out, voc_str_t query,
                     voc_str_t body);

/*
 * The next pairs, max at most: pairs between '&', empty ones skipped, split
 * at the first '=', '+' a space, %XX a byte.  They point into out.  Returns
 * their number, 0 at the end, -1 for a broken percent-encoding.
 */
int voc_query_next(voc_query_t *walk, voc_pair_t *pairs, unsigned max);

/*
 * After the last pair: every decoded byte of all pairs, in their order.
 * Between two pairs is an '&' at least, so no character spans them.
 */
voc_str_t voc_query_text(const voc_query_t *walk);

/* Whether a field of this name is in the query; no memory is needed. */
int voc_query_has(voc_str_t query, voc_str_t name);

#endif
