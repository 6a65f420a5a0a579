/* application/x-www-form-urlencoded (WHATWG URL): a query or a form body. */

#ifndef VOC_QUERY_H
#define VOC_QUERY_H

#include "voc_bytes.h"

/* The number of pairs in it, empty ones not counted. */
size_t voc_query_count(voc_str_t query);

/* A walk through the pairs of a query and a form, decoded in a copy. */
typedef struct {
    char *text;
    char *start;     /* of the next pair */
    char *end;       /* of the text: an '&' stands here */
    char *block;     /* looked at last */
    char *ahead;     /* the next block */
    uint64_t ends;   /* of pairs to come that end in the block */
    voc_rare_t rare; /* odd, quoted: of what has been, and a little more */
} voc_query_t;

/* Bytes, over the length of query and body. */
#define VOC_QUERY_SLACK (1 + VOC_BLOCK)

/* out holds query.len + body.len + VOC_QUERY_SLACK bytes. */
void voc_query_begin(voc_query_t *walk, char *out, voc_str_t query,
                     voc_str_t body);

/*
 * The next pairs, max at most: pairs between '&', empty ones skipped, split
 * at the first '=', '+' a space, %XX a byte.  They point into out, and are
 * padded.  Returns their number, less than max at the end, -1 for a broken
 * percent-encoding.
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
