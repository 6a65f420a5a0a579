/* Percent-decoding and the splitting into pairs. */

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "voc_query.h"

static unsigned at_once = 100; /* pairs */

/*
 * Decodes into memory of exact size and writes the pairs as [name|value]; the
 * query is cut in two at form, which begins the body.
 */
static int
decode_both(const char *query, size_t len, size_t form, char *shown,
            size_t *shown_len, int *plain)
{
    char *exact = malloc(form), *rest = malloc(len - form), *p = shown;
    char *out = malloc(len + VOC_QUERY_SLACK);
    voc_pair_t *pairs = malloc(at_once * sizeof(*pairs));
    voc_query_t walk;
    int n, total = 0;

    memcpy(exact, query, form);
    memcpy(rest, query + form, len - form);
    voc_query_begin(&walk, out, (voc_str_t){exact, form},
                    (voc_str_t){rest, len - form});
    free(rest);
    free(exact);

    while ((n = voc_query_next(&walk, pairs, at_once)) > 0) {
        assert_in_range(n, 1, at_once);
        total += n;
        for (int i = 0; i < n; i++) {
            *p++ = '[';
            memcpy(p, pairs[i].name.data, pairs[i].name.len);
            p += pairs[i].name.len;
            *p++ = '|';
            memcpy(p, pairs[i].value.data, pairs[i].value.len);
            p += pairs[i].value.len;
            *p++ = ']';
        }
    }

    *plain = !walk.rare.odd;
    *shown_len = (size_t)(p - shown);
    free(pairs);
    free(out);
    return n < 0 ? -1 : total;
}

/* As a query, as a form, and with a few pairs at once. */
static int
decode(const char *query, size_t len, char *shown, size_t *shown_len)
{
    char again[256];
    size_t again_len;
    int plain, n = decode_both(query, len, len, shown, shown_len, &plain);

    for (at_once = 1; at_once < 4; at_once++) {
        assert_int_equal(
            decode_both(query, len, 0, again, &again_len, &plain), n);
        if (n >= 0) {
            assert_int_equal(n, voc_query_count((voc_str_t){query, len}));
            assert_int_equal(again_len, *shown_len);
            assert_memory_equal(again, shown, again_len);
        }
    }

    at_once = 100;
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
query_and_form_are_one_row_of_pairs(void **state)
{
    static const char both[] = "a=1&b=+c%41d=%42";
    char shown[256];
    size_t len;
    int plain;

    (void)state;
    assert_int_equal(
        decode_both(both, sizeof(both) - 1, 8, shown, &len, &plain), 3);
    assert_int_equal(len, 17);
    assert_memory_equal(shown, "[a|1][b| c][Ad|B]", len);
    assert_int_equal(decode_both("a%4", 3, 3, shown, &len, &plain), -1);
    assert_int_equal(decode_both("a%441", 5, 3, shown, &len, &plain), -1);
}

/* Each special byte at each place of texts of each length. */
static void
no_place_is_overlooked(void **state)
{
    static const char *const row[] = {"&", "=", "+", "%41"};
    char query[64], expected[128], shown[256];
    size_t shown_len;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        for (size_t len = 1; len < 40; len++) {
            for (size_t at = 0; at < len; at++) {
                size_t rest = len - at - 1;
                int n = snprintf(query, sizeof(query), "%.*s%s%.*s", (int)at,
                                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                 row[i], (int)rest,
                                 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
                static const char *const between[] = {"|][", "|", " ", "A"};
                const char *end = i == 1 ? "]" : "|]";
                int m = snprintf(expected, sizeof(expected), "[%.*s%s%.*s%s",
                                 (int)at, query, between[i], (int)rest,
                                 query + n - rest, end);

                if (i == 0 && (at == 0 || rest == 0)) {
                    m = snprintf(expected, sizeof(expected), "%s%.*s%s",
                                 len > 1 ? "[" : "", (int)(len - 1),
                                 at == 0 ? query + 1 : query,
                                 len > 1 ? "|]" : "");
                }
                assert_true(decode(query, (size_t)n, shown, &shown_len) >= 0);
                assert_int_equal(shown_len, m);
                assert_memory_equal(shown, expected, shown_len);
            }
        }
    }
}

static void
what_is_not_printable_ascii_is_seen(void **state)
{
    char query[80], shown[256];
    size_t shown_len;
    int plain;

    (void)state;
    for (unsigned c = 0; c < 0x100; c++) {
        for (size_t at = 0; at < 40; at++) {
            memset(query, 'x', 40);
            query[at] = (char)c;
            if (c == '%') {
                continue;
            }
            decode_both(query, 40, 40, shown, &shown_len, &plain);
            assert_int_equal(plain, c >= 0x20 && c <= 0x7e);

            memset(query, 'x', 40);
            sprintf(query + at, "%%%02xx=%%41", c);
            decode_both(query, strlen(query), 0, shown, &shown_len, &plain);
            assert_int_equal(plain, c >= 0x20 && c <= 0x7e);
        }
    }
}

/* Two halves of a character, and what stands between them. */
static void
no_character_spans_two_pairs(void **state)
{
    static const struct {
        const char *query;
        const char *text;
    } rows[] = {
        {"&a=%c3&%a4=", "&a=\xc3&&&\xa4&&="},
        {"%c3", "\xc3&&"},
        {"a%c3=%a4", "a\xc3&&=\xa4&&"},
    };
    char out[16 + VOC_QUERY_SLACK];
    voc_pair_t pairs[4];
    voc_query_t walk;
    voc_str_t text, body = {NULL, 0};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        voc_str_t query = {rows[i].query, strlen(rows[i].query)};

        voc_query_begin(&walk, out, query, body);
        while (voc_query_next(&walk, pairs, 4) > 0) {
        }
        text = voc_query_text(&walk);
        assert_true(walk.rare.odd);
        assert_int_equal(text.len, strlen(rows[i].text));
        assert_memory_equal(text.data, rows[i].text, text.len);
    }
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
    voc_str_t null = {NULL, 0};
    char out[VOC_QUERY_SLACK];
    voc_query_t walk;
    voc_pair_t pair;

    (void)state;
    assert_int_equal(voc_query_count(null), 0);
    voc_query_begin(&walk, out, null, null);
    assert_int_equal(voc_query_next(&walk, &pair, 1), 0);
    assert_int_equal(voc_query_next(&walk, &pair, 1), 0);
    assert_int_equal(voc_query_text(&walk).len, 0);
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
        cmocka_unit_test(query_and_form_are_one_row_of_pairs),
        cmocka_unit_test(no_place_is_overlooked),
        cmocka_unit_test(what_is_not_printable_ascii_is_seen),
        cmocka_unit_test(no_character_spans_two_pairs),
        cmocka_unit_test(a_name_is_found_in_any_encoding),
        cmocka_unit_test(an_empty_query_may_be_null),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
