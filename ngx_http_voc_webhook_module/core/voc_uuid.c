#include "voc_uuid.h"

/*
 * SHA-1 without EVP, whose calls cost half as much again as the hash of an
 * event.  OpenSSL 3 would rather see EVP; it hashes no better.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include <openssl/sha.h>
#include <stdlib.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/*
 * d89546ea-a04b-51dc-8555-51c8cdd9f0c4: the version 5 UUID of "vocphone.com"
 * in RFC 9562's namespace for DNS names.  Never to change: ids are compared
 * over years.
 */
static const unsigned char namespace[16] = {
    0xd8, 0x95, 0x46, 0xea, 0xa0, 0x4b, 0x51, 0xdc,
    0x85, 0x55, 0x51, 0xc8, 0xcd, 0xd9, 0xf0, 0xc4,
};

struct voc_uuid_s {
    SHA_CTX begun; /* has taken the namespace in */
};

voc_uuid_t *
voc_uuid_create(void)
{
    voc_uuid_t *uuid = malloc(sizeof(*uuid));

    if (uuid != NULL &&
        (SHA1_Init(&uuid->begun) != 1 ||
         SHA1_Update(&uuid->begun, namespace, sizeof(namespace)) != 1)) {
        free(uuid);
        return NULL;
    }

    return uuid;
}

void
voc_uuid_free(voc_uuid_t *uuid)
{
    free(uuid);
}

/* 16 bytes as 32 hexadecimal digits. */
#if defined(__SSE2__)

static inline __m128i
hex_digits(__m128i nibbles)
{
    __m128i letters = _mm_cmpgt_epi8(nibbles, _mm_set1_epi8(9));

    letters = _mm_and_si128(letters, _mm_set1_epi8('a' - '0' - 10));
    return _mm_add_epi8(_mm_add_epi8(nibbles, _mm_set1_epi8('0')), letters);
}

static inline void
put_hex(char out[32], const unsigned char bytes[16])
{
    const __m128i four = _mm_set1_epi8(0x0f);
    __m128i both = _mm_loadu_si128((const __m128i *)(const void *)bytes);
    __m128i high = _mm_and_si128(_mm_srli_epi16(both, 4), four);
    __m128i low = _mm_and_si128(both, four);

    _mm_storeu_si128((__m128i *)(void *)out,
                     hex_digits(_mm_unpacklo_epi8(high, low)));
    _mm_storeu_si128((__m128i *)(void *)(out + 16),
                     hex_digits(_mm_unpackhi_epi8(high, low)));
}

#else

static inline void
put_hex(char out[32], const unsigned char bytes[16])
{
    static const char hex[] = "0123456789abcdef";

    for (unsigned i = 0; i < 16; i++) {
        *out++ = hex[bytes[i] >> 4];
        *out++ = hex[bytes[i] & 0x0f];
    }
}

#endif

/* Digits in groups of 8, 4, 4, 4 and 12. */
static inline void
put_groups(char out[VOC_UUID_LEN], const char digits[32])
{
    memcpy(out, digits, 8);
    out[8] = '-';
    memcpy(out + 9, digits + 8, 4);
    out[13] = '-';
    memcpy(out + 14, digits + 12, 4);
    out[18] = '-';
    memcpy(out + 19, digits + 16, 4);
    out[23] = '-';
    memcpy(out + 24, digits + 20, 12);
}

int
voc_uuid_v5(const voc_uuid_t *uuid, voc_str_t name, char out[VOC_UUID_LEN])
{
    SHA_CTX context = uuid->begun;
    unsigned char hash[SHA_DIGEST_LENGTH];
    char digits[32];

    if (SHA1_Update(&context, name.data, name.len) != 1 ||
        SHA1_Final(hash, &context) != 1) {
        return -1;
    }

    hash[6] = (hash[6] & 0x0f) | 0x50; /* version 5 */
    hash[8] = (hash[8] & 0x3f) | 0x80; /* RFC 9562's variant */

    put_hex(digits, hash);
    put_groups(out, digits);
    return 0;
}
