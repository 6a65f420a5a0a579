#include "voc_uuid.h"

/*
 * SHA-1 without EVP, whose calls cost half as much again as the hash of an
 * event.  OpenSSL 3 would rather see EVP; it hashes no better.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include <openssl/sha.h>
#include <stdlib.h>

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

/* n bytes as hexadecimal digits. */
static inline char *
put_hex(char *out, const unsigned char *bytes, unsigned n)
{
    static const char hex[] = "0123456789abcdef";

    for (unsigned i = 0; i < n; i++) {
        *out++ = hex[bytes[i] >> 4];
        *out++ = hex[bytes[i] & 0x0f];
    }

    return out;
}

int
voc_uuid_v5(const voc_uuid_t *uuid, voc_str_t name, char out[VOC_UUID_LEN])
{
    SHA_CTX context = uuid->begun;
    unsigned char hash[SHA_DIGEST_LENGTH];

    if (SHA1_Update(&context, name.data, name.len) != 1 ||
        SHA1_Final(hash, &context) != 1) {
        return -1;
    }

    hash[6] = (hash[6] & 0x0f) | 0x50; /* version 5 */
    hash[8] = (hash[8] & 0x3f) | 0x80; /* RFC 9562's variant */

    out = put_hex(out, hash, 4);
    *out++ = '-';
    out = put_hex(out, hash + 4, 2);
    *out++ = '-';
    out = put_hex(out, hash + 6, 2);
    *out++ = '-';
    out = put_hex(out, hash + 8, 2);
    *out++ = '-';
    put_hex(out, hash + 10, 6);
    return 0;
}
