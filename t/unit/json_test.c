/* Events and problems as JSON, to the byte; what an id depends on. */

#include <inttypes.h>

#include "event_fixture.h"

#define RECORDING                                                            \
    "event=callRecordingAvailable&date=2024-01-01+19:00&callid=testcall"

/* A text with VOC_STR_SLACK behind it. */
#define SLACKED(literal) literal "0123456789abcdef"
#define SLACK(literal)   ((voc_str_t){SLACKED(literal), sizeof(literal) - 1})

/* The event as it is now in the fixture, in memory of the size promised. */
static char *
json_of(fixture_t *f, char id[VOC_UUID_LEN + 1])
{
    size_t size = voc_json_event_size(&f->event);
    char *out = malloc(size), *line;
    size_t len = voc_json_event(out, &f->event, f->uuid, id);

    assert_in_range(len, 1, size);
    id[VOC_UUID_LEN] = '\0';
    line = malloc(len + 1);
    memcpy(line, out, len);
    line[len] = '\0';
    free(out);
    return line;
}

static void
id_of(fixture_t *f, const char *query, char id[VOC_UUID_LEN + 1])
{
    assert_accepted(f, query);
    free(json_of(f, id));
}

/* sent: from "event" to the end of extra. */
static void
assert_json(fixture_t *f, const char *query, const char *sent)
{
    char id[VOC_UUID_LEN + 1] = "";
    char *line, *expected = malloc(strlen(sent) + 256);

    assert_accepted(f, query);
    line = json_of(f, id);
    sprintf(expected, "{\"v\":1,\"id\":\"%s\",%s", id, sent);
    assert_string_equal(line, expected);
    free(expected);
    free(line);
}

/* ---- the event -------------------------------------------------------- */

#define QUERY(event)                                                         \
    "event=" event "&date=2024-01-01%2019:00&callid=testcall&"               \
    "crm_id=usefulid"
#define JSON(event)                                                          \
    "\"event\":\"" event "\",\"date\":\"2024-01-01T19:00:00Z\","             \
    "\"callid\":\"testcall\",\"crm_id\":\"usefulid\""
#define INBOUND_QUERY "&inboundNumber=611800111222&callerid=61288880000"
#define INBOUND_JSON                                                         \
    ",\"inboundNumber\":\"611800111222\",\"callerid\":\"61288880000\""
#define TIMES_QUERY "&duration=88&answeredDuration=77"
#define TIMES_JSON  ",\"duration\":88,\"answeredDuration\":77"

static void
the_ten_sample_events_are_exact(void **state)
{
    static const struct {
        const char *query;
        const char *sent;
    } rows[] = {
        {QUERY("inboundCallStart") INBOUND_QUERY,
         JSON("inboundCallStart") INBOUND_JSON},
        {QUERY("inboundCallRinging") INBOUND_QUERY "&extension=280085",
         JSON("inboundCallRinging") INBOUND_JSON ",\"extension\":280085"},
        {QUERY("inboundCallAnswered") INBOUND_QUERY "&extension=280085",
         JSON("inboundCallAnswered") INBOUND_JSON ",\"extension\":280085"},
        {QUERY("inboundCallEnd") INBOUND_QUERY
         "&extension=280085" TIMES_QUERY,
         JSON("inboundCallEnd") INBOUND_JSON
         ",\"extension\":280085" TIMES_JSON},
        {QUERY("outboundCallStart") "&extension=280085&"
                                    "destination=61288880000",
         JSON("outboundCallStart") ",\"extension\":280085,"
                                   "\"destination\":\"61288880000\""},
        {QUERY("outboundCallAnswered") "&extension=280085&"
                                       "destination=61288880000",
         JSON("outboundCallAnswered") ",\"extension\":280085,"
                                      "\"destination\":\"61288880000\""},
        {QUERY("outboundCallEnd") "&extension=280085&"
                                  "destination=61288880000" TIMES_QUERY,
         JSON(
             "outboundCallEnd") ",\"extension\":280085,"
                                "\"destination\":\"61288880000\"" TIMES_JSON},
        {QUERY("ivrOption") INBOUND_QUERY "&ivrOption=1",
         JSON("ivrOption") INBOUND_JSON ",\"ivrOption\":\"1\""},
        {QUERY("callRecordingAvailable"), JSON("callRecordingAvailable")},
        {QUERY("callTranscriptionAvailable"),
         JSON("callTranscriptionAvailable")},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_json(*state, rows[i].query, rows[i].sent);
    }
}

static void
null_fields_are_there(void **state)
{
    assert_json(*state,
                "event=inboundCallEnd&date=2024-01-01+19:00&callid=c&"
                "inboundNumber=61&duration=0",
                "\"event\":\"inboundCallEnd\","
                "\"date\":\"2024-01-01T19:00:00Z\",\"callid\":\"c\","
                "\"crm_id\":null,\"inboundNumber\":\"61\",\"callerid\":null,"
                "\"extension\":null,\"duration\":0,"
                "\"answeredDuration\":null");
}

#define RECORDING_JSON                                                       \
    "\"event\":\"callRecordingAvailable\","                                  \
    "\"date\":\"2024-01-01T19:00:00Z\",\"callid\":\"testcall\","

static void
extra_is_there_where_something_is_in_it(void **state)
{
    fixture_t *f = *state;

    assert_json(f, RECORDING "&newField=x",
                RECORDING_JSON "\"crm_id\":null,\"extra\":{\"newField\":"
                               "\"x\"}");
    assert_json(f, "z=&" RECORDING "&a=1&duration=007",
                RECORDING_JSON "\"crm_id\":null,\"extra\":{\"a\":\"1\","
                               "\"duration\":\"007\",\"z\":\"\"}");
    f->unknown = VOC_UNKNOWN_DROP;
    assert_json(f, RECORDING "&newField=x", RECORDING_JSON "\"crm_id\":null");
    f->unknown = VOC_UNKNOWN_KEEP;
}

static void
quotes_and_backslashes_are_escaped(void **state)
{
    assert_json(*state,
                RECORDING "&crm_id=%22a%5C%22/%3C&%22%5C=%5C%22&"
                          "%c3%a4=%f0%9f%93%9e%e2%80%a8",
                RECORDING_JSON
                "\"crm_id\":\"\\\"a\\\\\\\"/<\",\"extra\":{"
                "\"\\\"\\\\\":\"\\\\\\\"\","
                "\"\xc3\xa4\":\"\xf0\x9f\x93\x9e\xe2\x80\xa8\"}");
}

/* None gets this far from a request; if one did, the line stays JSON. */
static void
control_characters_would_be_escaped(void **state)
{
    fixture_t *f = *state;
    char id[VOC_UUID_LEN + 1], *line;

    assert_accepted(f, RECORDING);
    f->event.values[2] = SLACK("\0\n\x1f\x7f");
    f->event.plain = 0;
    line = json_of(f, id);
    assert_non_null(strstr(line, "\"crm_id\":\"\\u0000\\u000a\\u001f\x7f\""));
    free(line);
}

/* Each byte at each place of texts of each length. */
static void
escapes_are_found_anywhere(void **state)
{
    fixture_t *f = *state;
    char value[24 + VOC_STR_SLACK] = "", expected[64], id[VOC_UUID_LEN + 1], *line, *found;

    assert_accepted(f, RECORDING);
    for (unsigned c = 1; c < 0x100; c++) {
        for (size_t len = 1; len <= 24; len++) {
            for (size_t at = 0; at < len; at++) {
                memset(value, 'x', len);
                value[at] = (char)c;
                sprintf(expected,
                        c < 0x20                ? "%.*s\\u%04x%.*s\""
                        : c == '"' || c == '\\' ? "%.*s\\%c%.*s\""
                                                : "%.*s%c%.*s\"",
                        (int)at, value, c, (int)(len - at - 1),
                        value + at + 1);
                f->event.values[2] = (voc_str_t){value, len};
                f->event.plain = 0;
                line = json_of(f, id);
                found = strstr(line, "\"crm_id\":\"");
                assert_non_null(found);
                assert_memory_equal(found + 10, expected, strlen(expected));
                free(line);
            }
        }
    }
}

static void
the_worst_fits_the_size_promised(void **state)
{
    static const char *const worst[] = {"%22", "%5C", "a", "%c3%a4"};
    fixture_t *f = *state;
    char *query = malloc(64 * 1024);

    for (size_t i = 0; i < sizeof(worst) / sizeof(worst[0]); i++) {
        for (unsigned n = 0; n < 127; n += 7) {
            char id[VOC_UUID_LEN + 1], *p = query;

            p += sprintf(p, "%s", RECORDING);
            for (unsigned k = 0; k < n / 4; k++) {
                p += sprintf(p, "%s", worst[i]);
            }
            p += sprintf(p, "&crm_id=");
            for (unsigned k = 0; k < n; k++) {
                p += sprintf(p, "%s", worst[i]);
            }
            for (unsigned k = 0; k < n; k++) {
                p +=
                    sprintf(p, "&%u%s=%s%s", k, worst[i], worst[i], worst[i]);
            }
            assert_accepted(f, query);
            free(json_of(f, id));
        }
    }

    /* Control characters are the longest escapes. */
    {
        static voc_pair_t extra[] = {
            {{SLACKED("\1\2\3\4\5\6\7"), 7}, {SLACKED("\1\2\3\4\5\6\7"), 7}}};
        char id[VOC_UUID_LEN + 1];

        assert_accepted(f, RECORDING);
        f->event.values[1] = SLACK("\1\2\3\4\5\6\7");
        f->event.values[2] = SLACK("\1\2\3\4\5\6\7\1\1\1\1\1");
        f->event.extra = extra;
        f->event.nextra = 1;
        f->event.plain = 0;
        free(json_of(f, id));
    }
    free(query);
}

/* ---- the id ----------------------------------------------------------- */

/* From python3's uuid5(); never to change, whatever else does. */
static void
ids_never_change(void **state)
{
    static const struct {
        const char *query;
        const char *id;
    } rows[] = {
        {QUERY("callRecordingAvailable"),
         "c45dbaf5-f779-5ee4-9ce4-76a335d5e27c"},
        {QUERY("inboundCallEnd") "&inboundNumber=61&duration=88",
         "3144d279-46b9-5759-a4c4-23c4a4b4c437"},
        {QUERY("callRecordingAvailable") "&b=%C3%A4%22&a=",
         "f4db67cc-2e09-5aea-8ab5-a599e15ccef8"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char id[VOC_UUID_LEN + 1];

        id_of(*state, rows[i].query, id);
        assert_string_equal(id, rows[i].id);
    }
}

static void
any_difference_makes_another_id(void **state)
{
    static const char *const queries[] = {
        QUERY("ivrOption") INBOUND_QUERY "&ivrOption=1",
        QUERY("inboundCallStart") INBOUND_QUERY "&ivrOption=1",
        QUERY("ivrOption") INBOUND_QUERY "&ivrOption=2",
        QUERY("ivrOption") INBOUND_QUERY "&ivrOption=1&x=",
        QUERY("ivrOption") INBOUND_QUERY "&ivrOption=1&x=1",
        QUERY("ivrOption") INBOUND_QUERY "&ivrOption=1&y=1",
        QUERY("ivrOption") "&inboundNumber=611800111223&ivrOption=1",
        QUERY("ivrOption") "&inboundNumber=611800111222&ivrOption=1",
        QUERY("ivrOption") "&inboundNumber=611800111222&callerid=1&"
                           "ivrOption=1",
        "event=ivrOption&date=2024-01-01+19:00:01&callid=testcall&"
        "crm_id=usefulid" INBOUND_QUERY "&ivrOption=1",
        "event=ivrOption&date=2024-01-01+19:00&callid=testcalk&"
        "crm_id=usefulid" INBOUND_QUERY "&ivrOption=1",
        "event=ivrOption&date=2024-01-01+19:00&callid=testcall&"
        "crm_id=usefulie" INBOUND_QUERY "&ivrOption=1",
        "event=ivrOption&date=2024-01-01+19:00&callid=testcall" INBOUND_QUERY
        "&ivrOption=1",
    };
    enum { N = sizeof(queries) / sizeof(queries[0]) };
    char ids[N][VOC_UUID_LEN + 1];

    for (size_t i = 0; i < N; i++) {
        id_of(*state, queries[i], ids[i]);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(ids[i], ids[k]);
        }
    }
}

/* A retry differs in none of what follows. */
static void
order_and_encoding_make_no_difference(void **state)
{
    static const char *const same[] = {
        "event=ivrOption&date=2024-01-01+19:00&callid=c&inboundNumber=61&"
        "callerid=anonymous&ivrOption=1&b=2&a=1&duration=3",
        "a=1&b=2&duration=3&ivrOption=1&callerid=Anonymous&"
        "inboundNumber=+61&callid=%63&date=2024-01-01T19:00:00Z&"
        "event=ivrOption&crm_id=null",
        "duration=3&b=2&a=1&&date=2024-01-01%2019:00:00&event=ivrOption&"
        "crm_id=&callerid=ANONYMOUS&ivrOption=%31&callid=c&"
        "inboundNumber=%2B61",
    };
    fixture_t *f = *state;
    char first[VOC_UUID_LEN + 1], id[VOC_UUID_LEN + 1];

    id_of(f, same[0], first);
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        id_of(f, same[i], id);
        assert_string_equal(id, first);
    }
}

/* ---- seal and answers ------------------------------------------------- */

#define JOURNAL "0123456789abcdef"

static void
assert_seal(voc_json_second_t *last, uint64_t received, const char *time,
            uint64_t number)
{
    char expected[128], *out = malloc(VOC_JSON_SEAL_MAX);
    size_t len = voc_json_seal(out, last, received, text(JOURNAL), number);

    sprintf(expected,
            ",\"received\":\"%s\",\"seq\":\"" JOURNAL ":%" PRIu64 "\"}",
            time, number);
    assert_in_range(len, 1, VOC_JSON_SEAL_MAX);
    assert_text((voc_str_t){out, len}, expected);
    free(out);
}

static void
the_seal_ends_the_line(void **state)
{
    static const uint64_t numbers[] = {0,  1,   9,          10,
                                       99, 100, 1000000000, UINT64_MAX};
    voc_json_second_t last = {0, ""};

    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        assert_seal(&last, 1795427941234, "2026-11-23T09:59:01.234Z",
                    numbers[i]);
    }
}

static void
received_agrees_with_the_c_library(void **state)
{
    uint64_t end = 253402300799; /* 9999-12-31T23:59:59 */
    voc_json_second_t last = {0, ""};

    (void)state;
    for (uint64_t s = 0; s <= end; s += s < 8000000000 ? 86399 : 86399 * 97) {
        time_t seconds = (time_t)s;
        unsigned ms = s % 1000;
        char expected[64];
        struct tm tm;
        size_t n;

        gmtime_r(&seconds, &tm);
        n = strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S", &tm);
        sprintf(expected + n, ".%03uZ", ms);
        assert_seal(&last, s * 1000 + ms, expected, s);
    }
}

/* It may be another one each time, and the one before again. */
static void
received_is_of_its_own_second(void **state)
{
    static const struct {
        uint64_t received;
        const char *time;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {999, "1970-01-01T00:00:00.999Z"},
        {1000, "1970-01-01T00:00:01.000Z"},
        {999, "1970-01-01T00:00:00.999Z"},
        {1795427941234, "2026-11-23T09:59:01.234Z"},
        {1795427941007, "2026-11-23T09:59:01.007Z"},
        {1795427942007, "2026-11-23T09:59:02.007Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {253402300800000, "9999-12-31T23:59:59.999Z"}, /* the last there is */
        {UINT64_MAX, "9999-12-31T23:59:59.999Z"},
        {1795427941234, "2026-11-23T09:59:01.234Z"},
    };
    voc_json_second_t last = {0, ""};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_seal(&last, rows[i].received, rows[i].time, i);
    }
}

static void
accepted_tells_the_id(void **state)
{
    char *out = malloc(VOC_JSON_ACCEPTED_MAX);
    size_t len =
        voc_json_accepted(out, "d89546ea-a04b-51dc-8555-51c8cdd9f0c4");

    (void)state;
    assert_text((voc_str_t){out, len},
                "{\"status\":\"accepted\","
                "\"id\":\"d89546ea-a04b-51dc-8555-51c8cdd9f0c4\"}");
    free(out);
}

static void
assert_problem(const voc_problem_t *problem, const char *expected)
{
    size_t size = voc_json_problem_size(problem);
    char *out = malloc(size);
    size_t len = voc_json_problem(out, problem);

    assert_in_range(len, 1, size);
    assert_text((voc_str_t){out, len}, expected);
    free(out);
}

static void
each_problem_has_its_title_and_status(void **state)
{
    static const struct {
        voc_reason_e reason;
        const char *expected;
    } rows[] = {
        {VOC_ADDRESS_DENIED,
         "{\"title\":\"Forbidden\",\"status\":403,"
         "\"reason\":\"address_denied\","
         "\"detail\":\"the source address is not allowed\"}"},
        {VOC_METHOD_NOT_ALLOWED,
         "{\"title\":\"Method Not Allowed\",\"status\":405,"
         "\"reason\":\"method_not_allowed\",\"detail\":\"expected POST\"}"},
        {VOC_BODY_TOO_LARGE,
         "{\"title\":\"Content Too Large\",\"status\":413,"
         "\"reason\":\"body_too_large\","
         "\"detail\":\"the body is too large\"}"},
        {VOC_MISSING_EVENT, "{\"title\":\"Bad Request\",\"status\":400,"
                            "\"reason\":\"missing_event\","
                            "\"detail\":\"expected the field event\"}"},
        {VOC_QUEUE_FULL,
         "{\"title\":\"Service Unavailable\",\"status\":503,"
         "\"reason\":\"queue_full\","
         "\"detail\":\"the journal is full, try again later\"}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        voc_problem_t problem = voc_problem(rows[i].reason);

        assert_problem(&problem, rows[i].expected);
    }
    assert_int_equal(voc_reason_status(VOC_ACCEPTED), 200);
    assert_text(voc_reason_name(VOC_ACCEPTED), "accepted");
    assert_text(voc_reason_title(VOC_ACCEPTED), "OK");
    assert_int_equal(voc_reason_status(VOC_JOURNAL_ERROR), 503);
}

static void
a_problem_names_the_field_but_never_the_value(void **state)
{
    fixture_t *f = *state;

    assert_rejected(f, "event=ivrOption&date=secret", VOC_INVALID_FIELD,
                    "date");
    assert_problem(&f->problem,
                   "{\"title\":\"Bad Request\",\"status\":400,"
                   "\"reason\":\"invalid_field\",\"field\":\"date\","
                   "\"detail\":\"expected YYYY-MM-DD hh:mm[:ss] in UTC\"}");

    assert_rejected(f, "%22%5C%c3%a4=1&%22%5C%c3%a4=2", VOC_DUPLICATE_FIELD,
                    "\"\\\xc3\xa4");
    assert_problem(&f->problem, "{\"title\":\"Bad Request\",\"status\":400,"
                                "\"reason\":\"duplicate_field\","
                                "\"field\":\"\\\"\\\\\xc3\xa4\","
                                "\"detail\":\"expected the field once\"}");

    f->problem.field = (voc_str_t)voc_str("\1\2\3\4\5\6\7\1\2\3\4\5\6\7");
    assert_problem(&f->problem,
                   "{\"title\":\"Bad Request\",\"status\":400,"
                   "\"reason\":\"duplicate_field\","
                   "\"field\":\"\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006"
                   "\\u0007\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007"
                   "\",\"detail\":\"expected the field once\"}");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ten_sample_events_are_exact),
        cmocka_unit_test(null_fields_are_there),
        cmocka_unit_test(extra_is_there_where_something_is_in_it),
        cmocka_unit_test(quotes_and_backslashes_are_escaped),
        cmocka_unit_test(control_characters_would_be_escaped),
        cmocka_unit_test(escapes_are_found_anywhere),
        cmocka_unit_test(the_worst_fits_the_size_promised),
        cmocka_unit_test(ids_never_change),
        cmocka_unit_test(any_difference_makes_another_id),
        cmocka_unit_test(order_and_encoding_make_no_difference),
        cmocka_unit_test(the_seal_ends_the_line),
        cmocka_unit_test(received_agrees_with_the_c_library),
        cmocka_unit_test(received_is_of_its_own_second),
        cmocka_unit_test(accepted_tells_the_id),
        cmocka_unit_test(each_problem_has_its_title_and_status),
        cmocka_unit_test(a_problem_names_the_field_but_never_the_value),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
