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
    walk->block = (voc_block_t){0, 0};
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
 * Decodes the pair from its first '%' on.  It ends in the block at at, where
 * end_bit is.  Returns 0, or -1 for a broken encoding.
 */
static __attribute__((noinline)) int
decode_pair(voc_query_t *walk, voc_pair_t *pair, char *at, uint64_t end_bit)
{
    char *start = walk->text + (pair->name.data - walk->text);
    char *value = walk->text + (pair->value.data - walk->text);
    char *first = at + __builtin_ctzll(walk->rare.percents), *end;

    walk->rare.percents &= -end_bit & ~end_bit;

    /* Where its '%' are in an earlier block is not known any more. */
    first = start < at ? start : first;

    if (first < start + pair->name.len) {
        end = decode(first, start + pair->name.len, &walk->rare);
        if (end == NULL) {
            return -1;
        }
        pair->name.len = (size_t)(end - start);
    }

    first = first < value ? value : first;
    end = decode(first, value + pair->value.len, &walk->rare);
    if (end == NULL) {
        return -1;
    }
    pair->value.len = (size_t)(end - value);
    return 0;
}

int
voc_query_next(voc_query_t *walk, voc_pair_t *pairs, unsigned max)
{
    char *start = walk->start, *at = walk->at, *end;
    voc_block_t block = walk->block;
    voc_pair_t *pair = pairs, *last = pairs + max;
    const char *equals;
    uint64_t end_bit, carry;

    while (start <= walk->end && pair < last) {
        equals = NULL;

        while (block.ampersands == 0) {
            if (block.equals != 0 && equals == NULL) {
                equals = at + __builtin_ctzll(block.equals);
            }
            /* The block's first byte stands for those that were before. */
            carry = walk->rare.percents != 0;
            at = walk->ahead;
            walk->ahead += VOC_BLOCK;
            block = voc_bytes_block(at, &walk->rare);
            walk->rare.percents |= carry;
        }

        end_bit = block.ampersands & -block.ampersands;
        end = at + __builtin_ctzll(end_bit);
        if (equals == NULL) {
            equals = at + __builtin_ctzll(
                              (block.equals & (end_bit - 1)) | end_bit);
        }
        block.ampersands ^= end_bit;
        block.equals &= -end_bit;

        if (end > start) {
            pair->name = (voc_str_t){start, (size_t)(equals - start)};
            equals += equals < end;
            pair->value = (voc_str_t){equals, (size_t)(end - equals)};

            if (walk->rare.percents & (end_bit + (end_bit - 1)) &&
                decode_pair(walk, pair, at, end_bit) != 0) {
                return -1;
            }
            pair++;
        }
        start = end + 1;
    }

    walk->start = start;
    walk->at = at;
    walk->block = block;
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
