/* What each type of field accepts, and what becomes of it. */

#include "event_fixture.h"

/*
 * What value becomes as the only field of an event.  All memory has its exact
 * size, but for the bytes behind a padded string.
 */
static int
check_one(const voc_field_t *field, const char *value, size_t len,
          char *scratch, voc_str_t *normal)
{
    voc_event_type_t type = {.nfields = 1, .fields = {*field}};
    voc_pair_t pair = {.value = {value, len}};
    const voc_pair_t *given = &pair;
    unsigned n = voc_catalogue_check(&type, 1, &given, scratch, normal);

    assert_in_range(n, 0, 1);
    return (int)n;
}

/* expected: "-" for not well-formed, NULL for null. */
static void
check(const voc_field_t *field, const char *value, size_t len,
      const char *expected)
{
    char *exact = malloc(len + VOC_STR_SLACK), padding[VOC_STR_SLACK];
    char *scratch = malloc(VOC_DATETIME_LEN + VOC_STR_SLACK);
    voc_str_t normal = {NULL, 0};
    int rc;

    /* What follows must not make a value longer, nor shorter. */
    memset(exact + len, "9&Z:"[len % 4], VOC_STR_SLACK);
    memcpy(exact, value, len);
    rc = check_one(field, exact, len, scratch, &normal);
    if (expected != NULL && strcmp(expected, "-") == 0) {
        if (rc != 0) {
            fail_msg("\"%s\" is accepted", value);
        }
    } else if (rc != 1) {
        fail_msg("\"%s\" is refused", value);
    } else {
        assert_text(normal, expected);
        if (normal.data != NULL) {
            memcpy(padding, normal.data + normal.len, VOC_STR_SLACK);
        }
    }
    free(scratch);
    free(exact);
}

typedef struct {
    const char *value;
    const char *expected;
} row_t;

static void
check_all(const voc_field_t *field, const row_t *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        check(field, rows[i].value, strlen(rows[i].value), rows[i].expected);
    }
}

#define CHECK_ALL(field, rows)                                               \
    check_all(&(field), rows, sizeof(rows) / sizeof((rows)[0]))

static void
datetimes_exist(void **state)
{
    static const voc_field_t field = {.type = VOC_DATETIME};
    static const row_t rows[] = {
        {"2024-01-01 19:00", "2024-01-01T19:00:00Z"},
        {"2024-01-01 19:00:01", "2024-01-01T19:00:01Z"},
        {"2024-01-01T19:00", "2024-01-01T19:00:00Z"},
        {"2024-01-01T19:00:01Z", "2024-01-01T19:00:01Z"},
        {"2024-01-01 19:00Z", "2024-01-01T19:00:00Z"},
        {"0001-01-01 00:00:00", "0001-01-01T00:00:00Z"},
        {"9999-12-31 23:59:59", "9999-12-31T23:59:59Z"},
        {"2024-02-29 00:00", "2024-02-29T00:00:00Z"},
        {"2000-02-29 00:00", "2000-02-29T00:00:00Z"},
        {"2024-04-30 00:00", "2024-04-30T00:00:00Z"},

        {"", "-"},
        {"Z", "-"},
        {"null", "-"},
        {"0000-01-01 00:00", "-"},
        {"2023-02-29 00:00", "-"},
        {"1900-02-29 00:00", "-"},
        {"2024-02-30 00:00", "-"},
        {"2024-04-31 00:00", "-"},
        {"2024-00-01 00:00", "-"},
        {"2024-13-01 00:00", "-"},
        {"2024-01-00 00:00", "-"},
        {"2024-01-32 00:00", "-"},
        {"2024-12-32 00:00", "-"},
        {"2024-01-01 24:00", "-"},
        {"2024-01-01 00:60", "-"},
        {"2024-01-01 00:00:60", "-"},
        {"2024-01-01", "-"},
        {"2024-01-01 19", "-"},
        {"2024-01-01 19:0", "-"},
        {"2024-01-01 19:00:", "-"},
        {"2024-01-01 19:00:0", "-"},
        {"2024-01-01 19:00:00.0", "-"},
        {"2024-01-01 19:00:00ZZ", "-"},
        {"2024-01-01 19:00:00z", "-"},
        {"2024-01-01t19:00:00", "-"},
        {"2024-01-01 19:00:00+00:00", "-"},
        {"2024-01-01  9:00", "-"},
        {"2024/01/01 19:00", "-"},
        {"2024-01/01 19:00", "-"},
        {"2024-01-01_19:00", "-"},
        {"2024-01-01 19.00", "-"},
        {"2024-01-01 19:00.00", "-"},
        {" 024-01-01 19:00", "-"},
        {"-024-01-01 19:00", "-"},
        {"2024-1 -01 19:00", "-"},
        {"2024-01- 1 19:00", "-"},
        {"2024-01-01 19: 0", "-"},
        {"2024-01-01 19:00: 0", "-"},
        {"2024-01-01 19:00 ", "-"},
        {" 2024-01-01 19:00", "-"},
    };

    (void)state;
    CHECK_ALL(field, rows);
}

/* Each day from 1896 to 2104, against the C library. */
static void
dates_agree_with_the_c_library(void **state)
{
    static const voc_field_t field = {.type = VOC_DATETIME};
    char value[64], scratch[VOC_DATETIME_LEN + VOC_STR_SLACK];
    voc_str_t normal;

    (void)state;
    for (int year = 1896; year <= 2104; year++) {
        for (int month = 1; month <= 12; month++) {
            for (int day = 1; day <= 31; day++) {
                struct tm tm = {.tm_year = year - 1900,
                                .tm_mon = month - 1,
                                .tm_mday = day};
                int len =
                    sprintf(value, "%04d-%02d-%02d 12:34", year, month, day);

                timegm(&tm);
                assert_int_equal(
                    check_one(&field, value, (size_t)len, scratch, &normal),
                    tm.tm_mday == day);
            }
        }
    }
}

static void
numbers_are_1_to_20_digits(void **state)
{
    static const voc_field_t field = {.type = VOC_NUMBER};
    static const row_t rows[] = {
        {"611800111222", "611800111222"},
        {"0", "0"},
        {"007", "007"},
        {"12345678901234567890", "12345678901234567890"},
        {"+12345678901234567890", "12345678901234567890"},
        {"+6", "6"},
        {" 6", "6"},

        {"", "-"},
        {"+", "-"},
        {" ", "-"},
        {"null", "-"},
        {"123456789012345678901", "-"},
        {"+123456789012345678901", "-"},
        {"++6", "-"},
        {" +6", "-"},
        {"  6", "-"},
        {"6 ", "-"},
        {"6+", "-"},
        {"-6", "-"},
        {"6-1", "-"},
        {"Anonymous", "-"},
        {"6a", "-"},
        {"/", "-"},
        {":", "-"},
        {"\xd9\xa3", "-"}, /* a digit, but an Arabic one */
    };

    (void)state;
    CHECK_ALL(field, rows);
}

/* Each byte at each place of a date, and the shorter and longer ones. */
static void
dates_are_well_formed_at_each_place(void **state)
{
    static const voc_field_t field = {.type = VOC_DATETIME};
    static const char date[] = "2019-11-12 10:10:10Z";
    static const char lowest[] = "0001-11-12 00:00:00Z";
    char value[24], expected[24];

    (void)state;
    for (size_t len = 0; len <= 20; len++) {
        int shown = len == 16 || len == 19 || len == 20;

        check(&field, date, len,
              !shown      ? "-"
              : len == 16 ? "2019-11-12T10:10:00Z"
                          : "2019-11-12T10:10:10Z");
    }

    for (size_t at = 0; at < 20; at++) {
        for (int c = 0; c < 256; c++) {
            /* The places where a digit may be any, and where it may not. */
            int digit = c >= '0' && c <= '9';
            int good = at < 4 || at == 12 || at == 15 || at == 18 ? digit
                       : at == 5              ? c == '0' || c == '1'
                       : at == 6              ? c >= '0' && c <= '2'
                       : at == 8              ? c >= '0' && c <= '2'
                       : at == 9              ? digit
                       : at == 10             ? c == ' ' || c == 'T'
                       : at == 11             ? c >= '0' && c <= '2'
                       : at == 14 || at == 17 ? c >= '0' && c <= '5'
                                              : c == date[at];

            memcpy(value, date, sizeof(date));
            value[at] = (char)c;
            memcpy(expected, value, sizeof(date));
            expected[10] = 'T';
            check(&field, value, 20, good ? expected : "-");
        }
    }

    check(&field, lowest, 20, "0001-11-12T00:00:00Z");
}

/* 0 to 40 digits, and a byte that is none at each place. */
static void
digits_are_checked_at_each_place(void **state)
{
    static const voc_field_t number = {.type = VOC_NUMBER};
    static const voc_field_t caller = {.type = VOC_CALLER};
    static const voc_field_t integer = {.type = VOC_INTEGER};
    static const char other[] = "/:a +-.\x80\xff\x7f";
    char value[48];

    (void)state;
    for (size_t len = 0; len <= 40; len++) {
        memset(value, 0, sizeof(value));
        memset(value, '1', len);
        check(&number, value, len, len >= 1 && len <= 20 ? value : "-");
        check(&caller, value, len, len >= 1 && len <= 20 ? value : "-");
        check(&integer, value, len, len >= 1 && len <= 10 ? value : "-");

        for (size_t at = 0; at < len; at++) {
            for (size_t i = 0; i < sizeof(other); i++) {
                /* A '+' or a blank may be the first one. */
                int good = at == 0 && len > 1 && len <= 21 &&
                           (other[i] == '+' || other[i] == ' ');

                memset(value, '1', len);
                value[at] = other[i];
                check(&number, value, len, good ? value + 1 : "-");
                check(&caller, value, len, good ? value + 1 : "-");
                check(&integer, value, len, "-");
            }
        }
    }
}

/* What is null, and what is only like it, in each type. */
static void
only_nullable_fields_are_null(void **state)
{
    (void)state;
    for (unsigned type = 0; type < VOC_TYPES_N; type++) {
        voc_field_t field = {.type = (voc_type_e)type, .max = 8};
        const char *text = type == VOC_TEXT ? "null" : "-";

        check(&field, "", 0, "-");
        check(&field, "null", 4, text);
        field.nullable = 1;
        check(&field, "", 0, NULL);
        check(&field, "null", 4, NULL);
        check(&field, "nul", 3, type == VOC_TEXT ? "nul" : "-");
        check(&field, "nulls", 5, type == VOC_TEXT ? "nulls" : "-");
        check(&field, "nulL", 4, type == VOC_TEXT ? "nulL" : "-");
    }
}

/* Fields are checked in their order; those behind a bad one are not. */
static void
the_first_bad_field_ends_the_check(void **state)
{
    static const voc_event_type_t type = {
        .nfields = 3,
        .fields = {{.type = VOC_INTEGER, .slot = 2},
                   {.type = VOC_KEY, .slot = 0, .nullable = 1},
                   {.type = VOC_INTEGER, .slot = 63}},
    };
    char digit[1 + VOC_STR_SLACK] = "1", key[1 + VOC_STR_SLACK] = "#";
    char bad[1 + VOC_STR_SLACK] = "x";
    voc_pair_t one = {.value = {digit, 1}}, hash = {.value = {key, 1}};
    voc_pair_t none = {.value = {bad, 1}};
    const voc_pair_t *given[64] = {[2] = &one, [0] = &hash, [63] = &none};
    const uint64_t last = (uint64_t)1 << 63;
    voc_str_t values[3] = {{bad, 1}, {bad, 1}, {bad, 1}};

    (void)state;
    assert_int_equal(
        voc_catalogue_check(&type, last | 5, given, NULL, values), 2);
    assert_text(values[0], "1");
    assert_text(values[1], "#");
    assert_text(values[2], "x");

    given[63] = &one;
    assert_int_equal(
        voc_catalogue_check(&type, last | 5, given, NULL, values), 3);
    assert_text(values[2], "1");

    assert_int_equal(
        voc_catalogue_check(&type, last | 4, given, NULL, values), 3);
    assert_text(values[1], NULL);
    assert_int_equal(voc_catalogue_check(&type, 5, given, NULL, values), 2);
    assert_int_equal(
        voc_catalogue_check(&type, last | 1, given, NULL, values), 0);
}

static void
callers_may_be_anonymous(void **state)
{
    static const voc_field_t field = {.type = VOC_CALLER, .nullable = 1};
    static const row_t rows[] = {
        {"61288880000", "61288880000"},
        {" 61288880000", "61288880000"},
        {"+61288880000", "61288880000"},
        {"Anonymous", "Anonymous"},
        {"anonymous", "Anonymous"},
        {"ANONYMOUS", "Anonymous"},
        {"aNoNyMoUs", "Anonymous"},
        {"", NULL},
        {"null", NULL},

        {"Null", "-"},
        {"NULL", "-"},
        {"null ", "-"},
        {"Anonymou", "-"},
        {"Anonymouss", "-"},
        {"Anonymouz", "-"},
        {" Anonymous", "-"},
        {"unknown", "-"},
        {"123456789012345678901", "-"},
    };

    (void)state;
    CHECK_ALL(field, rows);
}

static void
integers_end_at_2147483647(void **state)
{
    static const voc_field_t field = {.type = VOC_INTEGER};
    static const voc_field_t nullable = {.type = VOC_INTEGER, .nullable = 1};
    static const row_t rows[] = {
        {"0", "0"},
        {"88", "88"},
        {"007", "7"},
        {"000", "0"},
        {"0000000000", "0"},
        {"0000000001", "1"},
        {"2147483647", "2147483647"},
        {"999999999", "999999999"},

        {"", "-"},
        {"null", "-"},
        {"2147483648", "-"},
        {"9999999999", "-"},
        {"00000000001", "-"},
        {"10000000000", "-"},
        {"-1", "-"},
        {"+1", "-"},
        {" 1", "-"},
        {"1 ", "-"},
        {"1.0", "-"},
        {"1e3", "-"},
        {"0x1", "-"},
    };
    static const row_t null_rows[] = {
        {"", NULL}, {"null", NULL}, {"0", "0"}, {"NULL", "-"}, {"nul", "-"},
    };

    (void)state;
    CHECK_ALL(field, rows);
    CHECK_ALL(nullable, null_rows);
}

static void
texts_are_bounded_in_bytes(void **state)
{
    static const voc_field_t field = {.type = VOC_TEXT, .max = 6};
    static const voc_field_t nullable = {
        .type = VOC_TEXT, .max = 6, .nullable = 1};
    static const row_t rows[] = {
        {"a", "a"},
        {"123456", "123456"},
        {"null", "null"},
        {" ", " "},
        {"\xe2\x82\xac\xe2\x82\xac", "\xe2\x82\xac\xe2\x82\xac"},
        {"", "-"},
        {"1234567", "-"},
        {"\xe2\x82\xac\xe2\x82\xac.", "-"},
    };
    static const row_t null_rows[] = {
        {"", NULL},
        {"null", NULL},
        {"nulls", "nulls"},
        {"1234567", "-"},
    };

    (void)state;
    CHECK_ALL(field, rows);
    CHECK_ALL(nullable, null_rows);
}

static void
keys_are_those_of_a_telephone(void **state)
{
    static const voc_field_t field = {.type = VOC_KEY};

    (void)state;
    for (int c = 0; c < 256; c++) {
        char value[2] = {(char)c, '\0'};

        check(&field, value, 1,
              c != 0 && strchr("0123456789*#", c) != NULL ? value : "-");
    }

    check(&field, "", 0, "-");
    check(&field, "11", 2, "-");
    check(&field, "null", 4, "-");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(datetimes_exist),
        cmocka_unit_test(dates_agree_with_the_c_library),
        cmocka_unit_test(numbers_are_1_to_20_digits),
        cmocka_unit_test(dates_are_well_formed_at_each_place),
        cmocka_unit_test(digits_are_checked_at_each_place),
        cmocka_unit_test(only_nullable_fields_are_null),
        cmocka_unit_test(the_first_bad_field_ends_the_check),
        cmocka_unit_test(callers_may_be_anonymous),
        cmocka_unit_test(integers_end_at_2147483647),
        cmocka_unit_test(texts_are_bounded_in_bytes),
        cmocka_unit_test(keys_are_those_of_a_telephone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
