/* The built-in events, and what each type accepts. */

#include "event_fixture.h"

/* ---- events and names ------------------------------------------------- */

static void
the_ten_events_have_their_fields_in_order(void **state)
{
    static const struct {
        const char *name;
        const char *fields; /* a '?' follows a nullable one */
    } rows[] = {
        {"inboundCallStart", "inboundNumber callerid? "},
        {"inboundCallRinging", "inboundNumber callerid? extension "},
        {"inboundCallAnswered", "inboundNumber callerid? extension "},
        {"inboundCallEnd", "inboundNumber callerid? extension? duration "
                           "answeredDuration? "},
        {"outboundCallStart", "extension destination "},
        {"outboundCallAnswered", "extension destination "},
        {"outboundCallEnd", "extension destination duration "
                            "answeredDuration? "},
        {"ivrOption", "inboundNumber callerid? ivrOption "},
        {"callRecordingAvailable", ""},
        {"callTranscriptionAvailable", ""},
    };
    fixture_t *f = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const voc_event_type_t *type =
            voc_catalogue_event(f->catalogue, text(rows[i].name));
        char found[256], expected[256], *p = found;

        assert_non_null(type);
        assert_text(type->name, rows[i].name);
        *p = '\0';
        for (unsigned k = 0; k < type->nfields; k++) {
            const voc_field_t *field = &type->fields[k];

            p += sprintf(p, "%.*s%s ", (int)field->name.len, field->name.data,
                         field->nullable ? "?" : "");
            assert_int_equal(field->slot,
                             voc_catalogue_slot(f->catalogue, field->name));
        }
        sprintf(expected, "date callid crm_id? %s", rows[i].fields);
        assert_string_equal(found, expected);
    }
}

static void
names_are_exact(void **state)
{
    static const char *const unknown[] = {
        "",           "ivroption",        "IvrOption",        "ivrOptio",
        "ivrOptions", " ivrOption",       "inboundCallstart", "date",
        "event",      "inboundCallXtart",
    };
    fixture_t *f = *state;

    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_null(voc_catalogue_event(f->catalogue, text(unknown[i])));
    }

    assert_int_equal(voc_catalogue_slot(f->catalogue, text("event")),
                     VOC_SLOT_EVENT);
    assert_int_equal(voc_catalogue_slot(f->catalogue, text("Event")), -1);
    assert_int_equal(voc_catalogue_slot(f->catalogue, text("")), -1);
    assert_int_equal(voc_catalogue_slot(f->catalogue, text("evexnt")), -1);
    assert_int_equal(voc_catalogue_slot(f->catalogue, text("x")), -1);
}

static void
each_name_has_a_slot_of_its_own(void **state)
{
    static const char *const names[] = {
        "event",         "date",
        "callid",        "crm_id",
        "inboundNumber", "callerid",
        "extension",     "destination",
        "duration",      "answeredDuration",
        "ivrOption",
    };
    fixture_t *f = *state;
    uint64_t seen = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int slot = voc_catalogue_slot(f->catalogue, text(names[i]));

        assert_in_range(slot, 0, VOC_FIELD_NAMES_MAX - 1);
        assert_int_equal(seen >> slot & 1, 0);
        seen |= (uint64_t)1 << slot;
    }
}

/* Names that differ in any one byte, or in length, are told apart. */
static void
no_other_name_is_taken_for_a_known_one(void **state)
{
    fixture_t *f = *state;
    char name[32];

    for (unsigned at = 0; at < 8; at++) {
        for (int c = 0; c < 256; c++) {
            memcpy(name, "callerid", 8);
            if ((char)c != name[at]) {
                name[at] = (char)c;
                assert_int_equal(
                    voc_catalogue_slot(f->catalogue, (voc_str_t){name, 8}),
                    -1);
            }
        }
    }
}

/* ---- types ------------------------------------------------------------ */

static void
the_built_in_bounds_are_the_contracts(void **state)
{
    fixture_t *f = *state;
    const voc_event_type_t *type =
        voc_catalogue_event(f->catalogue, text("callRecordingAvailable"));

    assert_int_equal(type->fields[1].max, 128);
    assert_int_equal(type->fields[2].max, 255);
}

static void
what_was_expected_is_told(void **state)
{
    fixture_t *f = *state;
    const voc_event_type_t *type =
        voc_catalogue_event(f->catalogue, text("inboundCallEnd"));
    static const char *const expected[] = {
        "expected YYYY-MM-DD hh:mm[:ss] in UTC",
        "expected text of 1 to 128 bytes",
        "expected text of 1 to 255 bytes",
        "expected 1 to 20 digits",
        "expected 1 to 20 digits, or Anonymous",
        "expected an integer from 0 to 2147483647",
    };

    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_text(voc_catalogue_expected(&type->fields[i]), expected[i]);
    }

    type = voc_catalogue_event(f->catalogue, text("ivrOption"));
    assert_text(voc_catalogue_expected(&type->fields[5]),
                "expected one of 0-9 * #");
}

/* ---- clean ------------------------------------------------------------ */

static int
clean(fixture_t *f, const char *data, size_t len)
{
    char *exact = malloc(len);
    int rc;

    memcpy(exact, data, len);
    rc = voc_catalogue_clean(f->catalogue, (voc_str_t){exact, len});
    free(exact);
    return rc;
}

/* Each character up to U+00FF, at each place of texts of each length. */
static void
control_characters_are_found_anywhere(void **state)
{
    fixture_t *f = *state;
    char data[24];

    for (unsigned c = 0; c < 0x100; c++) {
        int control = c < 0x20 || (c >= 0x7f && c < 0xa0);
        size_t width = c < 0x80 ? 1 : 2;

        for (size_t len = width; len <= sizeof(data); len++) {
            for (size_t at = 0; at + width <= len; at++) {
                memset(data, 'x', len);
                data[at] = (char)c;
                if (width == 2) {
                    data[at] = (char)(0xc0 | c >> 6);
                    data[at + 1] = (char)(0x80 | (c & 0x3f));
                }
                assert_int_equal(clean(f, data, len), !control);
            }
        }
    }

    assert_int_equal(clean(f, "", 0), 1);
}

static void
bytes_that_are_no_character_are_found_anywhere(void **state)
{
    fixture_t *f = *state;
    char data[24];

    for (unsigned c = 0x80; c < 0x100; c++) {
        for (size_t at = 0; at < sizeof(data); at++) {
            memset(data, '~', sizeof(data));
            data[at] = (char)c;
            assert_int_equal(clean(f, data, sizeof(data)), 0);
        }
    }
}

static void
long_texts_have_no_limit_of_their_own(void **state)
{
    fixture_t *f = *state;
    size_t len = 3 * 1024 * 1024;
    char *data = malloc(len);

    for (size_t i = 0; i < len; i += 3) {
        memcpy(data + i, "\xe2\x82\xac", 3);
    }
    assert_int_equal(clean(f, data, len), 1);
    data[len - 1] = 'x';
    assert_int_equal(clean(f, data, len), 0);
    memcpy(data + len - 3, "xx\x7f", 3);
    assert_int_equal(clean(f, data, len), 0);
    free(data);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ten_events_have_their_fields_in_order),
        cmocka_unit_test(names_are_exact),
        cmocka_unit_test(each_name_has_a_slot_of_its_own),
        cmocka_unit_test(no_other_name_is_taken_for_a_known_one),
        cmocka_unit_test(the_built_in_bounds_are_the_contracts),
        cmocka_unit_test(what_was_expected_is_told),
        cmocka_unit_test(control_characters_are_found_anywhere),
        cmocka_unit_test(bytes_that_are_no_character_are_found_anywhere),
        cmocka_unit_test(long_texts_have_no_limit_of_their_own),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
