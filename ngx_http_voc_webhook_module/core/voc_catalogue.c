#include "voc_catalogue.h"

#include <stdio.h>
#include <stdlib.h>

#include "voc_bytes.h"

#define CALLID_MAX 128 /* bytes */
#define CRM_ID_MAX 255 /* bytes */

_Static_assert(VOC_EVENTS_MAX <= VOC_NAMES_MAX, "events are found by name");

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

/* Two decimal digits at p. */
static inline unsigned
two_digits(const char *p)
{
    return (unsigned)(p[0] * 10 + p[1] - ('0' * 10 + '0'));
}

static inline int
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static VOC_RARE int
is_leap_year(const char *p)
{
    unsigned year = two_digits(p) * 100 + two_digits(p + 2);

    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* YYYY-MM-DD at p is well-formed, and its month at most 19. */
static inline int
day_exists(const char *p)
{
    static const unsigned char days[20] = {0,  31, 29, 31, 30, 31, 30,
                                           31, 31, 30, 31, 30, 31};
    unsigned month = two_digits(p + 5), day = two_digits(p + 8);

    if (day == 0 || day > days[month] || memcmp(p, "0000", 4) == 0) {
        return 0;
    }

    return month != 2 || day < 29 || is_leap_year(p);
}

/* YYYY-MM-DD hh:mm, then :ss or nothing, then Z or nothing. */
static inline int
check_datetime(voc_str_t value, char *scratch, voc_str_t *normal)
{
    static const char low[16] = "0000-00-00 00:00";
    static const char range[16] = {9, 9, 9,         9, 0, 1, 9, 0,
                                   3, 9, 'T' - ' ', 2, 9, 0, 5, 9};
    const char *p = value.data;
    size_t len = value.len;

    if (len > 0 && p[len - 1] == 'Z') {
        len--;
    }

    if ((len != 16 && len != 19) || !voc_bytes_within(p, low, range) ||
        (p[10] != ' ' && p[10] != 'T') || !day_exists(p) ||
        two_digits(p + 11) > 23) {
        return 0;
    }

    memcpy(scratch, p, 16);
    memcpy(scratch + 16, ":00Z", 4);
    scratch[10] = 'T';
    *normal = (voc_str_t){scratch, VOC_DATETIME_LEN};

    if (len == 19) {
        memcpy(scratch + 17, p + 17, 2);
        return p[16] == ':' && is_digit(p[17]) && p[17] < '6' &&
               is_digit(p[18]);
    }

    return 1;
}

/* 17 to 20 of them. */
static VOC_RARE int
many_digits(voc_str_t value)
{
    return value.len <= 20 && voc_bytes_digits(value.data) == 16 &&
           voc_bytes_digits(value.data + value.len - 16) == 16;
}

static inline int
check_number(voc_str_t value, voc_str_t *normal)
{
    /* An unencoded '+' has become a space. */
    if (value.len > 0 && (value.data[0] == '+' || value.data[0] == ' ')) {
        value.data++;
        value.len--;
    }

    *normal = value;

    if (value.len > 16) {
        return many_digits(value);
    }

    return value.len > 0 && voc_bytes_digits(value.data) >= value.len;
}

static VOC_RARE int
is_anonymous(voc_str_t value)
{
    static const char lower[] = "anonymous";
    size_t i = 0;

    if (value.len != sizeof(lower) - 1) {
        return 0;
    }

    while (i < value.len && (value.data[i] | 0x20) == lower[i]) {
        i++;
    }

    return i == value.len;
}

static inline int
check_caller(voc_str_t value, voc_str_t *normal)
{
    static const char padded[9 + VOC_STR_SLACK] = "Anonymous";

    if (check_number(value, normal)) {
        return 1;
    }

    *normal = (voc_str_t){padded, 9};
    return is_anonymous(value);
}

static inline int
check_integer(voc_str_t value, voc_str_t *normal)
{
    static const char max[] = "2147483647";

    if (value.len == 0 || value.len > sizeof(max) - 1 ||
        voc_bytes_digits(value.data) < value.len ||
        (value.len == sizeof(max) - 1 &&
         memcmp(value.data, max, sizeof(max) - 1) > 0)) {
        return 0;
    }

    /* JSON knows no leading zeros. */
    while (value.data[0] == '0' && value.len > 1) {
        value.data++;
        value.len--;
    }

    *normal = value;
    return 1;
}

static inline int
check_key(voc_str_t value, voc_str_t *normal)
{
    *normal = value;
    return value.len == 1 && (is_digit(value.data[0]) ||
                              value.data[0] == '*' || value.data[0] == '#');
}

static inline int
is_null(const voc_field_t *field, voc_str_t value)
{
    return field->nullable &&
           (value.len == 0 ||
            (value.len == 4 && memcmp(value.data, "null", 4) == 0));
}

/* That it is clean was checked for the request as a whole. */
static inline int
check_text(const voc_field_t *field, voc_str_t value, voc_str_t *normal)
{
    *normal = value;
    return value.len > 0 && value.len <= field->max && !is_null(field, value);
}

static inline int
check(const voc_field_t *field, voc_str_t value, char *scratch,
      voc_str_t *normal)
{
    switch (field->type) {
    case VOC_INTEGER:
        return check_integer(value, normal);
    case VOC_TEXT:
        return check_text(field, value, normal);
    case VOC_CALLER:
        return check_caller(value, normal);
    case VOC_NUMBER:
        return check_number(value, normal);
    case VOC_DATETIME:
        return check_datetime(value, scratch, normal);
    default:
        return check_key(value, normal);
    }
}

unsigned
voc_catalogue_check(const voc_event_type_t *type, uint64_t seen,
                    const voc_pair_t *const *given, char *scratch,
                    voc_str_t *values)
{
    const voc_field_t *field = type->fields, *end = field + type->nfields;
    voc_str_t value, normal;

    for (; field < end; field++) {
        value = (voc_str_t){NULL, 0};
        normal = value;

        if (seen & (uint64_t)1 << field->slot) {
            value = given[field->slot]->value;
        }
        /* Nothing that is null is well-formed otherwise. */
        if (!check(field, value, scratch, &normal)) {
            if (!is_null(field, value)) {
                break;
            }
            normal = (voc_str_t){NULL, 0};
        }
        *values++ = normal;
    }

    return (unsigned)(field - type->fields);
}

voc_str_t
voc_catalogue_expected(const voc_field_t *field)
{
    static const voc_str_t expected[VOC_TYPES_N] = {
        [VOC_DATETIME] = voc_str("expected YYYY-MM-DD hh:mm[:ss] in UTC"),
        [VOC_NUMBER] = voc_str("expected 1 to 20 digits"),
        [VOC_CALLER] = voc_str("expected 1 to 20 digits, or Anonymous"),
        [VOC_INTEGER] = voc_str("expected an integer from 0 to 2147483647"),
        [VOC_TEXT] = voc_str("expected text of fewer bytes"),
        [VOC_KEY] = voc_str("expected one of 0-9 * #"),
    };

    return field->expected.data != NULL ? field->expected
                                        : expected[field->type];
}

/* ---- names ------------------------------------------------------------ */

int
voc_catalogue_slot(const voc_catalogue_t *catalogue, voc_str_t name)
{
    return voc_names_find(&catalogue->fields, name);
}

const voc_event_type_t *
voc_catalogue_event(const voc_catalogue_t *catalogue, voc_str_t name)
{
    int index = voc_names_find(&catalogue->events, name);

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
label(char out[VOC_LABEL_MAX], const char *before, voc_str_t name,
      const char *after)
{
    int len = snprintf(out, VOC_LABEL_MAX, "%s%.*s%s", before, (int)name.len,
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
    static const char before[] = "\"event\":\"";

    if (!name_valid(own->name)) {
        return refuse(error, "not a name for an event", own->name);
    }

    if (own->nfields + COMMON_N > VOC_EVENT_FIELDS_MAX) {
        return refuse(error, "too many fields in event", own->name);
    }

    index = voc_names_add(&catalogue->events, own->name);
    if (index < 0) {
        return refuse(error, "too many events", own->name);
    }

    type = &catalogue->types[index];
    type->name = own->name;
    type->nfields = own->nfields + COMMON_N;
    type->slots = 0;
    memcpy(type->fields, common, sizeof(common));
    memcpy(type->fields + COMMON_N, own->fields,
           own->nfields * sizeof(own->fields[0]));

    type->label =
        label(catalogue->event_labels[index], before, type->name, "\"");
    type->name.data = type->label.data + sizeof(before) - 1;

    for (unsigned i = 0; i < type->nfields; i++) {
        voc_field_t *field = &type->fields[i];

        if (!name_valid(field->name)) {
            return refuse(error, "not a name for a field", field->name);
        }

        slot = voc_names_add(&catalogue->fields, field->name);
        if (slot < 0) {
            return refuse(error, "too many field names", field->name);
        }
        field->slot = (unsigned)slot;
        type->slots |= (uint64_t)1 << slot;
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

    voc_names_begin(&catalogue->fields);
    voc_names_begin(&catalogue->events);

    catalogue->clean = voc_pattern_compile(clean, error);
    if (catalogue->clean == NULL) {
        goto failed;
    }

    voc_names_add(&catalogue->fields, event); /* VOC_SLOT_EVENT */

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
