/* What an event points to: padded strings, plain ones, and many of them. */

#include "event_fixture.h"

/* ---- padded and plain ------------------------------------------------- */

/* Copies what may be read behind each string: ASan sees a byte too many. */
static void
assert_padded(fixture_t *f)
{
    char copy[VOC_STR_SLACK];

    for (unsigned i = 0; i < f->event.type->nfields; i++) {
        voc_str_t v = f->event.values[i];

        if (v.data != NULL) {
            memcpy(copy, v.data + v.len, sizeof(copy));
        }
    }
    for (unsigned i = 0; i < f->event.nextra; i++) {
        voc_pair_t *pair = &f->event.extra[i];

        memcpy(copy, pair->name.data + pair->name.len, sizeof(copy));
        memcpy(copy, pair->value.data + pair->value.len, sizeof(copy));
    }
}

static void
strings_of_an_event_are_padded(void **state)
{
    static const char *const queries[] = {
        RECORDING,
        RECORDING "&crm_id=x",
        RECORDING "&a",
        RECORDING "&=",
        RECORDING "&a=%41",
        RECORDING "&duration=1",
        "event=inboundCallStart&callid=c&date=2024-01-01+19:00:01&"
        "inboundNumber=+61&callerid=anonymous",
        "event=inboundCallStart&callid=c&date=2024-01-01T19:00Z&"
        "callerid=null&inboundNumber=%2B61",
        "event=outboundCallStart&callid=c&date=2024-01-01+19:00&"
        "destination=61&extension=007",
        "event=ivrOption&callid=c&date=2024-01-01+19:00&"
        "inboundNumber=61&ivrOption=#",
    };
    fixture_t *f = *state;

    assert_in_range(sizeof(f->event.date), VOC_DATETIME_LEN + VOC_STR_SLACK,
                    64);
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        assert_accepted(f, queries[i]);
        assert_padded(f);
        assert_int_equal(read_bytes(f, text(""), text(queries[i])),
                         VOC_EVENT_OK);
        assert_padded(f);
    }
}

/* Each character as it is and encoded, in the query and in the body. */
static void
plain_events_are_told_from_others(void **state)
{
    fixture_t *f = *state;
    char query[256];

    assert_accepted(f, RECORDING);
    assert_int_equal(f->event.plain, 1);

    for (unsigned c = 0x20; c < 0x7f; c++) {
        for (unsigned at = 0; at < 70; at++) {
            unsigned plain = c != '"' && c != '\\';

            sprintf(query, RECORDING "&crm_id=%.*s%c%s", (int)at,
                    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
                    c == '%' || c == '&' ? 'x' : (int)c, "yyy");
            assert_accepted(f, query);
            assert_int_equal(f->event.plain, plain);

            sprintf(query, "a%u%%%02X=x", at, c);
            assert_int_equal(read_bytes(f, text(RECORDING), text(query)),
                             VOC_EVENT_OK);
            assert_int_equal(f->event.plain, plain);
        }
    }

    assert_accepted(f, RECORDING "&crm_id=%c3%a4");
    assert_int_equal(f->event.plain, 0);
    assert_accepted(f, "\xc3\xa4&" RECORDING);
    assert_int_equal(f->event.plain, 0);
}

/* ---- many fields ------------------------------------------------------ */

/* The catalogue's fields are found wherever they stand among many others. */
static void
fields_may_stand_behind_many_others(void **state)
{
    fixture_t *f = *state;
    char *query = malloc(64 * 16 + 512), *p;

    for (unsigned before = 0; before < 64; before++) {
        p = query;
        for (unsigned i = 0; i < before; i++) {
            p += sprintf(p, "x%u=%u&", i, i * 3);
        }
        sprintf(p, RECORDING "&duration=1&crm_id=last");
        assert_accepted(f, query);
        assert_int_equal(f->event.nextra, before + 1);
        assert_text(value(f, "callid"), "testcall");
        assert_text(value(f, "crm_id"), "last");
        assert_text(f->event.extra[0].name, "duration");
        assert_text(f->event.extra[0].value, "1");
        assert_padded(f);

        sprintf(p, RECORDING "&duration=1&crm_id=last&callid=x");
        assert_rejected(f, query, VOC_DUPLICATE_FIELD, "callid");
        sprintf(p, RECORDING "&duration=1&duration=last&crm_id=%%4");
        assert_rejected(f, query, VOC_MALFORMED_QUERY, NULL);
        if (before > 0) {
            sprintf(p, RECORDING "&x0=1");
            assert_rejected(f, query, VOC_DUPLICATE_FIELD, "x0");
        }
    }
    free(query);
}

static void
the_end_of_memory_is_told_for_many_fields(void **state)
{
    fixture_t *f = *state;
    char *query = query_of(100);
    unsigned allocations;

    assert_accepted(f, query);
    allocations = f->nblocks;

    for (unsigned i = 0; i < allocations; i++) {
        f->left = (int)i;
        assert_int_equal(read_query(f, query), VOC_EVENT_NO_MEMORY);
    }
    f->left = -1;
    free(query);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_of_an_event_are_padded),
        cmocka_unit_test(plain_events_are_told_from_others),
        cmocka_unit_test(fields_may_stand_behind_many_others),
        cmocka_unit_test(the_end_of_memory_is_told_for_many_fields),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
