/*
 * The outcomes of a request: their names in logs, answers and metrics, the
 * HTTP status, and the default text.  In the order in which they are checked.
 */

#ifndef VOC_PROBLEM_H
#define VOC_PROBLEM_H

#include "voc_types.h"

/* X(ID, name, status, detail): detail says what was expected. */
#define VOC_REASONS(X)                                                       \
    X(ACCEPTED, "accepted", 200, "")                                         \
    X(ADDRESS_DENIED, "address_denied", 403,                                 \
      "the source address is not allowed")                                   \
    X(HTTPS_REQUIRED, "https_required", 403, "expected an https request")    \
    X(METHOD_NOT_ALLOWED, "method_not_allowed", 405, "expected POST")        \
    X(BODY_TOO_LARGE, "body_too_large", 413, "the body is too large")        \
    X(MALFORMED_QUERY, "malformed_query", 400,                               \
      "expected percent-encoded UTF-8 without control characters")           \
    X(DUPLICATE_FIELD, "duplicate_field", 400, "expected the field once")    \
    X(MISSING_EVENT, "missing_event", 400, "expected the field event")       \
    X(UNKNOWN_EVENT, "unknown_event", 400, "expected the name of an event")  \
    X(MISSING_FIELD, "missing_field", 400, "expected the field")             \
    X(INVALID_FIELD, "invalid_field", 400, "the field is not well-formed")   \
    X(UNKNOWN_FIELD, "unknown_field", 400, "the event has no such field")    \
    X(QUEUE_FULL, "queue_full", 503,                                         \
      "the journal is full, try again later")                                \
    X(JOURNAL_ERROR, "journal_error", 503,                                   \
      "the journal cannot be written, try again later")

typedef enum {
#define VOC_REASON_ID(id, name, status, detail) VOC_##id,
    VOC_REASONS(VOC_REASON_ID)
#undef VOC_REASON_ID
        VOC_REASONS_N
} voc_reason_e;

typedef struct {
    voc_reason_e reason;
    voc_str_t field;  /* a field's decoded name, or data == NULL */
    int field_known;  /* the name is the catalogue's, so it may be logged */
    voc_str_t detail; /* what was expected; static text */
} voc_problem_t;

/* The reason with its default detail and no field. */
voc_problem_t voc_problem(voc_reason_e reason);

voc_str_t voc_reason_name(voc_reason_e reason);
unsigned voc_reason_status(voc_reason_e reason); /* HTTP status code */

/* The status phrase of RFC 9110, as RFC 9457 wants it for about:blank. */
voc_str_t voc_reason_title(voc_reason_e reason);

#endif
