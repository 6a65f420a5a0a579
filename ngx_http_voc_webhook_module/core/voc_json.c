#include "voc_json.h"

#define ESCAPED_MAX 6 /* bytes of JSON for a byte of text: \u00XX */

#define TIME_MAX 253402300799999 /* ms: the last one of year 9999 */

#define START        "{\"v\":1,\"id\":\""
#define BEFORE_EVENT "\","
#define BEFORE_EXTRA ",\"extra\":{"

#define PUT(out, literal) put(out, (literal), sizeof(literal) - 1)

static inline char *
put(char *out, const char *data, size_t len)
{
    memcpy(out, data, len);
    return out + len;
}

static inline char *
put_str(char *out, voc_str_t s)
{
    return put(out, s.data, s.len);
}

/* Text with slack behind it, of which nothing is escaped. */
static inline char *
put_words(char *out, voc_str_t s)
{
    size_t i = 0;

    do {
        memcpy(out + i, s.data + i, VOC_STR_SLACK);
        i += VOC_STR_SLACK;
    } while (i < s.len);

    return out + s.len;
}

static char *
put_control(char *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";

    out = PUT(out, "\\u00");
    *out++ = hex[c >> 4];
    *out++ = hex[c & 0x0f];
    return out;
}

/* Any text, byte by byte. */
static char *
put_text(char *out, voc_str_t text)
{
    const char *p = text.data, *end = p + text.len;

    for (; p < end; p++) {
        unsigned char c = (unsigned char)*p;

        if (c < 0x20) {
            out = put_control(out, c);
            continue;
        }
        if (c == '"' || c == '\\') {
            *out++ = '\\';
        }
        *out++ = (char)c;
    }

    return out;
}

/* text as a JSON string. */
static char *
put_string(char *out, voc_str_t text)
{
    *out++ = '"';
    out = put_text(out, text);
    *out++ = '"';
    return out;
}

static size_t
string_size(voc_str_t text)
{
    return text.len * ESCAPED_MAX + 2;
}

/* ---- numbers and times ------------------------------------------------ */

/* The last len digits of n. */
static char *
put_digits(char *out, uint64_t n, unsigned len)
{
    for (unsigned i = len; i > 0; i--, n /= 10) {
        out[i - 1] = (char)('0' + n % 10);
    }

    return out + len;
}

static char *
put_number(char *out, uint64_t n)
{
    unsigned len = 1;

    for (uint64_t rest = n / 10; rest > 0; rest /= 10) {
        len++;
    }

    return put_digits(out, n, len);
}

/* n: 0 to 99. */
static inline char *
put_two(char *out, unsigned n)
{
    *out++ = (char)('0' + n / 10);
    *out++ = (char)('0' + n % 10);
    return out;
}

/* Days before 1 March of the year, counted from 1 March of year 0. */
static unsigned
days_before(unsigned year)
{
    return year * 365 + year / 4 - year / 100 + year / 400;
}

/* YYYY-MM-DD of a day since the epoch, which is in years 1970 to 9999. */
static char *
put_date(char *out, unsigned day)
{
    unsigned year, month;

    /* A year from March to February has its leap day at the end. */
    day += days_before(1969) + 306;
    year = day / 366;
    while (days_before(year + 1) <= day) {
        year++;
    }

    /* Months of 31 and 30 days in turn come to 153 days for five. */
    day -= days_before(year);
    month = (day * 5 + 2) / 153;
    day -= (month * 153 + 2) / 5;

    year += month >= 10;
    out = put_two(out, year / 100);
    out = put_two(out, year % 100);
    *out++ = '-';
    out = put_two(out, month < 10 ? month + 3 : month - 9);
    *out++ = '-';
    return put_two(out, day + 1);
}

/* YYYY-MM-DDThh:mm:ss; seconds since the epoch, up to year 9999. */
static char *
put_seconds(char *out, uint64_t seconds)
{
    unsigned rest = (unsigned)(seconds % 86400);

    out = put_date(out, (unsigned)(seconds / 86400));
    *out++ = 'T';
    out = put_two(out, rest / 3600);
    *out++ = ':';
    out = put_two(out, rest / 60 % 60);
    *out++ = ':';
    return put_two(out, rest % 60);
}

/* ---- the event -------------------------------------------------------- */

size_t
voc_json_event_size(const voc_event_t *event)
{
    const voc_event_type_t *type = event->type;
    size_t text = 0, size = sizeof(START BEFORE_EVENT BEFORE_EXTRA "}") +
                            VOC_UUID_LEN + type->label.len + VOC_STR_SLACK;

    for (unsigned i = 0; i < type->nfields; i++) {
        size += sizeof("null") + type->fields[i].label.len;
        text += event->values[i].len;
    }

    for (unsigned i = 0; i < event->nextra; i++) {
        size += sizeof(",\"\":\"\"");
        text += event->extra[i].name.len + event->extra[i].value.len;
    }

    return size + (event->plain ? text : text * ESCAPED_MAX);
}

/* text as a JSON string; plain: nothing in it is escaped. */
static inline char *
put_sent_string(char *out, voc_str_t text, unsigned plain)
{
    if (!plain) {
        return put_string(out, text);
    }

    *out++ = '"';
    out = put_words(out, text);
    *out++ = '"';
    return out;
}

static inline char *
put_field(char *out, const voc_field_t *field, voc_str_t value, unsigned plain)
{
    out = put_words(out, field->label);

    if (value.data == NULL) {
        return PUT(out, "null");
    }

    return field->type == VOC_INTEGER ? put_words(out, value)
                                      : put_sent_string(out, value, plain);
}

static char *
put_extra(char *out, const voc_event_t *event)
{
    out = PUT(out, BEFORE_EXTRA);

    for (unsigned i = 0; i < event->nextra; i++) {
        if (i > 0) {
            *out++ = ',';
        }
        out = put_sent_string(out, event->extra[i].name, event->plain);
        *out++ = ':';
        out = put_sent_string(out, event->extra[i].value, event->plain);
    }

    *out++ = '}';
    return out;
}

static inline char *
put_sent(char *out, const voc_event_t *event)
{
    const voc_event_type_t *type = event->type;

    out = put_words(out, type->label);

    for (unsigned i = 0; i < type->nfields; i++) {
        out = put_field(out, &type->fields[i], event->values[i], event->plain);
    }

    return event->nextra > 0 ? put_extra(out, event) : out;
}

/* ---- its id ----------------------------------------------------------- */

/* No text holds a NUL, so where one ends is never in doubt. */
static inline char *
put_part(char *out, voc_str_t part)
{
    out = part.data != NULL ? put_words(out, part) : out;
    *out++ = '\0';
    return out;
}

/*
 * What the id is made of: the event's name and all its values, in the order of
 * its fields, null as nothing, then names and values of extra.  A third of the
 * JSON, and the hash is what takes longest.  Fits where the JSON does.
 */
static inline char *
put_name(char *out, const voc_event_t *event)
{
    const voc_event_type_t *type = event->type;

    out = put_part(out, type->name);

    for (unsigned i = 0; i < type->nfields; i++) {
        out = put_part(out, event->values[i]);
    }

    for (unsigned i = 0; i < event->nextra; i++) {
        out = put_part(out, event->extra[i].name);
        out = put_part(out, event->extra[i].value);
    }

    return out;
}

size_t
voc_json_event(char *out, const voc_event_t *event, const voc_uuid_t *uuid,
               char id[VOC_UUID_LEN])
{
    char *end = put_name(out, event);

    if (voc_uuid_v5(uuid, (voc_str_t){out, (size_t)(end - out)}, id) != 0) {
        return 0;
    }

    end = PUT(out, START);
    end = put(end, id, VOC_UUID_LEN);
    end = PUT(end, BEFORE_EVENT);
    end = put_sent(end, event);
    return (size_t)(end - out);
}

/* ---- its end ---------------------------------------------------------- */

/* ms: since the epoch. */
static char *
put_time(char *out, voc_json_second_t *last, uint64_t ms)
{
    uint64_t second;
    unsigned rest;

    if (ms > TIME_MAX) {
        ms = TIME_MAX;
    }

    second = ms / 1000;
    rest = (unsigned)(ms % 1000);

    if (second != last->second || last->text[0] == '\0') {
        put_seconds(last->text, second);
        last->second = second;
    }

    out = put(out, last->text, sizeof(last->text));
    *out++ = '.';
    out = put_two(out, rest / 10);
    *out++ = (char)('0' + rest % 10);
    *out++ = 'Z';
    return out;
}

size_t
voc_json_seal(char *out, voc_json_second_t *last, uint64_t received,
              voc_str_t journal_id, uint64_t number)
{
    char *end = PUT(out, ",\"received\":\"");

    end = put_time(end, last, received);
    end = PUT(end, "\",\"seq\":\"");
    end = put_str(end, journal_id);
    *end++ = ':';
    end = put_number(end, number);
    end = PUT(end, "\"}");
    return (size_t)(end - out);
}

/* ---- answers ---------------------------------------------------------- */

size_t
voc_json_accepted(char *out, const char id[VOC_UUID_LEN])
{
    char *end = PUT(out, "{\"status\":\"accepted\",\"id\":\"");

    end = put(end, id, VOC_UUID_LEN);
    end = PUT(end, "\"}");
    return (size_t)(end - out);
}

size_t
voc_json_problem_size(const voc_problem_t *problem)
{
    return sizeof("{\"title\":,\"status\":000,\"reason\":,\"field\":,"
                  "\"detail\":}") +
           string_size(voc_reason_title(problem->reason)) +
           string_size(voc_reason_name(problem->reason)) +
           string_size(problem->field) + string_size(problem->detail);
}

size_t
voc_json_problem(char *out, const voc_problem_t *problem)
{
    char *end = PUT(out, "{\"title\":");

    end = put_string(end, voc_reason_title(problem->reason));
    end = PUT(end, ",\"status\":");
    end = put_digits(end, voc_reason_status(problem->reason), 3);
    end = PUT(end, ",\"reason\":");
    end = put_string(end, voc_reason_name(problem->reason));
    if (problem->field.data != NULL) {
        end = PUT(end, ",\"field\":");
        end = put_string(end, problem->field);
    }
    end = PUT(end, ",\"detail\":");
    end = put_string(end, problem->detail);
    *end++ = '}';
    return (size_t)(end - out);
}
