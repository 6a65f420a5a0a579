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
            size_t *shown_len, int *plain, int *quoted)
{
    char padding[VOC_STR_SLACK];
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
        assert_int_equal(total % (int)at_once, 0);
        total += n;
        for (int i = 0; i < n; i++) {
            *p++ = '[';
            memcpy(p, pairs[i].name.data, pairs[i].name.len);
            p += pairs[i].name.len;
            *p++ = '|';
            memcpy(p, pairs[i].value.data, pairs[i].value.len);
            p += pairs[i].value.len;
            *p++ = ']';

            /* They are padded: ASan would speak up. */
            memcpy(padding, pairs[i].name.data + pairs[i].name.len,
                   sizeof(padding));
            memcpy(padding, pairs[i].value.data + pairs[i].value.len,
                   sizeof(padding));
        }
    }

    *plain = !walk.rare.odd;
    *quoted = walk.rare.quoted != 0;
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
    int plain, quoted;
    int n = decode_both(query, len, len, shown, shown_len, &plain, &quoted);

    for (at_once = 1; at_once < 4; at_once++) {
        assert_int_equal(
            decode_both(query, len, 0, again, &again_len, &plain, &quoted),
            n);
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
    int plain, quoted;

    (void)state;
    assert_int_equal(
        decode_both(both, sizeof(both) - 1, 8, shown, &len, &plain, &quoted),
        3);
    assert_int_equal(len, 17);
    assert_memory_equal(shown, "[a|1][b| c][Ad|B]", len);
    assert_int_equal(decode_both("a%4", 3, 3, shown, &len, &plain, &quoted),
                     -1);
    assert_int_equal(decode_both("a%441", 5, 3, shown, &len, &plain, &quoted),
                     -1);
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
    int plain, quoted;

    (void)state;
    for (unsigned c = 0; c < 0x100; c++) {
        for (size_t at = 0; at < 40; at++) {
            memset(query, 'x', 40);
            query[at] = (char)c;
            if (c == '%') {
                continue;
            }
            decode_both(query, 40, 40, shown, &shown_len, &plain, &quoted);
            assert_int_equal(plain, c >= 0x20 && c <= 0x7e);

            memset(query, 'x', 40);
            sprintf(query + at, "%%%02xx=%%41", c);
            decode_both(query, strlen(query), 0, shown, &shown_len, &plain,
                        &quoted);
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

/* ---- against a decoder that goes byte by byte ---------------------------
 */

typedef struct {
    char text[1024]; /* decoded pairs as [name|value] */
    size_t len;
    int n; /* pairs, -1: a broken encoding */
    int odd;
    int quoted;
} plainly_t;

static int
plain_hex(char c)
{
    const char *digits = "0123456789abcdefABCDEF", *at = strchr(digits, c);

    if (c == '\0' || at == NULL) {
        return -1;
    }
    return (int)(at - digits) - (at - digits > 15 ? 6 : 0);
}

static void
decode_plainly(const char *query, size_t len, plainly_t *p)
{
    size_t i, at, end;
    int byte, split;

    memset(p, 0, sizeof(*p));

    for (at = 0; at < len; at = end + 1) {
        for (end = at; end < len && query[end] != '&'; end++) {
        }
        if (end == at) {
            continue;
        }

        p->n++;
        p->text[p->len++] = '[';
        for (split = 0, i = at; i < end; i++) {
            byte = (unsigned char)query[i];
            if (byte == '=' && !split) {
                split = 1;
                p->text[p->len++] = '|';
                continue;
            }
            if (byte == '+') {
                byte = ' ';
            }
            if (byte == '%') {
                if (end - i < 3 || plain_hex(query[i + 1]) < 0 ||
                    plain_hex(query[i + 2]) < 0) {
                    p->n = -1;
                    return;
                }
                byte = plain_hex(query[i + 1]) * 16 + plain_hex(query[i + 2]);
                i += 2;
            }
            p->odd |= byte < ' ' || byte > '~';
            p->quoted |= byte == '"' || byte == '\\';
            p->text[p->len++] = (char)byte;
        }
        if (!split) {
            p->text[p->len++] = '|';
        }
        p->text[p->len++] = ']';
    }
}

/* Both, over a query and a form, which are cut at cut; len: at most 300. */
static void
assert_same(const char *query, size_t len, size_t cut)
{
    char joined[302], shown[1024];
    size_t shown_len;
    plainly_t plainly;
    int plain, quoted, n;

    n = decode_both(query, len, cut, shown, &shown_len, &plain, &quoted);

    memcpy(joined, query, cut);
    joined[cut] = '&';
    memcpy(joined + cut + 1, query + cut, len - cut);
    decode_plainly(joined, len + 1, &plainly);

    if (n != plainly.n ||
        (n >= 0 && (shown_len != plainly.len ||
                    memcmp(shown, plainly.text, shown_len) != 0 ||
                    plain == plainly.odd || quoted != plainly.quoted))) {
        fail_msg("%.*s is %d, %.*s, not %d, %.*s", (int)(len + 1), joined, n,
                 (int)shown_len, shown, plainly.n, (int)plainly.len,
                 plainly.text);
    }
}

/* Each beginning of a pair, at each place of up to two blocks. */
static void
pairs_may_cross_any_boundary(void **state)
{
    static const char *const rows[] = {
        "a=1",
        "name=value",
        "a=b+c&d=e%41f",
        "name%3dof=value",
        "=&=x&",
        "answeredDuration=77&seventeen.letters=x",
        "a%20name%2Bof+blanks=1%262&b==%3d%3D",
        "date=2024-01-01%2019%3A00%3A00&callid=x",
        "a\"=b&c=\\",
        "a=%22&b=%5c",
        "a=\xc3\xa4&b=%c3%a4",
        "a=%4",
        "a=%&b=1",
        "%zz",
        ("a.name.that.goes.over.more.than.one.block.of.64.bytes.and.ends.=="
         "a.value.that.does.as.well.and.has.to.end.somewhere.behind.it%21"),
    };
    char query[300];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t before = 0; before < 140; before++) {
            for (unsigned kind = 0; kind < 4; kind++) {
                size_t len = before + strlen(rows[i]);

                memset(query, "x&=y"[kind], before);
                if (before > 0) {
                    query[before - 1] = '&';
                }
                memcpy(query + before, rows[i], len - before);
                assert_same(query, len, len);
                assert_same(query, len, before);
                assert_same(query, len, before / 2);
            }
        }
    }
}

static void
any_bytes_are_decoded_alike(void **state)
{
    static const char *const kinds[] = {
        "&=x",
        "&=+%4 aF",
        "&&&&====abcdefgh%26%3d%3D%41",
        "abcdefgh&=%20",
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=&%41+"
         "\"\\\x7f"),
    };
    uint64_t random = 1;
    char query[300];

    (void)state;
    for (unsigned n = 0; n < 150000; n++) {
        const char *kind = kinds[n % 5];
        size_t from = strlen(kind), len = n % 4 == 0 ? n / 4 % 300 : n % 40;

        for (size_t i = 0; i < len; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            query[i] = kind[(random >> 33) % from];
            /* A whole one, here and there. */
            if (query[i] == '%' && (random >> 20) % 8 != 0 && i + 2 < len) {
                query[++i] = "0123456789abcdefABCDEF"[(random >> 50) % 22];
                query[++i] = "0123456789abcdefABCDEF"[(random >> 55) % 22];
            }
        }
        at_once = n % 7 == 0 ? 1 + n % 3 : 400;
        assert_same(query, len,
                    n % 3 == 0 ? len : (random >> 40) % (len + 1));
    }
    at_once = 100;
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
        cmocka_unit_test(pairs_may_cross_any_boundary),
        cmocka_unit_test(any_bytes_are_decoded_alike),
        cmocka_unit_test(a_name_is_found_in_any_encoding),
        cmocka_unit_test(an_empty_query_may_be_null),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
