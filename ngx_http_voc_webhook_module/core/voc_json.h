/*
 * Event → JSON, problem → RFC 9457 JSON.  Each writer has a size function
 * that bounds what it writes; out holds that many bytes.
 */

#ifndef VOC_JSON_H
#define VOC_JSON_H

#include "voc_event.h"
#include "voc_problem.h"
#include "voc_uuid.h"

/*
 * The event as it stands in the journal: its line but for the end, which
 * tells of its record.  *id gets the event's id.  Returns the bytes written,
 * 0 where OpenSSL fails.
 */
size_t voc_json_event_size(const voc_event_t *event);
size_t voc_json_event(char *out, const voc_event_t *event,
                      const voc_uuid_t *uuid, char id[VOC_UUID_LEN]);

/* The second written last, as most events share one; all 0 at first. */
typedef struct {
    uint64_t second; /* since the epoch */
    char text[sizeof("2026-11-23T09:59:01") - 1];
} voc_json_second_t;

/*
 * The line's end, with when the record was accepted (milliseconds since the
 * epoch), its journal's id of 16 digits and its number.
 */
#define VOC_JSON_SEAL_MAX                                                    \
    (sizeof(",\"received\":\"2026-11-23T09:59:01.234Z\",\"seq\":\"\"}") + \
     16 + 1 + 20)
size_t voc_json_seal(char *out, voc_json_second_t *last, uint64_t received,
                     voc_str_t journal_id, uint64_t number);

/* {"status":"accepted","id":"<id>"} */
#define VOC_JSON_ACCEPTED_MAX 96
size_t voc_json_accepted(char *out, const char id[VOC_UUID_LEN]);

/* application/problem+json */
size_t voc_json_problem_size(const voc_problem_t *problem);
size_t voc_json_problem(char *out, const voc_problem_t *problem);

#endif
