#include "voc_query.h"

/* Where the pair at p ends: at '&' or end. */
static const char *
pair_end(const char *p, const char *end)
{
    const char *found = memchr(p, '&', (size_t)(end - p));

    return found != NULL ? found : end;
}

size_t
voc_query_count(voc_str_t query)
{
    const char *p, *next, *end;
    size_t n = 0;

    if (query.len == 0) {
        return 0;
    }

    end = query.data + query.len;
    for (p = query.data; p < end; p = next + 1) {
        next = pair_end(p, end);
        n += next > p;
    }

    return n;
}

/* Most bytes are not; asking once is cheaper than a switch for each. */
static const char special[256] = {['&'] = 1, ['='] = 1, ['+'] = 1, ['%'] = 1};

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that the two digits at p stand for, or -1. */
static int
hex_byte(const char *p, const char *end)
{
    int high, low;

    if (end - p < 2) {
        return -1;
    }

    high = hex_digit(p[0]);
    low = hex_digit(p[1]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Ends a pair at out; equals is where its '=' stands, or NULL. */
static void
end_pair(voc_pair_t *pair, const char *start, const char *equals,
         const char *out)
{
    if (equals == NULL) {
        pair->name = (voc_str_t){start, (size_t)(out - start)};
        pair->value = (voc_str_t){out, 0};
        return;
    }

    pair->name = (voc_str_t){start, (size_t)(equals - start)};
    pair->value = (voc_str_t){equals + 1, (size_t)(out - equals - 1)};
}

int
voc_query_decode(voc_str_t query, char *out, voc_pair_t *pairs,
                 voc_str_t *decoded)
{
    const char *start = out, *equals = NULL, *p, *end;
    int byte, n = 0;

    *decoded = (voc_str_t){out, 0};
    if (query.len == 0) {
        return 0;
    }

    end = query.data + query.len;
    for (p = query.data; p < end; p++) {
        *out = *p;
        if (!special[(unsigned char)*p]) {
            out++;
            continue;
        }

        switch (*p) {
        case '&':
            if (out > start) {
                end_pair(&pairs[n++], start, equals, out);
            }
            start = out + 1;
            equals = NULL;
            break;
        case '=':
            if (equals == NULL) {
                equals = out;
            }
            break;
        case '+':
            *out = ' ';
            break;
        case '%':
            byte = hex_byte(p + 1, end);
            if (byte < 0) {
                return -1;
            }
            *out = (char)byte;
            p += 2;
            break;
        }
        out++;
    }

    if (out > start) {
        end_pair(&pairs[n++], start, equals, out);
    }

    decoded->len = (size_t)(out - decoded->data);
    return n;
}

/* Compares one encoded name, which ends at '=', '&' or end. */
static int
name_equal(const char *p, const char *end, voc_str_t name)
{
    size_t i = 0;
    int c;

    for (; p < end && *p != '=' && *p != '&'; p++, i++) {
        c = (unsigned char)*p;
        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            c = hex_byte(p + 1, end);
            p += 2;
        }
        if (i == name.len || c != (unsigned char)name.data[i]) {
            return 0;
        }
    }

    return i == name.len;
}

int
voc_query_has(voc_str_t query, voc_str_t name)
{
    const char *p, *next, *end;

    if (query.len == 0) {
        return 0;
    }

    end = query.data + query.len;
    for (p = query.data; p < end; p = next + 1) {
        next = pair_end(p, end);
        if (next > p && name_equal(p, next, name)) {
            return 1;
        }
    }

    return 0;
}
