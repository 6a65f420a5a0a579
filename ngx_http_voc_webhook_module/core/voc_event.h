/* Query string and form body → validated, normalised event. */

#ifndef VOC_EVENT_H
#define VOC_EVENT_H

#include "voc_catalogue.h"
#include "voc_problem.h"
#include "voc_query.h"

#define VOC_PAIRS_MAX 1024 /* fields in one request; more are malformed */

typedef enum { VOC_UNKNOWN_KEEP, VOC_UNKNOWN_DROP, VOC_UNKNOWN_REJECT } voc_unknown_e;

typedef struct {
    const voc_event_type_t *type;
    voc_str_t values[VOC_EVENT_FIELDS_MAX]; /* normalised; data NULL: null */
    char date[VOC_DATETIME_LEN + VOC_STR_SLACK];
    voc_pair_t *extra; /* unknown fields, sorted by name, byte order */
    unsigned nextra;
    unsigned plain; /* 1: all is U+0020 to U+007E, without '"' and '\\' */
} voc_event_t;

typedef enum { VOC_EVENT_OK, VOC_EVENT_REJECTED, VOC_EVENT_NO_MEMORY } voc_event_rc;

/*
 * Reads an event from query and body (either may be empty).  The event's
 * strings live in memory; those of values and extra are padded.  plain is
 * about all that was sent, so it may be 0 where values and extra are plain.
 * On VOC_EVENT_REJECTED problem says why; where event->type is set, values
 * are what was found so far, else undefined.
 */
voc_event_rc voc_event_read(const voc_catalogue_t *catalogue, voc_str_t query,
                            voc_str_t body, voc_unknown_e unknown,
                            const voc_memory_t *memory, voc_event_t *event,
                            voc_problem_t *problem);

/* The normalised callid, or data == NULL while there is none. */
voc_str_t voc_event_callid(const voc_event_t *event);

#endif
