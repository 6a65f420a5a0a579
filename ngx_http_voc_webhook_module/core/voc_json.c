#include "voc_json.h"

#define ESCAPED_MAX 6 /* bytes of JSON for a byte of text: \u00XX */

#define TIME_LEN (sizeof("2026-11-23T09:59:01.234Z") - 1)
#define TIME_MAX 253402300799999 /* ms: the last one of year 9999 */

#define START        "{\"v\":1,\"id\":\""
#define BEFORE_EVENT "\","
#define BEFORE_EXTRA ",\"extra\":{"
#define RECEIVED     ",\"received\":\""

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

static char *
put_control(char *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";

    out = PUT(out, "\\u00");
    *out++ = hex[c >> 4];
    *out++ = hex[c & 0x0f];
    return out;
}

/* Whether none of eight bytes is escaped; at times not where none is. */
static inline int
plain(uint64_t bytes)
{
    const uint64_t ones = 0x0101010101010101;

    return (((bytes - ones * 0x20) | ((bytes ^ ones * '"') - ones) |
             ((bytes ^ ones * '\\') - ones)) &
            ~bytes & ones * 0x80) == 0;
}

/* Text of any length, byte by byte. */
static char *
put_escaped(char *out, const char *p, size_t len)
{
    for (; len > 0; p++, len--) {
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

/* Text by words, the last one over the one before, as long as it is plain. */
static char *
put_text(char *out, const char *p, size_t len)
{
    uint64_t word;
    uint32_t low, high;
    size_t i;

    if (len >= 8) {
        for (i = 0;; i = i + 16 <= len ? i + 8 : len - 8) {
            memcpy(&word, p + i, 8);
            if (!plain(word)) {
                return put_escaped(out + i, p + i, len - i);
            }
            memcpy(out + i, &word, 8);
            if (i + 8 == len) {
                return out + len;
            }
        }
    }

    if (len >= 4) {
        memcpy(&low, p, 4);
        memcpy(&high, p + len - 4, 4);
        if (plain(low | (uint64_t)high << 32)) {
            memcpy(out, &low, 4);
            memcpy(out + len - 4, &high, 4);
            return out + len;
        }
    }

    return put_escaped(out, p, len);
}

/* text as a JSON string. */
static char *
put_string(char *out, voc_str_t text)
{
    *out++ = '"';
    out = put_text(out, text.data, text.len);
    *out++ = '"';
    return out;
}

static char *
put_pair(char *out, voc_pair_t pair)
{
    out = put_string(out, pair.name);
    *out++ = ':';
    return put_string(out, pair.value);
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

/* ms: since the epoch. */
static char *
put_time(char *out, uint64_t ms)
{
    unsigned day, rest;

    if (ms > TIME_MAX) {
        ms = TIME_MAX;
    }

    day = (unsigned)(ms / 86400000);
    rest = (unsigned)(ms % 86400000);

    out = put_date(out, day);
    *out++ = 'T';
    out = put_two(out, rest / 3600000);
    *out++ = ':';
    out = put_two(out, rest / 60000 % 60);
    *out++ = ':';
    out = put_two(out, rest / 1000 % 60);
    *out++ = '.';
    out = put_two(out, rest / 10 % 100);
    *out++ = (char)('0' + rest % 10);
    *out++ = 'Z';
    return out;
}

/* ---- the event -------------------------------------------------------- */

size_t
voc_json_event_size(const voc_event_t *event)
{
    const voc_event_type_t *type = event->type;
    size_t size = sizeof(START BEFORE_EVENT "\"event\":" BEFORE_EXTRA
                                            "}" RECEIVED "\"") +
                  VOC_UUID_LEN + string_size(type->name) + TIME_LEN;

    for (unsigned i = 0; i < type->nfields; i++) {
        size += sizeof(",:null") + string_size(type->fields[i].name) +
                string_size(event->values[i]);
    }

    for (unsigned i = 0; i < event->nextra; i++) {
        size += sizeof(",:") + string_size(event->extra[i].name) +
                string_size(event->extra[i].value);
    }

    return size;
}

static char *
put_value(char *out, const voc_field_t *field, voc_str_t value)
{
    *out++ = ',';
    out = put_string(out, field->name);
    *out++ = ':';

    if (value.data == NULL) {
        return PUT(out, "null");
    }

    return field->type == VOC_INTEGER ? put_str(out, value)
                                      : put_string(out, value);
}

/* What the sender sent, normalised: what the id is made of. */
static char *
put_sent(char *out, const voc_event_t *event)
{
    const voc_event_type_t *type = event->type;

    out = PUT(out, "\"event\":");
    out = put_string(out, type->name);

    for (unsigned i = 0; i < type->nfields; i++) {
        out = put_value(out, &type->fields[i], event->values[i]);
    }

    if (event->nextra > 0) {
        out = PUT(out, BEFORE_EXTRA);
        for (unsigned i = 0; i < event->nextra; i++) {
            if (i > 0) {
                *out++ = ',';
            }
            out = put_pair(out, event->extra[i]);
        }
        *out++ = '}';
    }

    return out;
}

size_t
voc_json_event(char *out, const voc_event_t *event, voc_uuid_t *uuid,
               uint64_t received, char id[VOC_UUID_LEN])
{
    char *room = PUT(out, START);
    char *sent = PUT(room + VOC_UUID_LEN, BEFORE_EVENT);
    char *end = put_sent(sent, event);

    if (voc_uuid_v5(uuid, (voc_str_t){sent, (size_t)(end - sent)}, id) != 0) {
        return 0;
    }
    memcpy(room, id, VOC_UUID_LEN);

    end = PUT(end, RECEIVED);
    end = put_time(end, received);
    *end++ = '"';
    return (size_t)(end - out);
}

size_t
voc_json_seal(char *out, voc_str_t journal_id, uint64_t number)
{
    char *end = PUT(out, ",\"seq\":\"");

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
