#include "voc_catalogue.h"

#include <stdio.h>
#include <stdlib.h>

#define EVENTS_MAX 64
#define NAMES_MAX  VOC_FIELD_NAMES_MAX
#define TABLE_SIZE 256 /* a power of 2, never more than a quarter full */

#define CALLID_MAX 128 /* bytes */
#define CRM_ID_MAX 255 /* bytes */

/* Names → 0, 1, 2 ...: open addressing, linear probing, nothing removed. */
typedef struct {
    unsigned n;
    voc_str_t names[NAMES_MAX];
    uint8_t table[TABLE_SIZE]; /* index + 1, 0: free */
} names_t;

#define LABEL_MAX (sizeof("\"event\":\"\"") + VOC_NAME_MAX + VOC_STR_SLACK)

struct voc_catalogue_s {
    names_t fields;
    names_t events;
    voc_event_type_t types[EVENTS_MAX];
    char field_labels[VOC_FIELD_NAMES_MAX][LABEL_MAX];
    char event_labels[EVENTS_MAX][LABEL_MAX];
    voc_pattern_t *clean;
};

_Static_assert(EVENTS_MAX <= NAMES_MAX && NAMES_MAX * 4 <= TABLE_SIZE,
               "the table of names always has a free place");

/* ---- the built-in events ---------------------------------------------- */

#define STRINGIFY(n) #n
#define UP_TO(n)     voc_str("expected text of 1 to " STRINGIFY(n) " bytes")

#define FIELD(field, of)                                                     \
    {                                                                        \
        .name = voc_str(field), .type = VOC_##of                             \
    }
#define NULLABLE(field, of)                                                  \
    {                                                                        \
        .name = voc_str(field), .type = VOC_##of, .nullable = 1              \
    }

#define INBOUND_NUMBER    FIELD("inboundNumber", NUMBER)
#define CALLERID          NULLABLE("callerid", CALLER)
#define EXTENSION         FIELD("extension", INTEGER)
#define DESTINATION       FIELD("destination", NUMBER)
#define DURATION          FIELD("duration", INTEGER)
#define ANSWERED_DURATION NULLABLE("answeredDuration", INTEGER)

static const voc_field_t common[] = {
    FIELD("date", DATETIME),
    {.name = voc_str("callid"),
     .type = VOC_TEXT,
     .max = CALLID_MAX,
     .expected = UP_TO(CALLID_MAX)},
    {.name = voc_str("crm_id"),
     .type = VOC_TEXT,
     .nullable = 1,
     .max = CRM_ID_MAX,
     .expected = UP_TO(CRM_ID_MAX)},
};

#define COMMON_N (sizeof(common) / sizeof(common[0]))

#define EVENT(event, n, ...)                                                 \
    {                                                                        \
        .name = voc_str(event), .nfields = (n), .fields = { __VA_ARGS__ }    \
    }

static const voc_event_type_t builtin[] = {
    EVENT("inboundCallStart", 2, INBOUND_NUMBER, CALLERID),
    EVENT("inboundCallRinging", 3, INBOUND_NUMBER, CALLERID, EXTENSION),
    EVENT("inboundCallAnswered", 3, INBOUND_NUMBER, CALLERID, EXTENSION),
    EVENT("inboundCallEnd", 5, INBOUND_NUMBER, CALLERID,
          NULLABLE("extension", INTEGER), DURATION, ANSWERED_DURATION),
    EVENT("outboundCallStart", 2, EXTENSION, DESTINATION),
    EVENT("outboundCallAnswered", 2, EXTENSION, DESTINATION),
    EVENT("outboundCallEnd", 4, EXTENSION, DESTINATION, DURATION,
          ANSWERED_DURATION),
    EVENT("ivrOption", 3, INBOUND_NUMBER, CALLERID, FIELD("ivrOption", KEY)),
    {.name = voc_str("callRecordingAvailable")},
    {.name = voc_str("callTranscriptionAvailable")},
};

/* ---- types ------------------------------------------------------------ */

static int
all_digits(const char *p, size_t n)
{
    for (; n > 0; p++, n--) {
        if (*p < '0' || *p > '9') {
            return 0;
        }
    }

    return 1;
}

/* n decimal digits at p; UINT_MAX where they are none. */
static unsigned
digits(const char *p, unsigned n)
{
    unsigned value = 0;

    if (!all_digits(p, n)) {
        return (unsigned)-1;
    }

    for (; n > 0; p++, n--) {
        value = value * 10 + (unsigned)(*p - '0');
    }

    return value;
}

static int
date_exists(unsigned year, unsigned month, unsigned day)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30,
                                         31, 31, 30, 31, 30, 31};
    unsigned leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    if (year < 1 || year > 9999 || month < 1 || month > 12) {
        return 0;
    }

    return day >= 1 && day <= days[month - 1] + (month == 2 ? leap : 0);
}

/* YYYY-MM-DD hh:mm, then :ss or nothing, then Z or nothing. */
static int
check_datetime(const voc_field_t *field, voc_str_t value, char *scratch,
               voc_str_t *normal)
{
    const char *p = value.data;
    size_t len = value.len;

    (void)field;

    if (len > 0 && p[len - 1] == 'Z') {
        len--;
    }

    if ((len != 16 && len != 19) || p[4] != '-' || p[7] != '-' ||
        (p[10] != ' ' && p[10] != 'T') || p[13] != ':' ||
        (len == 19 && p[16] != ':')) {
        return 0;
    }

    if (!date_exists(digits(p, 4), digits(p + 5, 2), digits(p + 8, 2)) ||
        digits(p + 11, 2) > 23 || digits(p + 14, 2) > 59 ||
        (len == 19 && digits(p + 17, 2) > 59)) {
        return 0;
    }

    memcpy(scratch, "0000-00-00T00:00:00Z", VOC_DATETIME_LEN);
    memcpy(scratch, p, len);
    scratch[10] = 'T';
    *normal = (voc_str_t){scratch, VOC_DATETIME_LEN};
    return 1;
}

static int
check_number(const voc_field_t *field, voc_str_t value, char *scratch,
             voc_str_t *normal)
{
    (void)field;
    (void)scratch;

    /* An unencoded '+' has become a space. */
    if (value.len > 0 && (value.data[0] == '+' || value.data[0] == ' ')) {
        value.data++;
        value.len--;
    }

    *normal = value;
    return value.len >= 1 && value.len <= 20 &&
           all_digits(value.data, value.len);
}

static int
check_caller(const voc_field_t *field, voc_str_t value, char *scratch,
             voc_str_t *normal)
{
    static const char lower[] = "anonymous";
    size_t i = 0;

    if (check_number(field, value, scratch, normal)) {
        return 1;
    }

    if (value.len != sizeof(lower) - 1) {
        return 0;
    }

    while (i < value.len && (value.data[i] | 0x20) == lower[i]) {
        i++;
    }

    *normal = (voc_str_t)voc_str("Anonymous");
    return i == value.len;
}

static int
check_integer(const voc_field_t *field, voc_str_t value, char *scratch,
              voc_str_t *normal)
{
    static const char max[] = "2147483647";

    (void)field;
    (void)scratch;

    if (value.len < 1 || value.len > sizeof(max) - 1 ||
        !all_digits(value.data, value.len) ||
        (value.len == sizeof(max) - 1 &&
         memcmp(value.data, max, value.len) > 0)) {
        return 0;
    }

    /* JSON knows no leading zeros. */
    while (value.len > 1 && value.data[0] == '0') {
        value.data++;
        value.len--;
    }

    *normal = value;
    return 1;
}

/* That it is clean was checked for the request as a whole. */
static int
check_text(const voc_field_t *field, voc_str_t value, char *scratch,
           voc_str_t *normal)
{
    (void)scratch;
    *normal = value;
    return value.len >= 1 && value.len <= field->max;
}

static int
check_key(const voc_field_t *field, voc_str_t value, char *scratch,
          voc_str_t *normal)
{
    (void)field;
    (void)scratch;
    *normal = value;
    return value.len == 1 && (all_digits(value.data, 1) ||
                              value.data[0] == '*' || value.data[0] == '#');
}

static const struct {
    int (*check)(const voc_field_t *field, voc_str_t value, char *scratch,
                 voc_str_t *normal);
    voc_str_t expected;
} types[VOC_TYPES_N] = {
    [VOC_DATETIME] = {check_datetime,
                      voc_str("expected YYYY-MM-DD hh:mm[:ss] in UTC")},
    [VOC_NUMBER] = {check_number, voc_str("expected 1 to 20 digits")},
    [VOC_CALLER] = {check_caller,
                    voc_str("expected 1 to 20 digits, or Anonymous")},
    [VOC_INTEGER] = {check_integer,
                     voc_str("expected an integer from 0 to 2147483647")},
    [VOC_TEXT] = {check_text, voc_str("expected text of fewer bytes")},
    [VOC_KEY] = {check_key, voc_str("expected one of 0-9 * #")},
};

int
voc_catalogue_check(const voc_field_t *field, voc_str_t value, char *scratch,
                    voc_str_t *normal)
{
    static const voc_str_t null = voc_str("null");

    if (field->nullable && (value.len == 0 || voc_str_equal(value, null))) {
        *normal = (voc_str_t){NULL, 0};
        return 1;
    }

    return types[field->type].check(field, value, scratch, normal);
}

voc_str_t
voc_catalogue_expected(const voc_field_t *field)
{
    return field->expected.data != NULL ? field->expected
                                        : types[field->type].expected;
}

/* ---- names ------------------------------------------------------------ */

/*
 * Four bytes tell the built-in names apart.  Names that share a place cost a
 * few comparisons, whoever chose them: only the catalogue's own are in it.
 */
static unsigned
place(voc_str_t name)
{
    const unsigned char *p = (const unsigned char *)name.data;

    if (name.len == 0) {
        return 0;
    }

    return ((unsigned)name.len * 5 + p[0] * 31u + p[name.len / 2] * 7u +
            p[name.len - 1]) %
           TABLE_SIZE;
}

static int
names_find(const names_t *names, voc_str_t name)
{
    unsigned i, at = place(name);

    for (; (i = names->table[at]) != 0; at = (at + 1) % TABLE_SIZE) {
        if (voc_str_equal(names->names[i - 1], name)) {
            return (int)i - 1;
        }
    }

    return -1;
}

/* The index of the name, new or not; -1 where there is no room. */
static int
names_add(names_t *names, voc_str_t name)
{
    unsigned at = place(name);
    int index = names_find(names, name);

    if (index >= 0 || names->n == NAMES_MAX) {
        return index;
    }

    while (names->table[at] != 0) {
        at = (at + 1) % TABLE_SIZE;
    }

    names->names[names->n++] = name;
    names->table[at] = (uint8_t)names->n;
    return (int)names->n - 1;
}

int
voc_catalogue_slot(const voc_catalogue_t *catalogue, voc_str_t name)
{
    return names_find(&catalogue->fields, name);
}

const voc_event_type_t *
voc_catalogue_event(const voc_catalogue_t *catalogue, voc_str_t name)
{
    int index = names_find(&catalogue->events, name);

    return index < 0 ? NULL : &catalogue->types[index];
}

/* ---- the catalogue ---------------------------------------------------- */

static int
refuse(voc_error_t *error, const char *what, voc_str_t name)
{
    error->number = 0;
    snprintf(error->text, sizeof(error->text), "%s: \"%.*s\"", what,
             (int)name.len, name.data);
    return -1;
}

/* A name that is not as it is in JSON would have to be escaped. */
static int
name_valid(voc_str_t name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];

        if (c < ' ' || c == '"' || c == '\\') {
            return 0;
        }
    }

    return name.len > 0 && name.len <= VOC_NAME_MAX;
}

static voc_str_t
label(char out[LABEL_MAX], const char *before, voc_str_t name,
      const char *after)
{
    int len = snprintf(out, LABEL_MAX, "%s%.*s%s", before, (int)name.len,
                       name.data, after);

    return (voc_str_t){out, (size_t)len};
}

/*
 * Adds an event, or replaces the one of this name.  own holds its fields
 * without the common ones; its strings outlive the catalogue.
 */
static int
add_event(voc_catalogue_t *catalogue, const voc_event_type_t *own,
          voc_error_t *error)
{
    int index, slot;
    voc_event_type_t *type;

    if (!name_valid(own->name)) {
        return refuse(error, "not a name for an event", own->name);
    }

    if (own->nfields + COMMON_N > VOC_EVENT_FIELDS_MAX) {
        return refuse(error, "too many fields in event", own->name);
    }

    index = names_add(&catalogue->events, own->name);
    if (index < 0) {
        return refuse(error, "too many events", own->name);
    }

    type = &catalogue->types[index];
    type->name = own->name;
    type->nfields = own->nfields + COMMON_N;
    memcpy(type->fields, common, sizeof(common));
    memcpy(type->fields + COMMON_N, own->fields,
           own->nfields * sizeof(own->fields[0]));

    type->label = label(catalogue->event_labels[index], "\"event\":\"",
                        type->name, "\"");

    for (unsigned i = 0; i < type->nfields; i++) {
        voc_field_t *field = &type->fields[i];

        if (!name_valid(field->name)) {
            return refuse(error, "not a name for a field", field->name);
        }

        slot = names_add(&catalogue->fields, field->name);
        if (slot < 0) {
            return refuse(error, "too many field names", field->name);
        }
        field->slot = (unsigned)slot;
        field->label = label(catalogue->field_labels[slot], ",\"",
                             field->name, "\":");
    }

    return 0;
}

voc_catalogue_t *
voc_catalogue_create(voc_error_t *error)
{
    /* Possessive: there is nothing to go back for. */
    static const voc_str_t clean = voc_str("\\P{Cc}*+");
    static const voc_str_t event = voc_str("event");
    voc_catalogue_t *catalogue = calloc(1, sizeof(*catalogue));

    if (catalogue == NULL) {
        *error = (voc_error_t){.text = "no memory for the catalogue"};
        return NULL;
    }

    catalogue->clean = voc_pattern_compile(clean, error);
    if (catalogue->clean == NULL) {
        goto failed;
    }

    names_add(&catalogue->fields, event); /* VOC_SLOT_EVENT */

    for (size_t i = 0; i < sizeof(builtin) / sizeof(builtin[0]); i++) {
        if (add_event(catalogue, &builtin[i], error) != 0) {
            goto failed;
        }
    }

    return catalogue;

failed:
    voc_catalogue_free(catalogue);
    return NULL;
}

void
voc_catalogue_free(voc_catalogue_t *catalogue)
{
    if (catalogue != NULL) {
        voc_pattern_free(catalogue->clean);
        free(catalogue);
    }
}

/*
 * 1 where all eight bytes are printable ASCII, U+0020 to U+007E: bit 7 is set
 * in the byte itself, or by 0x20 taken away, or by 1 added.
 */
static int
plain(uint64_t bytes)
{
    const uint64_t ones = 0x0101010101010101;

    return ((bytes | (bytes - ones * 0x20) | (bytes + ones)) & ones * 0x80) ==
           0;
}

int
voc_catalogue_clean(const voc_catalogue_t *catalogue, voc_str_t text)
{
    uint64_t bytes;
    size_t i = 0;

    for (; text.len - i >= sizeof(bytes); i += sizeof(bytes)) {
        memcpy(&bytes, text.data + i, sizeof(bytes));
        if (!plain(bytes)) {
            return voc_pattern_match(catalogue->clean, text);
        }
    }

    for (; i < text.len; i++) {
        if (text.data[i] < ' ' || text.data[i] > '~') {
            return voc_pattern_match(catalogue->clean, text);
        }
    }

    return 1;
}
