/* Version 5 UUIDs, against RFC 9562's example and a second implementation. */

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/sha.h>

#include "voc_uuid.h"

/* RFC 9562, section 6.6: the namespace of DNS names. */
static const unsigned char dns[16] = {
    0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1,
    0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8,
};

static void
version_5(const unsigned char space[16], const char *name, size_t len,
          unsigned char bytes[16])
{
    unsigned char hash[SHA_DIGEST_LENGTH], *data = malloc(16 + len);

    memcpy(data, space, 16);
    memcpy(data + 16, name, len);
    SHA1(data, 16 + len, hash);
    free(data);
    memcpy(bytes, hash, 16);
    bytes[6] = bytes[6] % 16 + 0x50;
    bytes[8] = bytes[8] % 64 + 0x80;
}

static void
format(const unsigned char b[16], char out[VOC_UUID_LEN + 1])
{
    snprintf(out, VOC_UUID_LEN + 1,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
             "%02x%02x%02x%02x%02x%02x",
             b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9],
             b[10], b[11], b[12], b[13], b[14], b[15]);
}

static void
the_second_implementation_knows_the_rfcs_example(void **state)
{
    unsigned char bytes[16];
    char out[VOC_UUID_LEN + 1];

    (void)state;
    version_5(dns, "www.example.com", 15, bytes);
    format(bytes, out);
    assert_string_equal(out, "2ed6657d-e927-568b-95e1-2665a8aea6a2");
}

static void
ids_are_in_the_namespace_of_vocphone_com(void **state)
{
    unsigned char space[16], bytes[16];
    char expected[VOC_UUID_LEN + 1], found[VOC_UUID_LEN + 1] = "";
    voc_uuid_t *uuid = voc_uuid_create();
    char *name = malloc(1000);

    (void)state;
    assert_non_null(uuid);
    memset(name, 'x', 1000);
    version_5(dns, "vocphone.com", 12, space);

    /* One context for all of them; lengths around SHA-1's blocks too. */
    for (size_t len = 0; len < 1000; len++) {
        name[len] = (char)(len * 7);
        version_5(space, name, len, bytes);
        format(bytes, expected);
        assert_int_equal(voc_uuid_v5(uuid, (voc_str_t){name, len}, found), 0);
        assert_string_equal(found, expected);
    }

    free(name);
    voc_uuid_free(uuid);
}

/* From python3: uuid5(uuid5(NAMESPACE_DNS, "vocphone.com"), "testcall"). */
static void
ids_never_change(void **state)
{
    static const voc_str_t name = voc_str("testcall");
    char found[VOC_UUID_LEN + 1] = "";
    voc_uuid_t *uuid = voc_uuid_create();

    (void)state;
    assert_int_equal(voc_uuid_v5(uuid, name, found), 0);
    assert_string_equal(found, "b707d80f-589a-58fe-a7e0-2e1eb0e7fb87");
    voc_uuid_free(uuid);
    voc_uuid_free(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_implementation_knows_the_rfcs_example),
        cmocka_unit_test(ids_are_in_the_namespace_of_vocphone_com),
        cmocka_unit_test(ids_never_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
