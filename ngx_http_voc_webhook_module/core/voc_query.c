#include "voc_query.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

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

/*
 * One look at STEP bytes.  The bits of those that mean something, the first
 * byte's lowest; *odd becomes other than 0 where one is not U+0020 to U+007E.
 */
#if defined(__SSE2__)

#define STEP 16

static inline unsigned
look(const char *p, unsigned *odd)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);

#define ARE(c) _mm_cmpeq_epi8(bytes, _mm_set1_epi8(c))

    __m128i special = _mm_or_si128(_mm_or_si128(ARE('&'), ARE('=')),
                                   _mm_or_si128(ARE('+'), ARE('%')));
    /* Signed: what is not ASCII is below 0. */
    __m128i other =
        _mm_or_si128(_mm_cmplt_epi8(bytes, _mm_set1_epi8(' ')), ARE(0x7f));

#undef ARE

    *odd |= (unsigned)_mm_movemask_epi8(other);
    return (unsigned)_mm_movemask_epi8(special);
}

#else

#define STEP 1

static inline unsigned
look(const char *p, unsigned *odd)
{
    *odd |= *p < ' ' || *p > '~';
    return *p == '&' || *p == '=' || *p == '+' || *p == '%';
}

#endif

void
voc_query_begin(voc_query_t *walk, char *out, voc_str_t query, voc_str_t body)
{
    walk->text = out;
    walk->at = out;
    walk->plain = 1;

    if (query.len > 0) {
        memcpy(out, query.data, query.len);
        out += query.len;
    }
    if (body.len > 0) {
        *out++ = '&';
        memcpy(out, body.data, body.len);
        out += body.len;
    }

    /* Every pair ends at an '&', and there is enough for a look at it. */
    walk->end = out;
    memset(out, '&', STEP);
}

/*
 * Decodes the pair up to end from its first '%', at p, in the same place, and
 * fills up with '&'.  Returns where it ends now; NULL: a broken encoding.
 */
static char *
decode_rest(voc_query_t *walk, char *p, const char *end, char **equals)
{
    char *out = p;
    int byte;

    for (; p < end; p++) {
        byte = (unsigned char)*p;
        if (byte == '+') {
            byte = ' ';
        } else if (byte == '=' && *equals == NULL) {
            *equals = out;
        } else if (byte == '%') {
            byte = hex_byte(p + 1, end);
            if (byte < 0) {
                return NULL;
            }
            p += 2;
        }

        walk->plain &= byte >= ' ' && byte <= '~';
        *out++ = (char)byte;
    }

    for (p = out; p < end; p++) {
        *p = '&';
    }

    return out;
}

static inline void
set_pair(voc_pair_t *pair, const char *start, const char *equals,
         const char *end)
{
    if (equals == NULL) {
        equals = end;
        pair->value = (voc_str_t){end, 0};
    } else {
        pair->value = (voc_str_t){equals + 1, (size_t)(end - equals - 1)};
    }

    pair->name = (voc_str_t){start, (size_t)(equals - start)};
}

int
voc_query_next(voc_query_t *walk, voc_pair_t *pairs, unsigned max)
{
    char *start = walk->at, *equals = NULL, *base = start, *p, *end;
    unsigned mask, odd = 0, n = 0;

    if (start > walk->end) {
        return 0;
    }

    mask = look(base, &odd);

    do {
        while (mask == 0) {
            base += STEP;
            mask = look(base, &odd);
        }
        p = end = base + __builtin_ctz(mask);
        mask &= mask - 1;

        if (*p == '=') {
            equals = equals == NULL ? p : equals;
            continue;
        }
        if (*p == '+') {
            *p = ' ';
            continue;
        }
        if (*p == '%') {
            base = p + (pair_end(p, walk->end) - p);
            end = decode_rest(walk, p, base, &equals);
            if (end == NULL) {
                return -1;
            }
            p = base;
            mask = look(base, &odd);
            mask &= mask - 1;
        }

        if (end > start) {
            set_pair(&pairs[n++], start, equals, end);
        }
        start = p + 1;
        equals = NULL;
    } while (start <= walk->end && n < max);

    walk->at = start;
    walk->plain &= odd == 0;
    return (int)n;
}

voc_str_t
voc_query_text(const voc_query_t *walk)
{
    return (voc_str_t){walk->text, (size_t)(walk->end - walk->text)};
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
