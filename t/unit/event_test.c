/* Queries and bodies: what is accepted, and which check decides. */

#include "event_fixture.h"

/* extra as name=value, joined by spaces. */
static void
assert_extra(fixture_t *f, const char *expected)
{
    char found[512] = "", *p = found;

    for (unsigned i = 0; i < f->event.nextra; i++) {
        voc_pair_t *pair = &f->event.extra[i];

        p += sprintf(p, "%s%.*s=%.*s", i > 0 ? " " : "", (int)pair->name.len,
                     pair->name.data, (int)pair->value.len, pair->value.data);
    }

    assert_string_equal(found, expected);
}

static void
an_event_is_read_whatever_the_order(void **state)
{
    fixture_t *f = *state;

    assert_accepted(f, "duration=88&extension=280085&crm_id=usefulid&"
                       "answeredDuration=77&callerid=61288880000&"
                       "inboundNumber=611800111222&callid=testcall&"
                       "date=2024-01-01%2019:00&event=inboundCallEnd");
    assert_text(f->event.type->name, "inboundCallEnd");
    assert_text(value(f, "date"), "2024-01-01T19:00:00Z");
    assert_text(value(f, "callid"), "testcall");
    assert_text(value(f, "crm_id"), "usefulid");
    assert_text(value(f, "inboundNumber"), "611800111222");
    assert_text(value(f, "callerid"), "61288880000");
    assert_text(value(f, "extension"), "280085");
    assert_text(value(f, "duration"), "88");
    assert_text(value(f, "answeredDuration"), "77");
    assert_text(voc_event_callid(&f->event), "testcall");
    assert_int_equal(f->event.nextra, 0);
    assert_null(f->event.extra);
    assert_int_equal(f->problem.reason, VOC_ACCEPTED);
}

static void
absent_empty_and_null_are_null(void **state)
{
    static const char *const sent[] = {
        "",
        "&crm_id=&callerid=&extension=&answeredDuration=",
        "&crm_id&callerid&extension&answeredDuration",
        "&crm_id=null&callerid=null&extension=null&answeredDuration=null",
    };
    fixture_t *f = *state;
    char query[512];

    for (size_t i = 0; i < sizeof(sent) / sizeof(sent[0]); i++) {
        sprintf(query,
                "event=inboundCallEnd&date=2024-01-01+19:00&callid=c&"
                "inboundNumber=61&duration=1%s",
                sent[i]);
        assert_accepted(f, query);
        assert_text(value(f, "crm_id"), NULL);
        assert_text(value(f, "callerid"), NULL);
        assert_text(value(f, "extension"), NULL);
        assert_text(value(f, "answeredDuration"), NULL);
    }
}

static void
null_is_a_word_like_others_where_text_is_required(void **state)
{
    fixture_t *f = *state;

    assert_accepted(f, "event=callRecordingAvailable&date=2024-01-01+19:00&"
                       "callid=null&crm_id=Null");
    assert_text(value(f, "callid"), "null");
    assert_text(value(f, "crm_id"), "Null");
}

/* extension is nullable in inboundCallEnd only. */
static void
other_events_require_the_extension(void **state)
{
    static const char *const events[] = {
        "inboundCallRinging",   "inboundCallAnswered", "outboundCallStart",
        "outboundCallAnswered", "outboundCallEnd",
    };
    fixture_t *f = *state;
    char query[512];

    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        int len = sprintf(query,
                          "event=%s&date=2024-01-01+19:00&callid=c&"
                          "inboundNumber=61&destination=61&duration=1",
                          events[i]);

        assert_rejected(f, query, VOC_MISSING_FIELD, "extension");
        strcpy(query + len, "&extension=");
        assert_rejected(f, query, VOC_INVALID_FIELD, "extension");
        strcpy(query + len, "&extension=null");
        assert_rejected(f, query, VOC_INVALID_FIELD, "extension");
    }
}

static void
hash_and_plus_are_data(void **state)
{
    fixture_t *f = *state;

    assert_accepted(f, "event=ivrOption&date=2024-01-01+19:00&callid=a%2Bb+c&"
                       "inboundNumber=+61&callerid=%2B62&ivrOption=#&"
                       "crm_id=x#y");
    assert_text(value(f, "ivrOption"), "#");
    assert_text(value(f, "crm_id"), "x#y");
    assert_text(value(f, "callid"), "a+b c");
    assert_text(value(f, "inboundNumber"), "61");
    assert_text(value(f, "callerid"), "62");
}

static void
names_may_be_encoded(void **state)
{
    fixture_t *f = *state;

    assert_accepted(f, "%65vent=ivr%4Fption&d%61te=2024-01-01+19:00&"
                       "callid=c&inboundNumber=61&ivrOption=%2A&crm%5Fid=x");
    assert_text(value(f, "ivrOption"), "*");
    assert_text(value(f, "crm_id"), "x");
}

static void
query_and_body_are_one(void **state)
{
    fixture_t *f = *state;
    voc_str_t query = text("callid=c&z=1");
    voc_str_t body =
        text("event=callRecordingAvailable&date=2024-01-01+19:00&a=2");

    assert_int_equal(read_bytes(f, query, body), VOC_EVENT_OK);
    assert_text(voc_event_callid(&f->event), "c");
    assert_extra(f, "a=2 z=1");

    assert_int_equal(read_bytes(f, text(""), text(RECORDING)), VOC_EVENT_OK);
    assert_text(voc_event_callid(&f->event), "testcall");
}

/* ---- malformed -------------------------------------------------------- */

static void
malformed_bytes_are_refused_in_names_and_values(void **state)
{
    /* Broken, truncated, overlong, surrogates, too high, C0, DEL, C1. */
    static const char *const bad[] = {
        "%",         "%4",        "%zz",          "%ff",
        "%80",       "%c3",       "%e2%82",       "%f0%9f%93",
        "%c0%af",    "%c1%bf",    "%e0%80%af",    "%f0%80%80%af",
        "%ed%a0%80", "%ed%bf%bf", "%f4%90%80%80", "%f5%80%80%80",
        "%00",       "%01",       "%09",          "%0a",
        "%0d",       "%1f",       "%7f",          "%c2%80",
        "%c2%85",    "%c2%9f",    "\x01",         "\t",
        "\x7f",      "\xff",      "\xc2\x85"};
    static const char *const places[] = {
        RECORDING "&crm_id=%s", RECORDING "&crm_id=a%sx", RECORDING "&%s=x",
        RECORDING "&a%s",       "%s=1&" RECORDING,        "a=%s&" RECORDING,
    };
    fixture_t *f = *state;
    char query[512];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (size_t k = 0; k < sizeof(places) / sizeof(places[0]); k++) {
            const char *at = strstr(places[k], "%s");

            sprintf(query, "%.*s%s%s", (int)(at - places[k]), places[k],
                    bad[i], at + 2);
            assert_rejected(f, query, VOC_MALFORMED_QUERY, NULL);
            assert_int_equal(read_bytes(f, text(RECORDING), text(query)),
                             VOC_EVENT_REJECTED);
            assert_int_equal(f->problem.reason, VOC_MALFORMED_QUERY);
        }
    }
}

static void
a_raw_nul_is_refused(void **state)
{
    static const char query[] = RECORDING "&crm_id=a\0b";
    fixture_t *f = *state;

    assert_int_equal(
        read_bytes(f, (voc_str_t){query, sizeof(query) - 1}, text("")),
        VOC_EVENT_REJECTED);
    assert_int_equal(f->problem.reason, VOC_MALFORMED_QUERY);
}

static void
no_character_spans_two_fields(void **state)
{
    fixture_t *f = *state;

    assert_rejected(f, RECORDING "&a=%c3&%a4=1", VOC_MALFORMED_QUERY, NULL);
    assert_rejected(f, RECORDING "&a%c3=%a4", VOC_MALFORMED_QUERY, NULL);

    assert_int_equal(read_bytes(f, text(RECORDING "&a=%c3"), text("%a4=1")),
                     VOC_EVENT_REJECTED);
    assert_int_equal(f->problem.reason, VOC_MALFORMED_QUERY);
}

static void
characters_beyond_ascii_are_kept(void **state)
{
    fixture_t *f = *state;

    assert_accepted(f, RECORDING "&crm_id=%c3%a4%e2%82%ac%f0%9f%93%9e%c2%a0");
    assert_text(value(f, "crm_id"),
                "\xc3\xa4\xe2\x82\xac\xf0\x9f\x93\x9e\xc2\xa0");
}

static void
fields_are_limited_in_number(void **state)
{
    fixture_t *f = *state;
    char *query = query_of(VOC_PAIRS_MAX);

    assert_accepted(f, query);
    assert_int_equal(f->event.nextra, VOC_PAIRS_MAX - 3);
    for (unsigned i = 1; i < f->event.nextra; i++) {
        char a[16], b[16];

        sprintf(a, "%.*s", (int)f->event.extra[i - 1].name.len,
                f->event.extra[i - 1].name.data);
        sprintf(b, "%.*s", (int)f->event.extra[i].name.len,
                f->event.extra[i].name.data);
        assert_true(strcmp(a, b) < 0);
    }

    assert_int_equal(read_bytes(f, text(query), text("x=")),
                     VOC_EVENT_REJECTED);
    assert_int_equal(f->problem.reason, VOC_MALFORMED_QUERY);
    assert_text(f->problem.detail, "expected at most 1024 fields");
    free(query);

    query = query_of(VOC_PAIRS_MAX + 1);
    assert_rejected(f, query, VOC_MALFORMED_QUERY, NULL);
    free(query);
}

static void
empty_pairs_are_no_fields(void **state)
{
    fixture_t *f = *state;
    char query[4096];

    memset(query, '&', sizeof(query));
    strcpy(query + 3000, RECORDING "&&");
    assert_accepted(f, query);
    assert_extra(f, "");
}

/* ---- duplicates ------------------------------------------------------- */

static void
a_field_twice_is_refused(void **state)
{
    fixture_t *f = *state;

    assert_rejected(f, RECORDING "&callid=testcall", VOC_DUPLICATE_FIELD,
                    "callid");
    assert_int_equal(f->problem.field_known, 1);
    assert_rejected(f, RECORDING "&call%69d=", VOC_DUPLICATE_FIELD, "callid");
    assert_rejected(f, RECORDING "&event=x", VOC_DUPLICATE_FIELD, "event");
    assert_rejected(f, RECORDING "&crm_id&crm_id", VOC_DUPLICATE_FIELD,
                    "crm_id");
    assert_rejected(f, RECORDING "&duration=1&duration=1",
                    VOC_DUPLICATE_FIELD, "duration");

    assert_rejected(f, RECORDING "&b=1&a=1&c=1&a=2", VOC_DUPLICATE_FIELD,
                    "a");
    assert_int_equal(f->problem.field_known, 0);
    assert_rejected(f, RECORDING "&=1&=2", VOC_DUPLICATE_FIELD, "");
    assert_accepted(f, RECORDING "&a=1&A=1&aa=1&=1");
}

static void
a_field_in_query_and_body_is_twice(void **state)
{
    fixture_t *f = *state;

    assert_int_equal(read_bytes(f, text(RECORDING), text("callid=x")),
                     VOC_EVENT_REJECTED);
    assert_int_equal(f->problem.reason, VOC_DUPLICATE_FIELD);
    assert_text(f->problem.field, "callid");

    assert_int_equal(read_bytes(f, text(RECORDING "&a"), text("a")),
                     VOC_EVENT_REJECTED);
    assert_int_equal(f->problem.reason, VOC_DUPLICATE_FIELD);
    assert_text(f->problem.field, "a");
}

static void
duplicates_count_where_unknown_fields_are_dropped(void **state)
{
    fixture_t *f = *state;

    f->unknown = VOC_UNKNOWN_DROP;
    assert_rejected(f, RECORDING "&a=1&a=1", VOC_DUPLICATE_FIELD, "a");
    f->unknown = VOC_UNKNOWN_KEEP;
}

/* ---- the order of checks ---------------------------------------------- */

static void
the_first_check_that_fails_decides(void **state)
{
    static const struct {
        const char *query;
        voc_reason_e reason;
        const char *field;
    } rows[] = {
        {"a=%00&b=1&b=1", VOC_MALFORMED_QUERY, NULL},
        {"b=1&b=1&a=%00", VOC_MALFORMED_QUERY, NULL},
        {"b=1&b=1", VOC_DUPLICATE_FIELD, "b"},
        {"event=nope&b=1&b=1", VOC_DUPLICATE_FIELD, "b"},
        {"b=1&b=1&date=&date=", VOC_DUPLICATE_FIELD, "date"},
        {"", VOC_MISSING_EVENT, NULL},
        {"&&", VOC_MISSING_EVENT, NULL},
        {"date=x", VOC_MISSING_EVENT, NULL},
        {"Event=ivrOption", VOC_MISSING_EVENT, NULL},
        {"event", VOC_UNKNOWN_EVENT, NULL},
        {"event=", VOC_UNKNOWN_EVENT, NULL},
        {"event=null", VOC_UNKNOWN_EVENT, NULL},
        {"event=ivroption&date=x", VOC_UNKNOWN_EVENT, NULL},

        {"event=ivrOption", VOC_MISSING_FIELD, "date"},
        {"event=ivrOption&date=x", VOC_INVALID_FIELD, "date"},
        {"event=ivrOption&date=", VOC_INVALID_FIELD, "date"},
        {"event=ivrOption&date=2024-01-01+19:00", VOC_MISSING_FIELD,
         "callid"},
        {"event=ivrOption&date=2024-01-01+19:00&ivrOption=x",
         VOC_MISSING_FIELD, "callid"},
        {"event=ivrOption&date=2024-01-01+19:00&callid=", VOC_INVALID_FIELD,
         "callid"},
        {"event=ivrOption&date=2024-01-01+19:00&callid=c", VOC_MISSING_FIELD,
         "inboundNumber"},
        {"event=ivrOption&date=2024-01-01+19:00&callid=c&inboundNumber=null",
         VOC_INVALID_FIELD, "inboundNumber"},
        {"event=ivrOption&date=2024-01-01+19:00&callid=c&inboundNumber=6&"
         "callerid=x",
         VOC_INVALID_FIELD, "callerid"},
        {"event=ivrOption&date=2024-01-01+19:00&callid=c&inboundNumber=6&"
         "unknown=1",
         VOC_MISSING_FIELD, "ivrOption"},
        {"event=ivrOption&date=2024-01-01+19:00&callid=c&inboundNumber=6&"
         "ivrOption=&unknown=1",
         VOC_INVALID_FIELD, "ivrOption"},
        {"event=ivrOption&date=2024-01-01+19:00&callid=c&inboundNumber=6&"
         "ivrOption=1&unknown=1",
         VOC_UNKNOWN_FIELD, "unknown"},
    };
    fixture_t *f = *state;

    f->unknown = VOC_UNKNOWN_REJECT;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_rejected(f, rows[i].query, rows[i].reason, rows[i].field);
    }
    f->unknown = VOC_UNKNOWN_KEEP;
}

static void
details_say_what_was_expected(void **state)
{
    fixture_t *f = *state;

    assert_rejected(f, "event=ivrOption&date=x", VOC_INVALID_FIELD, "date");
    assert_text(f->problem.detail, "expected YYYY-MM-DD hh:mm[:ss] in UTC");
    assert_int_equal(f->problem.field_known, 1);
    assert_rejected(f, "event=ivrOption", VOC_MISSING_FIELD, "date");
    assert_text(f->problem.detail, "expected the field");
    assert_int_equal(f->problem.field_known, 1);
}

/* For the log: what is known of a rejected event. */
static void
a_rejected_event_holds_what_was_found(void **state)
{
    fixture_t *f = *state;

    assert_rejected(f, "a=%00", VOC_MALFORMED_QUERY, NULL);
    assert_null(f->event.type);
    assert_text(voc_event_callid(&f->event), NULL);

    /* Whatever was there before. */
    memset(f->event.values, 0x55, sizeof(f->event.values));
    assert_rejected(f,
                    "event=ivrOption&date=2024-01-01+19:00&callid=c&x=1&"
                    "inboundNumber=x",
                    VOC_INVALID_FIELD, "inboundNumber");
    assert_text(f->event.type->name, "ivrOption");
    assert_text(voc_event_callid(&f->event), "c");
    assert_text(value(f, "inboundNumber"), NULL);
    assert_text(value(f, "ivrOption"), NULL);
    assert_null(f->event.extra);
    assert_int_equal(f->event.nextra, 0);
}

/* ---- text bounds ------------------------------------------------------ */

static void
callid_and_crm_id_end_at_their_bounds(void **state)
{
    fixture_t *f = *state;
    char a[257], query[1024];

    memset(a, 'a', sizeof(a));
    sprintf(query,
            "event=callRecordingAvailable&date=2024-01-01+19:00&"
            "callid=%.128s&crm_id=%.255s",
            a, a);
    assert_accepted(f, query);
    assert_int_equal(voc_event_callid(&f->event).len, 128);
    assert_int_equal(value(f, "crm_id").len, 255);

    sprintf(query, RECORDING "&crm_id=%.256s", a);
    assert_rejected(f, query, VOC_INVALID_FIELD, "crm_id");
    sprintf(query,
            "event=callRecordingAvailable&date=2024-01-01+19:00&"
            "callid=%.129s",
            a);
    assert_rejected(f, query, VOC_INVALID_FIELD, "callid");
}

/* ---- unknown fields --------------------------------------------------- */

static void
unknown_fields_are_kept_sorted(void **state)
{
    fixture_t *f = *state;

    assert_accepted(f, "z=1&%c3%a4=2&" RECORDING "&b=&a&aa=3&Z=4&=5");
    assert_extra(f, "=5 Z=4 a= aa=3 b= z=1 \xc3\xa4=2");
    assert_accepted(f, "=5&aa=3&a&%c3%a4=2&Z=4&z=1&b=&" RECORDING);
    assert_extra(f, "=5 Z=4 a= aa=3 b= z=1 \xc3\xa4=2");
}

static void
fields_of_other_events_are_unknown(void **state)
{
    fixture_t *f = *state;

    assert_accepted(f, "f=1&duration=x&" RECORDING "&callerid=&a=2");
    assert_extra(f, "a=2 callerid= duration=x f=1");

    f->unknown = VOC_UNKNOWN_REJECT;
    assert_rejected(f, RECORDING "&f=1&duration=x", VOC_UNKNOWN_FIELD,
                    "duration");
    assert_int_equal(f->problem.field_known, 1);
    assert_rejected(f, RECORDING "&f=1&duration=x&b=1", VOC_UNKNOWN_FIELD,
                    "b");
    assert_int_equal(f->problem.field_known, 0);
    assert_accepted(f, RECORDING);
    f->unknown = VOC_UNKNOWN_KEEP;
}

static void
unknown_fields_may_be_dropped(void **state)
{
    fixture_t *f = *state;

    f->unknown = VOC_UNKNOWN_DROP;
    assert_accepted(f, RECORDING "&f=1&duration=x");
    assert_int_equal(f->event.nextra, 0);
    assert_null(f->event.extra);
    f->unknown = VOC_UNKNOWN_KEEP;
}

/* 64 bytes at most, and no character in two. */
static void
long_unknown_names_are_cut(void **state)
{
    fixture_t *f = *state;
    char name[128], query[512];

    f->unknown = VOC_UNKNOWN_REJECT;
    memset(name, 'n', sizeof(name));

    name[64] = '\0';
    sprintf(query, RECORDING "&%s=", name);
    assert_rejected(f, query, VOC_UNKNOWN_FIELD, name);

    sprintf(query, RECORDING "&%snnn=", name);
    assert_rejected(f, query, VOC_UNKNOWN_FIELD, name);
    sprintf(query, RECORDING "&%snnn=&%snnn=", name, name);
    assert_rejected(f, query, VOC_DUPLICATE_FIELD, name);

    strcpy(name + 60, "\xf0\x9f\x93\x9e");
    sprintf(query, RECORDING "&%sn=", name);
    assert_rejected(f, query, VOC_UNKNOWN_FIELD, name);

    for (unsigned i = 61; i < 64; i++) {
        name[i - 1] = 'n';
        strcpy(name + i, "\xf0\x9f\x93\x9e");
        sprintf(query, RECORDING "&%sn=", name);
        name[i] = '\0';
        assert_rejected(f, query, VOC_UNKNOWN_FIELD, name);
    }
    f->unknown = VOC_UNKNOWN_KEEP;
}

/* ---- memory ----------------------------------------------------------- */

static void
the_end_of_memory_is_told(void **state)
{
    fixture_t *f = *state;
    unsigned allocations;

    assert_accepted(f, "z=1&duration=1&" RECORDING "&a=2");
    allocations = f->nblocks;
    assert_true(allocations > 0);

    for (unsigned i = 0; i < allocations; i++) {
        f->left = (int)i;
        assert_int_equal(read_query(f, "z=1&duration=1&" RECORDING "&a=2"),
                         VOC_EVENT_NO_MEMORY);
        assert_null(f->event.extra);
    }

    f->left = (int)allocations;
    assert_accepted(f, "z=1&duration=1&" RECORDING "&a=2");
    f->left = -1;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_read_whatever_the_order),
        cmocka_unit_test(absent_empty_and_null_are_null),
        cmocka_unit_test(null_is_a_word_like_others_where_text_is_required),
        cmocka_unit_test(other_events_require_the_extension),
        cmocka_unit_test(hash_and_plus_are_data),
        cmocka_unit_test(names_may_be_encoded),
        cmocka_unit_test(query_and_body_are_one),
        cmocka_unit_test(malformed_bytes_are_refused_in_names_and_values),
        cmocka_unit_test(a_raw_nul_is_refused),
        cmocka_unit_test(no_character_spans_two_fields),
        cmocka_unit_test(characters_beyond_ascii_are_kept),
        cmocka_unit_test(fields_are_limited_in_number),
        cmocka_unit_test(empty_pairs_are_no_fields),
        cmocka_unit_test(a_field_twice_is_refused),
        cmocka_unit_test(a_field_in_query_and_body_is_twice),
        cmocka_unit_test(duplicates_count_where_unknown_fields_are_dropped),
        cmocka_unit_test(the_first_check_that_fails_decides),
        cmocka_unit_test(details_say_what_was_expected),
        cmocka_unit_test(a_rejected_event_holds_what_was_found),
        cmocka_unit_test(callid_and_crm_id_end_at_their_bounds),
        cmocka_unit_test(unknown_fields_are_kept_sorted),
        cmocka_unit_test(fields_of_other_events_are_unknown),
        cmocka_unit_test(unknown_fields_may_be_dropped),
        cmocka_unit_test(long_unknown_names_are_cut),
        cmocka_unit_test(the_end_of_memory_is_told),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
