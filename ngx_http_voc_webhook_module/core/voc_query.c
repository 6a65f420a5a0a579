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

void
voc_query_begin(voc_query_t *walk, char *out, voc_str_t query, voc_str_t body)
{
    walk->text = out;
    walk->start = out;
    walk->ahead = out;
    walk->ends = 0;
    walk->rare = (voc_rare_t){0, 0, 0};

    if (query.len > 0) {
        memcpy(out, query.data, query.len);
        out += query.len;
    }
    if (body.len > 0) {
        *out++ = '&';
        memcpy(out, body.data, body.len);
        out += body.len;
    }

    /* Every pair ends at an '&', and the last block is a whole one. */
    walk->end = out;
    memset(out, '&', VOC_BLOCK);
}

/*
 * Decodes what stands from p to end, no digit, in the same place, and fills
 * up with '&'.  Returns where it ends now; NULL: a broken encoding.
 */
static char *
decode(char *p, char *end, voc_rare_t *rare)
{
    char *out = p;
    int byte;

    while (p < end) {
        byte = *p++;
        if (byte == '%') {
            byte = hex_byte(p, end);
            if (byte < 0) {
                return NULL;
            }
            p += 2;
            rare->odd |= byte < ' ' || byte > '~';
            rare->quoted |= byte == '"' || byte == '\\';
        }
        *out++ = (char)byte;
    }

    for (p = out; p < end; p++) {
        *p = '&';
    }

    return out;
}

/*
 * Decodes the pair, which ends at end in the last block, from its first '%'
 * on, if it has any.  Returns 0, or -1 for a broken encoding.
 */
static __attribute__((noinline)) int
decode_pair(voc_query_t *walk, voc_pair_t *pair, const char *end)
{
    /* The end's bit is there where the '%' are all before the block. */
    uint64_t bits = (uint64_t)2 << (end - walk->block);
    uint64_t percents = walk->rare.percents & (bits - 1);
    char *name = walk->text + (pair->name.data - walk->text);
    char *value = walk->text + (pair->value.data - walk->text);
    char *from, *to;

    if (percents == 0) {
        return 0;
    }

    walk->rare.percents ^= percents;

    /* Where its '%' are in an earlier block is not known any more. */
    from = walk->block + __builtin_ctzll(percents);
    from = name < walk->block ? name : from;

    if (from < name + pair->name.len) {
        to = decode(from, name + pair->name.len, &walk->rare);
        if (to == NULL) {
            return -1;
        }
        pair->name.len = (size_t)(to - name);
    }

    from = from < value ? value : from;
    to = decode(from, value + pair->value.len, &walk->rare);
    if (to == NULL) {
        return -1;
    }
    pair->value.len = (size_t)(to - value);
    return 0;
}

/* The bytes of a pair before its first '='. */
static inline size_t
name_length(const char *pair, size_t len)
{
    size_t n = 0;
    unsigned more;

    do {
        more = voc_bytes_equals(pair + n);
        n += more;
    } while (more == 16 && n < len);

    return n < len ? n : len;
}

/* Looks at blocks up to one where a pair ends. */
static inline uint64_t
look_ahead(voc_query_t *walk)
{
    uint64_t ends, before;

    do {
        before = walk->rare.percents;
        walk->block = walk->ahead;
        walk->ahead += VOC_BLOCK;
        ends = voc_bytes_block(walk->block, &walk->rare);
        if (before != 0) {
            /* The block's first byte stands for those that were before. */
            walk->rare.percents |= 1;
        }
    } while (ends == 0);

    return ends;
}

int
voc_query_next(voc_query_t *walk, voc_pair_t *pairs, unsigned max)
{
    voc_pair_t *pair = pairs, *last = pairs + max;
    char *start = walk->start, *end;
    uint64_t ends = walk->ends;
    size_t len, name;

    while (start <= walk->end && pair < last) {
        ends = ends != 0 ? ends : look_ahead(walk);
        end = walk->block + __builtin_ctzll(ends);
        ends &= ends - 1;
        len = (size_t)(end - start);

        if (len > 0) {
            name = name_length(start, len);
            pair->name = (voc_str_t){start, name};
            name += name < len;
            pair->value = (voc_str_t){start + name, len - name};

            if (walk->rare.percents != 0 &&
                decode_pair(walk, pair, end) != 0) {
                return -1;
            }
            pair++;
        }
        start = end + 1;
    }

    walk->start = start;
    walk->ends = ends;
    return (int)(pair - pairs);
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
