/* CRC-32C: the vectors of RFC 3720, B.4, on both paths. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "voc_crc32c.h"

typedef uint32_t (*crc_fn)(uint32_t, const void *, size_t);

static void
vectors(crc_fn crc)
{
    unsigned char data[32];
    unsigned i;

    memset(data, 0, 32);
    assert_int_equal(crc(0, data, 32), 0x8a9136aaU);

    memset(data, 0xff, 32);
    assert_int_equal(crc(0, data, 32), 0x62a8ab43U);

    for (i = 0; i < 32; i++) {
        data[i] = (unsigned char)i;
    }
    assert_int_equal(crc(0, data, 32), 0x46dd794eU);

    for (i = 0; i < 32; i++) {
        data[i] = (unsigned char)(31 - i);
    }
    assert_int_equal(crc(0, data, 32), 0x113fdb5cU);

    assert_int_equal(crc(0, "123456789", 9), 0xe3069283U);
    assert_int_equal(crc(0, "", 0), 0);
    assert_int_equal(crc(0x1234, "", 0), 0x1234);
}

static void
test_vectors_best(void **state)
{
    (void)state;
    vectors(voc_crc32c);
}

static void
test_vectors_table(void **state)
{
    (void)state;
    vectors(voc_crc32c_table);
}

/* Any length, any alignment, cut anywhere: both paths agree. */
static void
test_pieces(void **state)
{
    unsigned char data[700];
    size_t start, length, cut;
    uint32_t whole;
    unsigned i;

    (void)state;
    for (i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char)(i * 167 + (i >> 3));
    }

    for (start = 0; start < 9; start++) {
        for (length = 0; length < 650; length += 7) {
            whole = voc_crc32c_table(0, data + start, length);
            assert_int_equal(voc_crc32c(0, data + start, length), whole);
            for (cut = 0; cut <= length; cut += 5) {
                assert_int_equal(voc_crc32c(voc_crc32c(0, data + start, cut),
                                            data + start + cut, length - cut),
                                 whole);
            }
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_best),
        cmocka_unit_test(test_vectors_table),
        cmocka_unit_test(test_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
