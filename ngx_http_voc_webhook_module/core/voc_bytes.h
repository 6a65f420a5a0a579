/*
 * Bytes looked at 16 or 64 at a time: by SSE2 where there is, else one by
 * one.  The plain functions are always here, and say what the others do.
 */

#ifndef VOC_BYTES_H
#define VOC_BYTES_H

#include "voc_types.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define VOC_BLOCK 64 /* bytes */

/*
 * What few queries hold.  percents: a bit for each byte of the last block,
 * the first byte's is the lowest.  odd and quoted stay once they are set.
 */
typedef struct {
    uint64_t percents;
    unsigned odd;    /* not 0 where a byte is not U+0020 to U+007E */
    unsigned quoted; /* not 0 where a byte is '"' or '\\' */
} voc_rare_t;

/*
 * Looks at the VOC_BLOCK bytes at p and makes a blank of each '+'.  Returns a
 * bit for each '&', the first byte's is the lowest.
 */
static inline uint64_t
voc_bytes_block_plain(char *p, voc_rare_t *rare)
{
    uint64_t ampersands = 0;

    rare->percents = 0;

    for (unsigned i = 0; i < VOC_BLOCK; i++) {
        ampersands |= (uint64_t)(p[i] == '&') << i;
        rare->percents |= (uint64_t)(p[i] == '%') << i;
        rare->odd |= p[i] < ' ' || p[i] > '~';
        rare->quoted |= p[i] == '"' || p[i] == '\\';
        p[i] = p[i] == '+' ? ' ' : p[i];
    }

    return ampersands;
}

/* The place of the first '=' of the 16 bytes at p; 16: there is none. */
static inline unsigned
voc_bytes_equals_plain(const char *p)
{
    unsigned i = 0;

    while (i < 16 && p[i] != '=') {
        i++;
    }

    return i;
}

/* The number of decimal digits at p, at most 16, which may all be read. */
static inline unsigned
voc_bytes_digits_plain(const char *p)
{
    unsigned n = 0;

    while (n < 16 && p[n] >= '0' && p[n] <= '9') {
        n++;
    }

    return n;
}

/* Whether each of the 16 bytes at p is in low[i] to low[i] + range[i]. */
static inline int
voc_bytes_within_plain(const char *p, const char low[16],
                       const char range[16])
{
    int within = 1;

    for (unsigned i = 0; i < 16; i++) {
        within &= (unsigned char)(p[i] - low[i]) <= (unsigned char)range[i];
    }

    return within;
}

#if defined(__SSE2__)

static inline __m128i
voc_bytes_load(const char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

#define VOC_BYTES_ARE(bytes, c) _mm_cmpeq_epi8(bytes, _mm_set1_epi8(c))

static __attribute__((noinline, unused)) void
voc_bytes_rare(const char *p, voc_rare_t *rare)
{
    __m128i quoted = _mm_setzero_si128(), odd = quoted, bytes;
    uint64_t percents = 0;

    for (const char *at = p + VOC_BLOCK; at > p;) {
        at -= 16;
        bytes = voc_bytes_load(at);
        percents = percents << 16 |
                   (unsigned)_mm_movemask_epi8(VOC_BYTES_ARE(bytes, '%'));
        quoted = _mm_or_si128(quoted, VOC_BYTES_ARE(bytes, '"'));
        quoted = _mm_or_si128(quoted, VOC_BYTES_ARE(bytes, '\\'));
        /* Signed: what is not ASCII is below 0. */
        odd = _mm_or_si128(odd, _mm_cmplt_epi8(bytes, _mm_set1_epi8(' ')));
        odd = _mm_or_si128(odd, VOC_BYTES_ARE(bytes, 0x7f));
    }

    rare->percents = percents;
    rare->quoted |= (unsigned)_mm_movemask_epi8(quoted);
    rare->odd |= (unsigned)_mm_movemask_epi8(odd);
}

static inline uint64_t
voc_bytes_block(char *p, voc_rare_t *rare)
{
    const __m128i first = _mm_set1_epi8('&'); /* '%' and '"' are before it */
    __m128i bytes, are, blanks, highest = _mm_setzero_si128();
    uint64_t ampersands = 0;

    for (char *at = p + VOC_BLOCK; at > p;) {
        at -= 16;
        bytes = voc_bytes_load(at);
        are = VOC_BYTES_ARE(bytes, '&');
        ampersands = ampersands << 16 | (unsigned)_mm_movemask_epi8(are);

        /* Unsigned: what is before the first comes out as the highest. */
        highest = _mm_max_epu8(highest, _mm_sub_epi8(bytes, first));
        highest = _mm_or_si128(highest, VOC_BYTES_ARE(bytes, '\\'));

        are = VOC_BYTES_ARE(bytes, '+');
        blanks = _mm_and_si128(are, _mm_set1_epi8('+' - ' '));
        _mm_storeu_si128((__m128i *)(void *)at, _mm_sub_epi8(bytes, blanks));
    }

    rare->percents = 0;
    highest = _mm_subs_epu8(highest, _mm_set1_epi8('~' - '&'));
    if (_mm_movemask_epi8(VOC_BYTES_ARE(highest, 0)) != 0xffff) {
        voc_bytes_rare(p, rare);
    }

    return ampersands;
}

static inline unsigned
voc_bytes_equals(const char *p)
{
    __m128i are = VOC_BYTES_ARE(voc_bytes_load(p), '=');

    return (unsigned)__builtin_ctz((unsigned)_mm_movemask_epi8(are) |
                                   1u << 16);
}

static inline unsigned
voc_bytes_digits(const char *p)
{
    __m128i value = _mm_sub_epi8(voc_bytes_load(p), _mm_set1_epi8('0'));
    __m128i digit = _mm_min_epu8(value, _mm_set1_epi8(9));

    return (unsigned)__builtin_ctz(
        ~(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(value, digit)));
}

static inline int
voc_bytes_within(const char *p, const char low[16], const char range[16])
{
    __m128i over = _mm_sub_epi8(voc_bytes_load(p), voc_bytes_load(low));
    __m128i least = _mm_min_epu8(over, voc_bytes_load(range));

    return _mm_movemask_epi8(_mm_cmpeq_epi8(over, least)) == 0xffff;
}

#undef VOC_BYTES_ARE

#else

#define voc_bytes_block  voc_bytes_block_plain
#define voc_bytes_equals voc_bytes_equals_plain
#define voc_bytes_digits voc_bytes_digits_plain
#define voc_bytes_within voc_bytes_within_plain

#endif

#endif
