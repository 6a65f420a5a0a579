/* What is said to Redis, and what its errors mean. */

#include "redis_fixture.h"

static void
every_error_has_its_action(void **state)
{
    static const struct {
        const char *error;
        voc_reply_e action;
    } rows[] = {
        {"LOADING Redis is loading the dataset in memory", VOC_REPLY_BACKOFF},
        {"BUSY Redis is busy running a script.", VOC_REPLY_BACKOFF},
        {"MASTERDOWN Link with MASTER is down", VOC_REPLY_BACKOFF},
        {"CLUSTERDOWN The cluster is down", VOC_REPLY_BACKOFF},
        {"TRYAGAIN Multiple keys request during rehashing of slot",
         VOC_REPLY_BACKOFF},
        {"ERR max number of clients reached", VOC_REPLY_BACKOFF},
        {"ERR max number of clients + cluster connections reached",
         VOC_REPLY_BACKOFF},

        {"READONLY You can't write against a read only replica.",
         VOC_REPLY_REDISCOVER},
        {"UNBLOCKED force unblock from blocking operation",
         VOC_REPLY_REDISCOVER},

        {"NOREPLICAS Not enough good replicas to write.", VOC_REPLY_HOLD},
        {"OOM command not allowed when used memory > 'maxmemory'.",
         VOC_REPLY_HOLD},
        {"MISCONF Redis is configured to save RDB snapshots", VOC_REPLY_HOLD},

        {"NOAUTH Authentication required.", VOC_REPLY_DENIED},
        {"WRONGPASS invalid username-password pair", VOC_REPLY_DENIED},
        {"NOPERM this user has no permissions", VOC_REPLY_DENIED},
        {"ERR invalid password", VOC_REPLY_DENIED},
        {"ERR Client sent AUTH, but no password is set", VOC_REPLY_DENIED},
        {"ERR AUTH <password> called without any password configured for "
         "the default user. Are you sure your configuration is correct?",
         VOC_REPLY_DENIED},

        {"WRONGTYPE Operation against a key", VOC_REPLY_BLOCKED},
        {"CROSSSLOT Keys in request don't hash to the same slot",
         VOC_REPLY_BLOCKED},
        {"ERR unknown command 'EVALSHA', with args beginning with: 'OOM'",
         VOC_REPLY_BLOCKED},
        {"MOVED 3999 127.0.0.1:6381", VOC_REPLY_BLOCKED},
        {"ASK 3999 127.0.0.1:6381", VOC_REPLY_BLOCKED},

        /* whatever else: hold, never skip */
        {"ERR value is not an integer or out of range", VOC_REPLY_BLOCKED},
        {"NOSCRIPT No matching script. Please use EVAL.", VOC_REPLY_BLOCKED},
        {"BUSYKEY Target key name already exists.", VOC_REPLY_BLOCKED},
        {"BUSYGROUP Consumer Group name already exists", VOC_REPLY_BLOCKED},
        {"SOMETHING the OOM of it", VOC_REPLY_BLOCKED},
        {"ERR no ZOOM here", VOC_REPLY_BLOCKED},
        {"ERR", VOC_REPLY_BLOCKED},
        {"", VOC_REPLY_BLOCKED},
    };
    unsigned i;

    (void)state;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (voc_redis_error(text(rows[i].error)) != rows[i].action) {
            fail_msg("%s: %d", rows[i].error,
                     voc_redis_error(text(rows[i].error)));
        }
    }
}

static void
errors_inside_a_script_are_unwrapped(void **state)
{
    (void)state;

#define UP_TO_6                                                              \
    "ERR Error running script (call to f_fb5c67d4e08f339183eea9960efa1b1e0"  \
    "03fd13d): @user_script:6: "
#define OF_7                                                                 \
    " script: fb5c67d4e08f339183eea9960efa1b1e003fd13d, on @user_script:6."

    assert_int_equal(
        voc_redis_error(text(UP_TO_6 "WRONGTYPE Operation against a key")),
        VOC_REPLY_BLOCKED);
    assert_int_equal(
        voc_redis_error(text(UP_TO_6 "-OOM command not allowed when used "
                                     "memory > 'maxmemory'.")),
        VOC_REPLY_HOLD);
    assert_int_equal(
        voc_redis_error(text("ERR Error running script (call to f_fb5c): "
                             "@user_script: 6: -READONLY You can't write "
                             "against a read only replica.")),
        VOC_REPLY_REDISCOVER);
    assert_int_equal(
        voc_redis_error(text(UP_TO_6 "-NOREPLICAS Not enough good")),
        VOC_REPLY_HOLD);
    assert_int_equal(
        voc_redis_error(text(UP_TO_6 "-MISCONF Errors writing to the AOF")),
        VOC_REPLY_HOLD);
    assert_int_equal(
        voc_redis_error(text("@user_script: 6: -OOM command not allowed")),
        VOC_REPLY_HOLD);
    assert_int_equal(
        voc_redis_error(text(UP_TO_6 "The user executing the script can't "
                                     "run this command or subcommand")),
        VOC_REPLY_DENIED);
    assert_int_equal(
        voc_redis_error(text("ERR The user executing the script can't run "
                             "this command or subcommand" OF_7)),
        VOC_REPLY_DENIED);
    assert_int_equal(
        voc_redis_error(text("WRONGTYPE Operation against a key" OF_7)),
        VOC_REPLY_BLOCKED);
    assert_int_equal(voc_redis_error(text("OOM command not allowed" OF_7)),
                     VOC_REPLY_HOLD);
}

static void
errors_of_a_transaction_are_unwrapped(void **state)
{
    static const struct {
        const char *because;
        voc_reply_e action;
    } rows[] = {
        {"of: OOM command not allowed when used memory > 'maxmemory'.",
         VOC_REPLY_HOLD},
        {"of: MISCONF Errors writing to the AOF file", VOC_REPLY_HOLD},
        {"of: NOREPLICAS Not enough good replicas to write.", VOC_REPLY_HOLD},
        {"of: READONLY You can't write against a read only replica.",
         VOC_REPLY_REDISCOVER},
        {"of: LOADING Redis is loading the dataset", VOC_REPLY_BACKOFF},
        {"of: BUSY Redis is busy running a script.", VOC_REPLY_BACKOFF},
        {"of: NOAUTH Authentication required.", VOC_REPLY_DENIED},
        {"of: NOPERM this user has no permissions", VOC_REPLY_DENIED},
        {"of: ERR unknown command 'LTRIM'", VOC_REPLY_BLOCKED},
        {"of previous errors.", VOC_REPLY_BLOCKED},
    };
    char error[128];
    unsigned i;

    (void)state;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(error, sizeof(error),
                 "EXECABORT Transaction discarded because %s",
                 rows[i].because);
        if (voc_redis_error(text(error)) != rows[i].action) {
            fail_msg("%s: %d", error, voc_redis_error(text(error)));
        }
    }

    assert_int_equal(voc_redis_error(text("EXECABORT")), VOC_REPLY_BLOCKED);
    assert_int_equal(voc_redis_error(text("EXECABORT OOM")), VOC_REPLY_HOLD);
    assert_int_equal(voc_redis_error(text("EXECABORTED OOM")),
                     VOC_REPLY_BLOCKED);
}

static void
numbers_are_decimal(void **state)
{
    static const struct {
        uint64_t number;
        const char *digits;
    } rows[] = {
        {0, "0"},
        {9, "9"},
        {10, "10"},
        {99, "99"},
        {100, "100"},
        {1234567890, "1234567890"},
        {9999999999999999999u, "9999999999999999999"},
        {10000000000000000000u, "10000000000000000000"},
        {UINT64_MAX, "18446744073709551615"},
    };
    char *out = malloc(VOC_REDIS_NUMBER); /* exact: ASan sees a NUL */
    unsigned i;
    size_t len;

    (void)state;
    assert_non_null(out);

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        len = voc_redis_decimal(out, rows[i].number);
        assert_int_equal(len, strlen(rows[i].digits));
        assert_memory_equal(out, rows[i].digits, len);
    }

    free(out);
}

/* ---- commands --------------------------------------------------------- */

static void
assert_holds(const voc_redis_buffer_t *buffer, const char *bytes, size_t len)
{
    assert_int_equal(buffer->end - buffer->start, len);
    assert_memory_equal(buffer->data + buffer->start, bytes, len);
    assert_true(buffer->end <= buffer->size);
}

static void
commands_are_binary_safe(void **state)
{
    static const char expected[] = "*3\r\n$5\r\nRPUSH\r\n$0\r\n\r\n"
                                   "$4\r\na\0\r\n\r\n";
    voc_str_t argv[3] = {voc_str("RPUSH"), {NULL, 0}, {"a\0\r\n", 4}};
    voc_redis_buffer_t buffer = {0};

    (void)state;

    assert_int_equal(voc_redis_append(&buffer, 3, argv), 0);
    assert_holds(&buffer, expected, sizeof(expected) - 1);
    assert_int_equal(buffer.start, 0);

    voc_redis_buffer_free(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.size + buffer.start + buffer.end, 0);
    voc_redis_buffer_free(&buffer);
}

static void
commands_stand_one_behind_the_other(void **state)
{
    static const char expected[] = "*1\r\n$4\r\nPING\r\n"
                                   "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
                                   "*1\r\n$4\r\nEXEC\r\n";
    voc_str_t ping[] = {voc_str("PING")}, exec[] = {voc_str("EXEC")},
              get[] = {voc_str("GET"), voc_str("k")};
    voc_redis_buffer_t buffer = {0};

    (void)state;

    assert_int_equal(voc_redis_append(&buffer, 1, ping), 0);
    assert_int_equal(voc_redis_append(&buffer, 2, get), 0);
    assert_int_equal(voc_redis_append(&buffer, 1, exec), 0);
    assert_holds(&buffer, expected, sizeof(expected) - 1);

    /* what was sent stays off */
    buffer.start += 14;
    assert_int_equal(voc_redis_append(&buffer, 1, ping), 0);
    assert_int_equal(buffer.start, 14);
    assert_memory_equal(buffer.data + buffer.end - 14, expected, 14);
    voc_redis_buffer_free(&buffer);
}

static void
a_command_has_some_words(void **state)
{
    voc_str_t argv[VOC_REDIS_ARGS_MAX + 1];
    voc_redis_buffer_t buffer = {0}, before;
    unsigned i;

    (void)state;

    for (i = 0; i <= VOC_REDIS_ARGS_MAX; i++) {
        argv[i] = text("x");
    }

    assert_int_equal(voc_redis_append(&buffer, 0, argv), -1);
    assert_int_equal(voc_redis_append(&buffer, VOC_REDIS_ARGS_MAX + 1, argv),
                     -1);
    assert_null(buffer.data);

    assert_int_equal(voc_redis_append(&buffer, VOC_REDIS_ARGS_MAX, argv), 0);
    assert_int_equal(buffer.end, 5 + VOC_REDIS_ARGS_MAX * 7);

    before = buffer;
    assert_int_equal(voc_redis_append(&buffer, VOC_REDIS_ARGS_MAX + 1, argv),
                     -1);
    assert_memory_equal(&buffer, &before, sizeof(buffer));
    voc_redis_buffer_free(&buffer);
}

/* Twice as large each time, and no more often: appending stays linear. */
static void
a_buffer_grows_and_keeps_what_it_holds(void **state)
{
    static const char one[] = "*2\r\n$3\r\nGET\r\n$9\r\n";
    char key[10], expected[64];
    voc_str_t argv[2] = {voc_str("GET"), {key, 9}};
    voc_redis_buffer_t buffer = {0};
    unsigned i, grown = 0;
    size_t size, len = sizeof(one) - 1 + 9 + 2;

    (void)state;

    for (i = 0; i < 10000; i++) {
        size = buffer.size;
        snprintf(key, sizeof(key), "%09u", i);
        assert_int_equal(voc_redis_append(&buffer, 2, argv), 0);
        assert_true(buffer.end <= buffer.size);
        grown += buffer.size != size;
    }

    assert_in_range(grown, 2, 16);
    assert_int_equal(buffer.end, 10000 * len);

    for (i = 0; i < 10000; i++) {
        snprintf(expected, sizeof(expected), "%s%09u\r\n", one, i);
        assert_memory_equal(buffer.data + i * len, expected, len);
    }

    voc_redis_buffer_free(&buffer);
}

static void
reserved_room_is_there(void **state)
{
    voc_redis_buffer_t buffer = {0};
    size_t size, len;
    char *data;

    (void)state;

    assert_int_equal(voc_redis_reserve(&buffer, 0), 0);

    for (len = 1; len <= 1024 * 1024; len = len * 3 + 1) {
        assert_int_equal(voc_redis_reserve(&buffer, len), 0);
        assert_true(buffer.size - buffer.end >= len);
        memset(buffer.data + buffer.end, 'x', len); /* ASan sees it */
        buffer.end += len / 2;
    }

    /* what is there already costs nothing */
    size = buffer.size;
    data = buffer.data;
    assert_int_equal(voc_redis_reserve(&buffer, size - buffer.end), 0);
    assert_ptr_equal(buffer.data, data);
    assert_int_equal(buffer.size, size);

    assert_int_equal(voc_redis_reserve(&buffer, size - buffer.end + 1), 0);
    assert_true(buffer.size > size);
    voc_redis_buffer_free(&buffer);
}

static void
without_memory_nothing_changes(void **state)
{
    voc_str_t ping[] = {voc_str("PING")};
    voc_redis_buffer_t buffer = {0}, before;
    int rc, fd;

    (void)state;

    assert_int_equal(voc_redis_append(&buffer, 1, ping), 0);
    before = buffer;

    fd = report_begin();
    rc = voc_redis_reserve(&buffer, TOO_MUCH);
    report_end(fd);

    assert_int_equal(rc, -1);
    assert_memory_equal(&buffer, &before, sizeof(buffer));
    assert_memory_equal(buffer.data, "*1\r\n$4\r\nPING\r\n", 14);
    voc_redis_buffer_free(&buffer);
}

/* ---- names ------------------------------------------------------------ */

static void
the_cursor_is_in_the_lists_slot(void **state)
{
    static const struct {
        const char *key, *cursor;
    } rows[] = {
        {"voc:events", "{voc:events}:cursor:0123456789abcdef"},
        {"{voc}:events", "{voc}:events:cursor:0123456789abcdef"},
        {"a{b}c{d}", "a{b}c{d}:cursor:0123456789abcdef"},
        {"a{b", "{a{b}:cursor:0123456789abcdef"},
        {"{}a", "{{}a}:cursor:0123456789abcdef"},
    };
    char out[128];
    unsigned i;
    size_t len;

    (void)state;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        len = voc_redis_cursor_key(out, text(rows[i].key),
                                   text("0123456789abcdef"));
        assert_int_equal(len, strlen(rows[i].cursor));
        assert_memory_equal(out, rows[i].cursor, len);
    }
}

static void
a_key_needs_a_cursor_in_its_slot(void **state)
{
    (void)state;
    assert_true(voc_redis_key_valid(text("voc:events")));
    assert_true(voc_redis_key_valid(text("{voc}:events")));
    assert_true(voc_redis_key_valid(text("a{b}c}")));
    assert_true(voc_redis_key_valid(text("a{b")));
    assert_false(voc_redis_key_valid(text("")));
    assert_false(voc_redis_key_valid(text("a}b")));
    assert_false(voc_redis_key_valid(text("}a{b")));
    assert_false(voc_redis_key_valid(text("{}b")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_its_action),
        cmocka_unit_test(a_key_needs_a_cursor_in_its_slot),
        cmocka_unit_test(errors_inside_a_script_are_unwrapped),
        cmocka_unit_test(errors_of_a_transaction_are_unwrapped),
        cmocka_unit_test(numbers_are_decimal),
        cmocka_unit_test(commands_are_binary_safe),
        cmocka_unit_test(commands_stand_one_behind_the_other),
        cmocka_unit_test(a_command_has_some_words),
        cmocka_unit_test(a_buffer_grows_and_keeps_what_it_holds),
        cmocka_unit_test(reserved_room_is_there),
        cmocka_unit_test(without_memory_nothing_changes),
        cmocka_unit_test(the_cursor_is_in_the_lists_slot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
