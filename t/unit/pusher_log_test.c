/* What the pusher says, and what it keeps to itself. */

#include "pusher_fixture.h"

static void
one_line_for_each_change(void **state)
{
    (void)state;
    w.answer = REFUSE;
    world_start(RING);
    world_accept(1);
    world_pass(60000);
    assert_int_equal(w.lines, 1);

    /* another reason, then the first one once more */
    w.answer = ACCEPT;
    w.redis.fault = (fault_t){"GET", "LOADING Redis is loading", -1};
    world_pass(60000);
    assert_int_equal(w.lines, 2);
    assert_non_null(strstr(w.line, "LOADING"));
    w.answer = REFUSE;
    world_cut("connection closed");
    world_pass(60000);
    assert_int_equal(w.lines, 2);

    w.answer = ACCEPT;
    w.redis.fault.times = 0;
    world_pass(10000);
    assert_int_equal(w.lines, 3);
    assert_int_equal(w.level, VOC_LOG_NOTICE);
    assert_string_equal(w.line, "taking events, 0 waiting");
}

static void
the_log_holds_no_secrets(void **state)
{
    static char error[700];

    (void)state;
    w.redis.password = "s3cret";
    w.options.password = (voc_str_t)voc_str("s3cret");
    w.redis.fault =
        (fault_t){"AUTH",
                  "ERR unknown command 'AUTH', with args beginning with: "
                  "'s3cret'",
                  1};
    world_start(RING);
    world_settle();
    assert_string_equal(w.line, "ERR unknown command 'AUTH'; events "
                                "stay in the journal");

    w.redis.fault = (fault_t){"AUTH", "WRONGPASS no, not s3cret", 1};
    world_pass(60000);
    assert_null(strstr(w.all, "s3cret"));

    memset(error, 'x', sizeof(error) - 1);
    memcpy(error, "OOM \x1b[2J\xff", 9);
    w.redis.fault = (fault_t){"EVAL", error, 1};
    world_accept(1);
    world_settle();
    assert_true(strlen(w.line) < 260);
    assert_null(strpbrk(w.line, "\x1b\xff"));
    assert_int_equal(strncmp(w.line, "OOM [2Jxxx", 10), 0);
}

/* A finished journal's cursor that may not be deleted stops nothing. */
static void
del_may_be_forbidden(void **state)
{
    voc_journal_t *journal;

    (void)state;
    world_directory();
    journal = world_journal(SMALL_RING);
    world_events(journal, 3);
    voc_journal_close(journal);

    w.redis.fault = (fault_t){"DEL", "NOPERM no permissions", -1};
    world_start(SMALL_RING);
    world_accept(3);
    world_pass(60000);
    world_check();
    assert_int_equal(w.connects, 1);
    assert_int_equal(w.redis.nstrings, 2);
    assert_int_equal(counters()->up, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        test(one_line_for_each_change),
        test(the_log_holds_no_secrets),
        test(del_may_be_forbidden),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
