/* Patterns match whole values, in UTF-8, within limits. */

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "voc_pattern.h"

static int
match(const char *expression, const char *value, size_t len)
{
    voc_error_t error;
    voc_pattern_t *pattern = voc_pattern_compile(
        (voc_str_t){expression, strlen(expression)}, &error);
    char *exact = malloc(len);
    int rc;

    assert_non_null(pattern);
    memcpy(exact, value, len);
    rc = voc_pattern_match(pattern, (voc_str_t){exact, len});
    /* What a match leaves behind has no effect on the next. */
    assert_int_equal(voc_pattern_match(pattern, (voc_str_t){exact, len}), rc);
    free(exact);
    voc_pattern_free(pattern);
    return rc;
}

#define assert_match(expression, value)                                      \
    assert_int_equal(match(expression, value, sizeof(value) - 1), 1)
#define assert_no_match(expression, value)                                   \
    assert_int_equal(match(expression, value, sizeof(value) - 1), 0)

static void
the_whole_value_must_match(void **state)
{
    (void)state;
    assert_match("[a-z]+", "abc");
    assert_no_match("[a-z]+", "abc1");
    assert_no_match("[a-z]+", "1abc");
    assert_no_match("[a-z]+$", "abc\n");
    assert_no_match("(?m)^b$", "a\nb\nc");
    assert_match("a|ab", "ab");
    assert_match("", "");
    assert_no_match("a", "");
    assert_match("a\\x00b", "a\0b");
}

static void
a_character_is_not_a_byte(void **state)
{
    (void)state;
    assert_match(".", "\xc3\xa4");
    assert_match(".", "\xf0\x9f\x93\x9e");
    assert_no_match("..", "\xc3\xa4");
}

static void
what_is_not_utf8_does_not_match(void **state)
{
    (void)state;
    assert_no_match("(?s).*", "\xff");
    assert_no_match("(?s).*", "a\xc3");                /* truncated */
    assert_no_match("(?s).*", "\xe2\x82");             /* truncated */
    assert_no_match("(?s).*", "\xf0\x9f\x93");         /* truncated */
    assert_no_match("(?s).*", "\xc0\xaf");             /* overlong */
    assert_no_match("(?s).*", "\xe0\x80\xaf");         /* overlong */
    assert_no_match("(?s).*", "\xf0\x80\x80\xaf");     /* overlong */
    assert_no_match("(?s).*", "\xed\xa0\x80");         /* surrogate */
    assert_no_match("(?s).*", "\xf4\x90\x80\x80");     /* above U+10FFFF */
    assert_no_match("(?s).*", "\xf8\x88\x80\x80\x80"); /* five bytes */
    assert_no_match("(?s).*", "\xfc\x84\x80\x80\x80\x80");
    assert_no_match("(?s).*", "\x80");
    assert_match("(?s).*", "\xf4\x8f\xbf\xbf");
    assert_match("(?s).*", "\xed\x9f\xbf");
}

static void
a_value_that_is_not_there_is_empty(void **state)
{
    voc_error_t error;
    voc_pattern_t *pattern =
        voc_pattern_compile((voc_str_t)voc_str("a?"), &error);

    (void)state;
    assert_int_equal(voc_pattern_match(pattern, (voc_str_t){NULL, 0}), 1);
    voc_pattern_free(pattern);
    voc_pattern_free(NULL);
}

static void
a_bad_pattern_is_explained(void **state)
{
    voc_error_t error;

    (void)state;
    assert_null(voc_pattern_compile((voc_str_t)voc_str("a(b"), &error));
    assert_non_null(strstr(error.text, "parenthesis"));
    assert_non_null(strstr(error.text, "offset 3"));
    assert_null(voc_pattern_compile((voc_str_t)voc_str("\xff"), &error));

    /* \C would end a match within a character. */
    assert_null(voc_pattern_compile((voc_str_t)voc_str("\\C"), &error));
}

static void
a_runaway_pattern_ends(void **state)
{
    char value[64];

    (void)state;
    memset(value, 'a', sizeof(value));
    value[sizeof(value) - 1] = '!';
    assert_int_equal(match("(a|aa)+(a|aa)+", value, sizeof(value)), -1);
    assert_int_equal(match("(*NO_JIT)(a|aa)+(a|aa)+", value, sizeof(value)),
                     -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_value_must_match),
        cmocka_unit_test(a_character_is_not_a_byte),
        cmocka_unit_test(what_is_not_utf8_does_not_match),
        cmocka_unit_test(a_value_that_is_not_there_is_empty),
        cmocka_unit_test(a_bad_pattern_is_explained),
        cmocka_unit_test(a_runaway_pattern_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
