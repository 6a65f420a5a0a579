/* Names known beforehand: found exactly, whatever is behind them. */

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "voc_names.h"

static voc_str_t
text(const char *s)
{
    return (voc_str_t){s, strlen(s)};
}

/* In memory of exact size, and padded with bytes that are in the name. */
static int
find(const voc_names_t *names, voc_str_t name)
{
    char *exact = malloc(name.len),
         *padded = malloc(name.len + VOC_STR_SLACK);
    int found, again;

    memcpy(exact, name.data, name.len);
    found = voc_names_find(names, (voc_str_t){exact, name.len});

    for (unsigned i = 0; i < VOC_STR_SLACK; i++) {
        padded[name.len + i] = name.len > 0 ? exact[i % name.len] : 'x';
    }
    memcpy(padded, name.data, name.len);
    again = voc_names_find_padded(names, (voc_str_t){padded, name.len});
    assert_int_equal(found, again);

    free(padded);
    free(exact);
    return found;
}

static void
names_are_numbered_as_they_come(void **state)
{
    voc_names_t names;

    (void)state;
    voc_names_begin(&names);
    assert_int_equal(find(&names, text("date")), -1);
    assert_int_equal(voc_names_add(&names, text("date")), 0);
    assert_int_equal(voc_names_add(&names, text("callid")), 1);
    assert_int_equal(voc_names_add(&names, text("date")), 0);
    assert_int_equal(voc_names_add(&names, text("event")), 2);
    assert_int_equal(find(&names, text("date")), 0);
    assert_int_equal(find(&names, text("callid")), 1);
    assert_int_equal(find(&names, text("event")), 2);
    assert_int_equal(find(&names, text("")), -1);
    assert_int_equal(find(&names, text("dat")), -1);
    assert_int_equal(find(&names, text("datee")), -1);
    assert_int_equal(find(&names, text("datedate")), -1);
}

/* A name of each length; those with a byte more or less, and one changed. */
static void
names_of_any_length_are_exact(void **state)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO";
    voc_names_t names;
    char name[48];

    (void)state;
    for (size_t len = 1; len <= 40; len++) {
        voc_names_begin(&names);
        assert_int_equal(voc_names_add(&names, text("other")), 0);
        assert_int_equal(voc_names_add(&names, (voc_str_t){letters, len}), 1);
        for (size_t n = 0; n <= 41; n++) {
            assert_int_equal(find(&names, (voc_str_t){letters, n}),
                             n == len ? 1 : -1);
        }
        for (size_t at = 0; at < len; at++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                memcpy(name, letters, len);
                name[at] = (char)(name[at] ^ 1 << bit);
                assert_int_equal(find(&names, (voc_str_t){name, len}), -1);
            }
        }
    }
}

static void
names_may_share_their_first_bytes(void **state)
{
    voc_names_t names;
    char name[VOC_NAMES_MAX][32];

    (void)state;
    voc_names_begin(&names);
    for (unsigned i = 0; i < VOC_NAMES_MAX; i++) {
        sprintf(name[i], "sixteen letters.%u", i * 7);
        assert_int_equal(voc_names_add(&names, text(name[i])), i);
    }
    for (unsigned i = 0; i < VOC_NAMES_MAX; i++) {
        assert_int_equal(find(&names, text(name[i])), i);
    }
    assert_int_equal(find(&names, text("sixteen letters.")), -1);
    assert_int_equal(find(&names, text("sixteen letters.1")), -1);

    assert_int_equal(voc_names_add(&names, text("more")), -1);
    assert_int_equal(voc_names_add(&names, text(name[63])), 63);
    assert_int_equal(find(&names, text("more")), -1);
}

/* A full table, and bytes of all kinds: what is not there is not found. */
static void
nothing_else_is_found(void **state)
{
    voc_names_t names;
    char name[VOC_NAMES_MAX][8], other[16];
    uint64_t random = 1;

    (void)state;
    voc_names_begin(&names);
    for (unsigned i = 0; i < VOC_NAMES_MAX; i++) {
        sprintf(name[i], "n%u", i * 31);
        assert_int_equal(voc_names_add(&names, text(name[i])), i);
    }
    for (unsigned i = 0; i < VOC_NAMES_MAX; i++) {
        assert_int_equal(find(&names, text(name[i])), i);
    }

    for (unsigned n = 0; n < 20000; n++) {
        for (unsigned i = 0; i < 16; i++) {
            random = random * 6364136223846793005u + 1;
            other[i] = (char)(random >> 56 | 1);
        }
        assert_int_equal(find(&names, (voc_str_t){other, n % 16 + 1}), -1);
    }
    memset(other, 0xff, sizeof(other));
    assert_int_equal(find(&names, (voc_str_t){other, sizeof(other)}), -1);
    memset(other, 0, sizeof(other));
    assert_int_equal(find(&names, (voc_str_t){other, sizeof(other)}), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_numbered_as_they_come),
        cmocka_unit_test(names_of_any_length_are_exact),
        cmocka_unit_test(names_may_share_their_first_bytes),
        cmocka_unit_test(nothing_else_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
