/* Percent-decoding and the splitting into pairs. */

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "voc_query.h"

/* Decodes into memory of exact size and writes the pairs as [name|value]. */
static int
decode(const char *query, size_t len, char *shown, size_t *shown_len)
{
    char *exact = malloc(len), *out = malloc(len), *p = shown;
    voc_str_t decoded, q = {exact, len};
    voc_pair_t *pairs;
    int n;

    memcpy(exact, query, len);
    pairs = malloc(voc_query_count(q) * sizeof(*pairs));
    n = voc_query_decode(q, out, pairs, &decoded);
    if (n >= 0) {
        assert_int_equal(n, voc_query_count(q));
        assert_ptr_equal(decoded.data, out);
        assert_true(decoded.len <= len);
    }

    for (int i = 0; i < n; i++) {
        *p++ = '[';
        memcpy(p, pairs[i].name.data, pairs[i].name.len);
        p += pairs[i].name.len;
        *p++ = '|';
        memcpy(p, pairs[i].value.data, pairs[i].value.len);
        p += pairs[i].value.len;
        *p++ = ']';
    }

    *shown_len = (size_t)(p - shown);
    free(pairs);
    free(out);
    free(exact);
    return n;
}

#define assert_pairs(query, expected)                                        \
    do {                                                                     \
        char shown[256];                                                     \
        size_t len;                                                          \
        assert_true(decode(query, sizeof(query) - 1, shown, &len) >= 0);     \
        assert_int_equal(len, sizeof(expected) - 1);                         \
        assert_memory_equal(shown, expected, len);                           \
    } while (0)

#define assert_broken(query)                                                 \
    do {                                                                     \
        char shown[256];                                                     \
        size_t len;                                                          \
        assert_int_equal(decode(query, sizeof(query) - 1, shown, &len), -1); \
    } while (0)

static void
pairs_are_split_at_ampersand_and_first_equals(void **state)
{
    (void)state;
    assert_pairs("", "");
    assert_pairs("a=1", "[a|1]");
    assert_pairs("a=1&b=2", "[a|1][b|2]");
    assert_pairs("a=1=2", "[a|1=2]");
    assert_pairs("a==", "[a|=]");
    assert_pairs("a", "[a|]");
    assert_pairs("a=", "[a|]");
    assert_pairs("=x", "[|x]");
    assert_pairs("=", "[|]");
    assert_pairs("a&b", "[a|][b|]");
}

static void
empty_pairs_are_skipped(void **state)
{
    (void)state;
    assert_pairs("&", "");
    assert_pairs("&&&", "");
    assert_pairs("&a=1", "[a|1]");
    assert_pairs("a=1&", "[a|1]");
    assert_pairs("a=1&&&b=2&&", "[a|1][b|2]");
}

static void
encoded_bytes_are_decoded_once(void **state)
{
    (void)state;
    assert_pairs("a=b+c", "[a|b c]");
    assert_pairs("a+b=c", "[a b|c]");
    assert_pairs("a=%2B", "[a|+]");
    assert_pairs("a=%2541", "[a|%41]");
    assert_pairs("%61%62=%63", "[ab|c]");
    assert_pairs("a=%c3%a4%C3%A4", "[a|\xc3\xa4\xc3\xa4]");
    assert_pairs("a=%00", "[a|\0]");
    assert_pairs("a=%fF", "[a|\xff]");
    assert_pairs("a=\xc3\xa4", "[a|\xc3\xa4]");
}

static void
encoded_separators_do_not_separate(void **state)
{
    (void)state;
    assert_pairs("a=1%26b%3D2", "[a|1&b=2]");
    assert_pairs("a%3Db=c", "[a=b|c]");
    assert_pairs("%26=%26", "[&|&]");
    assert_pairs("%3D=%3D&x", "[=|=][x|]");
}

static void
hash_and_semicolon_are_data(void **state)
{
    (void)state;
    assert_pairs("ivrOption=#&crm_id=x", "[ivrOption|#][crm_id|x]");
    assert_pairs("a=1;b=2?c/d", "[a|1;b=2?c/d]");
}

static void
a_broken_encoding_is_refused(void **state)
{
    (void)state;
    assert_broken("%");
    assert_broken("a=%");
    assert_broken("a=%4");
    assert_broken("a=%4&b=1");
    assert_broken("a=%zz");
    assert_broken("a=%4g");
    assert_broken("a=%g4");
    assert_broken("%%34");
    assert_broken("a=% 4");
    assert_broken("a=%+4");
    assert_broken("a=%@A");
    assert_broken("a=%`A");
    assert_broken("a=%/0");
    assert_broken("a=%:0");
    assert_broken("a=1&b=%u0041");
}

static void
one_look_at_out_sees_every_byte(void **state)
{
    char out[16];
    voc_pair_t pairs[2];
    voc_str_t decoded;

    (void)state;
    assert_int_equal(voc_query_decode((voc_str_t)voc_str("&a=%c3&%a4="), out,
                                      pairs, &decoded),
                     2);
    assert_int_equal(decoded.len, 7);
    assert_memory_equal(decoded.data, "&a=\xc3&\xa4=", 7);
}

static int
has(const char *query, const char *name)
{
    voc_str_t q = {malloc(strlen(query)), strlen(query)};
    voc_str_t n = {malloc(strlen(name)), strlen(name)};
    int found;

    memcpy((char *)q.data, query, q.len);
    memcpy((char *)n.data, name, n.len);
    found = voc_query_has(q, n);
    free((char *)n.data);
    free((char *)q.data);
    return found;
}

static void
a_name_is_found_in_any_encoding(void **state)
{
    (void)state;
    assert_true(has("event=x", "event"));
    assert_true(has("event", "event"));
    assert_true(has("a=1&event=x", "event"));
    assert_true(has("&&event=x", "event"));
    assert_true(has("%65v%65nt=x", "event"));
    assert_true(has("a+b=x", "a b"));
    assert_true(has("a%3Db=x", "a=b"));
    assert_true(has("=x", ""));
    assert_true(has("a=%&event=x", "event"));

    assert_false(has("", "event"));
    assert_false(has("", ""));
    assert_false(has("&&", ""));
    assert_false(has("Event=x", "event"));
    assert_false(has("events=x", "event"));
    assert_false(has("even=x", "event"));
    assert_false(has("event%00=x", "event"));
    assert_false(has("a=event", "event"));
    assert_false(has("a=1%26event=x", "event"));
    assert_false(has("even%7=x", "event"));
    assert_false(has("even%", "event"));
    assert_false(has("event%", "event"));
    assert_false(has("%ff", "\x7f"));
}

static void
an_empty_query_may_be_null(void **state)
{
    voc_str_t null = {NULL, 0}, decoded;

    (void)state;
    assert_int_equal(voc_query_count(null), 0);
    assert_int_equal(voc_query_decode(null, NULL, NULL, &decoded), 0);
    assert_int_equal(decoded.len, 0);
    assert_false(voc_query_has(null, null));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_split_at_ampersand_and_first_equals),
        cmocka_unit_test(empty_pairs_are_skipped),
        cmocka_unit_test(encoded_bytes_are_decoded_once),
        cmocka_unit_test(encoded_separators_do_not_separate),
        cmocka_unit_test(hash_and_semicolon_are_data),
        cmocka_unit_test(a_broken_encoding_is_refused),
        cmocka_unit_test(one_look_at_out_sees_every_byte),
        cmocka_unit_test(a_name_is_found_in_any_encoding),
        cmocka_unit_test(an_empty_query_may_be_null),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
