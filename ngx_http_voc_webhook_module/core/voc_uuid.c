#include "voc_uuid.h"

#include <openssl/evp.h>
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
    EVP_MD_CTX *context;
    EVP_MD *sha1; /* fetched once: a fetch costs more than the hash */
};

voc_uuid_t *
voc_uuid_create(void)
{
    voc_uuid_t *uuid = calloc(1, sizeof(*uuid));

    if (uuid == NULL) {
        return NULL;
    }

    uuid->context = EVP_MD_CTX_new();
    uuid->sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    if (uuid->context == NULL || uuid->sha1 == NULL) {
        voc_uuid_free(uuid);
        return NULL;
    }

    return uuid;
}

void
voc_uuid_free(voc_uuid_t *uuid)
{
    if (uuid != NULL) {
        EVP_MD_free(uuid->sha1);
        EVP_MD_CTX_free(uuid->context);
        free(uuid);
    }
}

int
voc_uuid_v5(voc_uuid_t *uuid, voc_str_t name, char out[VOC_UUID_LEN])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char hash[EVP_MAX_MD_SIZE];

    if (EVP_DigestInit_ex2(uuid->context, uuid->sha1, NULL) != 1 ||
        EVP_DigestUpdate(uuid->context, namespace, sizeof(namespace)) != 1 ||
        EVP_DigestUpdate(uuid->context, name.data, name.len) != 1 ||
        EVP_DigestFinal_ex(uuid->context, hash, NULL) != 1) {
        return -1;
    }

    hash[6] = (hash[6] & 0x0f) | 0x50; /* version 5 */
    hash[8] = (hash[8] & 0x3f) | 0x80; /* RFC 9562's variant */

    for (unsigned i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *out++ = '-';
        }
        *out++ = hex[hash[i] >> 4];
        *out++ = hex[hash[i] & 0x0f];
    }

    return 0;
}
