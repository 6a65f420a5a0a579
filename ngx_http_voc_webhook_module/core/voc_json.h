/*
 * Event → JSON, problem → RFC 9457 JSON.  Each writer has a size function
 * that bounds what it writes; out holds that many bytes.
 */

#ifndef VOC_JSON_H
#define VOC_JSON_H

#include "voc_event.h"
#include "voc_problem.h"
#include "voc_uuid.h"

/* What is kept from one event to the next; for one thread at a time. */
typedef struct voc_json_s voc_json_t;

voc_json_t *voc_json_create(void); /* NULL: no memory */
void voc_json_free(voc_json_t *json);

/*
 * The event as it stands in the journal: all of its line up to "received".
 * The end, which holds the sequence number, is known once it is appended:
 * voc_json_seal() writes it.  *id gets the event's id.
 * received: milliseconds since the epoch.  Returns the bytes written, 0 where
 * OpenSSL fails.
 */
size_t voc_json_event_size(const voc_event_t *event);
size_t voc_json_event(char *out, const voc_event_t *event, voc_json_t *json,
                      uint64_t received, char id[VOC_UUID_LEN]);

/* ,"seq":"<journal id>:<number>"} with a 16-digit journal id. */
#define VOC_JSON_SEAL_MAX (sizeof(",\"seq\":\"\"}") + 16 + 1 + 20)
size_t voc_json_seal(char *out, voc_str_t journal_id, uint64_t number);

/* {"status":"accepted","id":"<id>"} */
#define VOC_JSON_ACCEPTED_MAX 96
size_t voc_json_accepted(char *out, const char id[VOC_UUID_LEN]);

/* application/problem+json */
size_t voc_json_problem_size(const voc_problem_t *problem);
size_t voc_json_problem(char *out, const voc_problem_t *problem);

#endif
