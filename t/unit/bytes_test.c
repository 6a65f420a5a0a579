/* Bytes by SSE2, where there is, and one by one: the same comes out. */

#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#include "voc_bytes.h"

static uint64_t state_of_random = 1;

static unsigned
random_byte(void)
{
    state_of_random = state_of_random * 6364136223846793005u + 1;
    return (unsigned)(state_of_random >> 56);
}

static void
assert_block(const char *data)
{
    char *one = malloc(VOC_BLOCK), *other = malloc(VOC_BLOCK);
    voc_rare_t a = {1, 0, 0}, b = {2, 0, 0};

    memcpy(one, data, VOC_BLOCK);
    memcpy(other, data, VOC_BLOCK);
    assert_true(voc_bytes_block(one, &a) == voc_bytes_block_plain(other, &b));
    assert_memory_equal(one, other, VOC_BLOCK);
    assert_true(a.percents == b.percents);
    assert_int_equal(a.odd != 0, b.odd != 0);
    assert_int_equal(a.quoted != 0, b.quoted != 0);

    /* What was seen before is not forgotten. */
    a.odd = b.odd = a.quoted = b.quoted = 1;
    voc_bytes_block(one, &a);
    voc_bytes_block_plain(other, &b);
    assert_true(a.odd != 0 && b.odd != 0 && a.quoted != 0 && b.quoted != 0);
    free(one);
    free(other);
}

/* Each byte at each place, among letters and among others of its kind. */
static void
blocks_are_seen_whole(void **state)
{
    char data[VOC_BLOCK];

    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        memset(data, (int)c, sizeof(data));
        assert_block(data);
        for (unsigned at = 0; at < VOC_BLOCK; at++) {
            memset(data, 'x', sizeof(data));
            data[at] = (char)c;
            assert_block(data);
        }
    }

    for (unsigned n = 0; n < 20000; n++) {
        for (unsigned i = 0; i < VOC_BLOCK; i++) {
            unsigned byte = random_byte();

            data[i] = "&=+%\"\\ ~x"[byte % 9];
            if (byte > 250) {
                data[i] = (char)random_byte();
            }
        }
        assert_block(data);
    }
}

static void
a_block_is_told_by_its_bits(void **state)
{
    char data[VOC_BLOCK];
    voc_rare_t rare = {0, 0, 0};

    (void)state;
    memset(data, 'x', sizeof(data));
    data[0] = data[17] = data[63] = '&';
    data[1] = data[62] = '+';
    data[5] = '%';
    assert_true(voc_bytes_block(data, &rare) ==
                (1 | 1 << 17 | (uint64_t)1 << 63));
    assert_true(rare.percents == 1 << 5);
    assert_true(data[1] == ' ' && data[62] == ' ');
    assert_int_equal(rare.odd, 0);
    assert_int_equal(rare.quoted, 0);
}

static const char low[16] = "0-0000 000000000";
static const char range[16] = {9, 0, 1, 2, 3, 4, 52, 9,
                               9, 9, 9, 9, 9, 9, 9,  127};

static void
assert_sixteen(const char *data)
{
    char *exact = malloc(16);

    memcpy(exact, data, 16);
    assert_int_equal(voc_bytes_equals(exact), voc_bytes_equals_plain(exact));
    assert_int_equal(voc_bytes_digits(exact), voc_bytes_digits_plain(exact));
    assert_int_equal(voc_bytes_within(exact, low, range) != 0,
                     voc_bytes_within_plain(exact, low, range) != 0);
    free(exact);
}

static void
sixteen_bytes_are_seen_whole(void **state)
{
    static const char *const among[] = {
        "0123456789012345", "================", "xxxxxxxxxxxxxxxx",
        "0-0000 000000000", "9-1234T999999999",
    };
    char data[16];

    (void)state;
    for (unsigned k = 0; k < sizeof(among) / sizeof(among[0]); k++) {
        for (unsigned c = 0; c < 256; c++) {
            for (unsigned at = 0; at < 16; at++) {
                memcpy(data, among[k], 16);
                data[at] = (char)c;
                assert_sixteen(data);
            }
        }
    }

    for (unsigned n = 0; n < 20000; n++) {
        for (unsigned i = 0; i < 16; i++) {
            data[i] = "0123456789=/:"[random_byte() % 13];
        }
        assert_sixteen(data);
    }
}

static void
sixteen_bytes_are_told(void **state)
{
    (void)state;
    assert_int_equal(voc_bytes_digits("0123456789012345"), 16);
    assert_int_equal(voc_bytes_digits("012345678901234x"), 15);
    assert_int_equal(voc_bytes_digits("/123456789012345"), 0);
    assert_int_equal(voc_bytes_digits("0:23456789012345"), 1);
    assert_int_equal(voc_bytes_equals("0123456789012345"), 16);
    assert_int_equal(voc_bytes_equals("012345678901234="), 15);
    assert_int_equal(voc_bytes_equals("==23456789012345"), 0);
    assert_true(voc_bytes_within("9-1234T999999999", low, range));
    assert_false(voc_bytes_within("9-1235T999999999", low, range) &&
                 voc_bytes_within("9-1244T999999999", low, range));
    assert_false(voc_bytes_within("9-1334T999999999", low, range));
    assert_false(voc_bytes_within("9-1234U999999999", low, range));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_seen_whole),
        cmocka_unit_test(a_block_is_told_by_its_bits),
        cmocka_unit_test(sixteen_bytes_are_seen_whole),
        cmocka_unit_test(sixteen_bytes_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
