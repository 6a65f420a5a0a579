/* A batch is a transaction: who may not do all of it, what fails within. */

#include "pusher_fixture.h"

/* Without one of these a batch could not be taken back, or not be pushed. */
static void
without_rights_nothing_is_pushed(void **state)
{
    static const char *const commands[] = {"MULTI", "LINDEX", "LTRIM", "EXEC",
                                           "GET",   "RPUSH",  "EVAL"};
    static const char *const errors[] = {
        "NOPERM this user has no permissions to run the command",
        "ERR unknown command"};
    unsigned i, j;

    (void)state;

    for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        for (j = 0; j < 2; j++) {
            world_make(i + 1);
            w.redis.fault = (fault_t){commands[i], errors[j], -1};
            world_start(RING);
            world_accept(20);
            world_pass(120000);

            assert_int_equal(w.redis.pushes, 0);
            assert_int_equal(counters()->up, 0);
            assert_int_equal(counters()->pushed, 0);
            assert_int_equal(w.level, VOC_LOG_ALERT);
            assert_int_equal(w.lines, 1);
            assert_non_null(strstr(w.line, errors[j]));

            w.redis.fault.times = 0;
            world_pass(40000);
            world_check();
            world_end();
        }
    }

    world_make(1);
    world_start(RING);
}

/* They may go between a question and its EXEC. */
static void
rights_that_go_at_once_are_missed(void **state)
{
    static const char answers[] =
        "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$-1\r\n-NOPERM no\r\n$1\r\n0\r\n";

    (void)state;
    w.serve = 0;
    world_start(RING);
    world_accept(20);
    world_settle();
    assert_true(model_serve(&w.redis, w.conn)); /* ROLE */
    world_settle();
    bytes_add(&w.conn->out, answers, strlen(answers));
    w.conn->in.len = 0;
    world_settle();
    assert_int_equal(w.closes, 1);
    assert_true(w.timer_at - w.now >= VOC_PUSHER_HOLD_MAX);
    assert_string_equal(w.line, "NOPERM no; events stay in the journal");

    w.serve = 1;
    world_pass(40000);
    world_check();
}

/* The rights are asked for again before anything is pushed again. */
static void
rights_that_go_are_missed(void **state)
{
    (void)state;
    world_start(RING);
    world_accept(20);
    world_settle();
    world_check();

    w.redis.fault = (fault_t){"RPUSH", "NOPERM no", 1};
    world_accept(20);
    world_settle();
    w.redis.fault = (fault_t){"LTRIM", "NOPERM no", -1};
    world_pass(120000);
    assert_int_equal(w.redis.nlist, 20);
    assert_int_equal(w.redis.pushes, 1);

    w.redis.fault.times = 0;
    world_pass(40000);
    world_check();
}

/* Where the cursor may not be set the batch is taken back, and comes later.
 */
static void
a_commit_that_fails_takes_the_batch_back(void **state)
{
    (void)state;
    world_start(RING);
    world_accept(20);
    world_settle();

    w.redis.fault = (fault_t){"commit", "OOM command not allowed", 3};
    world_accept(3000);
    world_settle();
    assert_int_equal(w.redis.nlist, 20);
    assert_int_equal(counters()->pushed, 20);
    assert_non_null(strstr(w.line, "OOM"));

    world_pass(120000);
    world_check();
    assert_int_equal(w.redis.fault.times, 0);
    assert_int_equal(counters()->pushed, 3020);
}

static void
a_list_of_another_type_is_left_alone(void **state)
{
    (void)state;
    w.redis.wrong_type = 1;
    world_start(RING);
    world_accept(20);
    world_pass(60000);
    assert_int_equal(w.level, VOC_LOG_ALERT);
    assert_int_equal(w.lines, 1);
    assert_non_null(strstr(w.line, "WRONGTYPE"));
    assert_int_equal(w.connects, 1);
    assert_string_equal(world_cursor(w.options.journal), "0");

    w.redis.wrong_type = 0;
    world_pass(40000);
    world_check();
}

/* Redis answers MULTI while the rest of a large batch is still on its way. */
static void
answers_may_come_before_the_end(void **state)
{
    (void)state;
    world_start(RING);
    world_settle();

    w.window = 100; /* MULTI and a piece of RPUSH */
    world_accept(1000);
    world_settle();
    assert_int_equal(w.conn->multi, 1);
    assert_int_equal(w.conn->out.len, 0);
    assert_int_equal(w.closes, 0);

    w.window = SIZE_MAX;
    world_settle();
    world_check();
    assert_int_equal(w.closes, 0);
}

/* An answer to more than was asked is none. */
static void
the_last_answer_may_not(void **state)
{
    static const char answers[] = "+QUEUED\r\n+QUEUED\r\n"
                                  "*2\r\n:1\r\n$4\r\n1000\r\n";

    (void)state;
    world_start(RING);
    world_settle();

    w.window = 100;
    world_accept(1000);
    world_settle();
    bytes_add(&w.conn->out, answers, strlen(answers));
    world_deliver(strlen(answers));
    assert_int_equal(w.closes, 1);
    assert_int_equal(counters()->pushed, 0);

    w.window = SIZE_MAX;
    world_pass(10000);
    world_check();
}

/* To a batch; the connection is closed, and all is pushed on the next one. */
static void
assert_closes(uint32_t seed, const char *before, const char *answer)
{
    world_make(seed);
    world_start(RING);
    world_settle();
    w.serve = 0;
    world_accept(1);
    world_settle();
    bytes_add(&w.conn->out, before, strlen(before));
    bytes_add(&w.conn->out, answer, strlen(answer));
    world_deliver(w.conn->out.len);
    assert_int_equal(w.closes, 1);
    assert_int_equal(counters()->pushed, 0);

    w.serve = 1;
    world_pass(10000);
    world_check();
    world_end();
}

static void
what_is_not_queued_closes(void **state)
{
    static const char *const answers[] = {":1\r\n", "$-1\r\n", "*0\r\n"};
    unsigned i;

    (void)state;

    for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        assert_closes(i + 1, "+OK\r\n", answers[i]);
    }

    world_make(1);
    world_start(RING);
}

/* EXEC's array without a text, or with another one, or none at all. */
static void
an_answer_of_another_form_closes(void **state)
{
    static const char *const answers[] = {"*2\r\n:1\r\n:1\r\n",
                                          "*2\r\n:1\r\n+1\r\n",
                                          "*-1\r\n",
                                          "*0\r\n",
                                          "$1\r\n1\r\n",
                                          "+OK\r\n"};
    unsigned i;

    (void)state;

    for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        assert_closes(i + 1, "+OK\r\n+QUEUED\r\n+QUEUED\r\n", answers[i]);
    }

    world_make(1);
    world_start(RING);
}

/* As at EXEC's own checks, with what was queued before accepted. */
static void
an_exec_that_is_refused_says_why(void **state)
{
    static const char answers[] =
        "+OK\r\n+QUEUED\r\n+QUEUED\r\n"
        "-EXECABORT Transaction discarded because of: OOM x\r\n";

    (void)state;
    world_start(RING);
    world_settle();

    w.serve = 0;
    world_accept(20);
    world_settle();
    bytes_add(&w.conn->out, answers, strlen(answers));
    w.conn->in.len = 0;
    world_deliver(w.conn->out.len);
    assert_int_equal(w.closes, 0);
    assert_int_equal(w.level, VOC_LOG_ERROR);
    assert_non_null(strstr(w.line, "OOM x"));

    w.serve = 1;
    world_pass(40000);
    world_check();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        test(without_rights_nothing_is_pushed),
        test(rights_that_go_at_once_are_missed),
        test(rights_that_go_are_missed),
        test(a_commit_that_fails_takes_the_batch_back),
        test(a_list_of_another_type_is_left_alone),
        test(answers_may_come_before_the_end),
        test(the_last_answer_may_not),
        test(what_is_not_queued_closes),
        test(an_answer_of_another_form_closes),
        test(an_exec_that_is_refused_says_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
