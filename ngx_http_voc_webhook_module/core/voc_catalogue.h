/*
 * The catalogue: which events there are, which fields each has, and what
 * each type accepts.  Built-in events are VOC's own; others may be added
 * before the first request.  Read-only afterwards.
 */

#ifndef VOC_CATALOGUE_H
#define VOC_CATALOGUE_H

#include "voc_names.h"
#include "voc_pattern.h"

typedef enum {
    VOC_DATETIME, /* YYYY-MM-DD hh:mm[:ss], UTC */
    VOC_NUMBER,   /* E.164 digits, 1 to 20 */
    VOC_CALLER,   /* a number, or Anonymous */
    VOC_INTEGER,  /* 1 to 10 digits, at most 2147483647 */
    VOC_TEXT,     /* UTF-8 without control characters, max bytes */
    VOC_KEY,      /* one of 0-9 * # */
    VOC_TYPES_N
} voc_type_e;

#define VOC_EVENT_FIELDS_MAX 16 /* fields of one event, the common ones too */
#define VOC_EVENTS_MAX       64
#define VOC_FIELD_NAMES_MAX  VOC_NAMES_MAX /* different ones in a catalogue */
#define VOC_NAME_MAX         64 /* bytes of a field's or an event's name */

typedef struct {
    voc_str_t name;
    voc_type_e type;
    unsigned nullable; /* absent, empty and "null" are null */
    unsigned max;      /* VOC_TEXT: bytes */
    unsigned slot;     /* of the name in the catalogue, set when added */
    voc_str_t expected; /* a well-formed value in words, static; may be set */
    voc_str_t label;    /* ,"<name>": as it stands in JSON, set when added */
} voc_field_t;

/*
 * An event: date, callid and crm_id first, then its own, as in its JSON.
 * Behind its name, and behind the labels, is VOC_STR_SLACK.
 */
typedef struct {
    voc_str_t name;
    unsigned nfields;
    uint64_t slots; /* a bit for each field's slot, set when added */
    voc_field_t fields[VOC_EVENT_FIELDS_MAX];
    voc_str_t label; /* "event":"<name>", set when added */
} voc_event_type_t;

/* Bytes of a label, with what may be read behind it. */
#define VOC_LABEL_MAX                                                        \
    (sizeof("\"event\":\"\"") + VOC_NAME_MAX + VOC_STR_SLACK)

typedef struct {
    voc_names_t fields;
    voc_names_t events;
    voc_event_type_t types[VOC_EVENTS_MAX];
    char field_labels[VOC_FIELD_NAMES_MAX][VOC_LABEL_MAX];
    char event_labels[VOC_EVENTS_MAX][VOC_LABEL_MAX];
    voc_pattern_t *clean;
} voc_catalogue_t;

/* VOC's ten events.  NULL where memory ends or PCRE2 fails.  Caller frees. */
voc_catalogue_t *voc_catalogue_create(voc_error_t *error);
void voc_catalogue_free(voc_catalogue_t *catalogue);

/* NULL where there is no such event.  Names are case-sensitive. */
const voc_event_type_t *voc_catalogue_event(const voc_catalogue_t *catalogue,
                                            voc_str_t name);

/* The slot of a field's name, 0 to VOC_FIELD_NAMES_MAX - 1; -1: unknown. */
int voc_catalogue_slot(const voc_catalogue_t *catalogue, voc_str_t name);

/* The same for padded names. */
static inline const voc_event_type_t *
voc_catalogue_event_padded(const voc_catalogue_t *catalogue, voc_str_t name)
{
    int index = voc_names_find_padded(&catalogue->events, name);

    return index < 0 ? NULL : &catalogue->types[index];
}

static inline int
voc_catalogue_slot_padded(const voc_catalogue_t *catalogue, voc_str_t name)
{
    return voc_names_find_padded(&catalogue->fields, name);
}

/* The slot of "event" itself is always this one. */
#define VOC_SLOT_EVENT 0

/*
 * 1 where text is UTF-8 without control characters (Unicode's Cc: U+0000 to
 * U+001F and U+007F to U+009F), else 0; -1 on an error.
 */
int voc_catalogue_clean(const voc_catalogue_t *catalogue, voc_str_t text);

/* What a well-formed value of the field looks like: static text. */
voc_str_t voc_catalogue_expected(const voc_field_t *field);

#define VOC_DATETIME_LEN 20 /* bytes of 2024-01-01T19:00:00Z */

/*
 * Checks the values that an event's fields were given and normalises them:
 * given has the pairs by slot, where seen has the bit; they are padded.
 * values become what stands in the JSON, without quotes, and padded, or have
 * data == NULL for null.  They point into given ones, to static text, or to
 * scratch, which holds VOC_DATETIME_LEN + VOC_STR_SLACK bytes.  Returns the
 * number of fields, from the first one on, that are well-formed, or null
 * where they may be; values of others are left as they were.
 */
unsigned voc_catalogue_check(const voc_event_type_t *type, uint64_t seen,
                             const voc_pair_t *const *given, char *scratch,
                             voc_str_t *values);

#endif
