/* What is said to Redis, and what its answers mean. */

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "voc_redis.h"

static voc_str_t
text(const char *s)
{
    voc_str_t str = {s, strlen(s)};

    return str;
}

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

        {"NOSCRIPT No matching script. Please use EVAL.", VOC_REPLY_NOSCRIPT},

        /* whatever else: hold, never skip */
        {"ERR value is not an integer or out of range", VOC_REPLY_BLOCKED},
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
the_script_has_its_sha1(void **state)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    char hex[41];
    unsigned i, len;

    (void)state;

    assert_int_equal(EVP_Digest(voc_redis_push_script,
                                strlen(voc_redis_push_script), hash, &len,
                                EVP_sha1(), NULL),
                     1);
    assert_int_equal(len, 20);

    for (i = 0; i < len; i++) {
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    }

    assert_string_equal(hex, voc_redis_push_sha1);
}

static void
commands_are_binary_safe(void **state)
{
    static const char expected[] = "*3\r\n$5\r\nRPUSH\r\n$0\r\n\r\n"
                                   "$4\r\na\0\r\n\r\n";
    voc_str_t argv[3] = {voc_str("RPUSH"), {NULL, 0}, {"a\0\r\n", 4}};
    voc_redis_command_t command;

    (void)state;

    command = voc_redis_format(3, argv);
    assert_int_equal(command.len, sizeof(expected) - 1);
    assert_memory_equal(command.data, expected, command.len);

    voc_redis_free(&command);
    assert_null(command.data);
    voc_redis_free(&command);
}

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

static const struct {
    const char *bytes;
    voc_redis_type_e type;
    const char *text;
} replies[] = {
    {"+OK\r\n", VOC_REDIS_STATUS, "OK"},
    {"-ERR no\r\n", VOC_REDIS_ERROR, "ERR no"},
    {":17\r\n", VOC_REDIS_INTEGER, ""},
    {"$-1\r\n", VOC_REDIS_NIL, ""},
    {"$5\r\n12\r\n3\r\n", VOC_REDIS_STRING, "12\r\n3"},
    {"*-1\r\n", VOC_REDIS_NIL, ""},
    {"*0\r\n", VOC_REDIS_ARRAY, ""},
    {"*3\r\n$6\r\nmaster\r\n:3\r\n*2\r\n*1\r\n$1\r\nx\r\n$1\r\ny\r\n",
     VOC_REDIS_ARRAY, "master"},
    {"*2\r\n*1\r\n$1\r\nx\r\n$1\r\ny\r\n", VOC_REDIS_ARRAY, ""},
};

#define REPLIES (sizeof(replies) / sizeof(replies[0]))

static void
check_reply(unsigned i, const voc_redis_reply_t *reply)
{
    assert_int_equal(reply->type, replies[i].type);
    assert_true(voc_str_equal(reply->text, text(replies[i].text)));
    assert_false(reply->cut);
}

static void
replies_come_in_pieces_or_together(void **state)
{
    char all[512] = "";
    size_t piece, at, n, unread;
    unsigned i;
    voc_redis_reply_t reply;
    voc_redis_reader_t *reader;

    (void)state;

    for (i = 0; i < REPLIES; i++) {
        strcat(all, replies[i].bytes);
    }

    for (piece = 1; piece <= strlen(all); piece++) {
        reader = voc_redis_reader_create();
        assert_non_null(reader);
        i = 0;

        for (at = 0; at < strlen(all); at += n) {
            n = strlen(all) - at < piece ? strlen(all) - at : piece;
            assert_int_equal(voc_redis_reader_feed(reader, all + at, n), 0);

            while (voc_redis_reader_get(reader, &reply, &unread) == 1) {
                check_reply(i++, &reply);
            }
        }

        assert_int_equal(i, REPLIES);
        assert_int_equal(unread, 0);
        voc_redis_reader_free(reader);
    }
}

static void
long_texts_are_cut(void **state)
{
    char bulk[2048];
    size_t unread;
    voc_redis_reply_t reply;
    voc_redis_reader_t *reader = voc_redis_reader_create();

    (void)state;

    memset(bulk, 'x', sizeof(bulk));
    memcpy(bulk, "$2000\r\n", 7);
    memcpy(bulk + 2007, "\r\n+O", 4);

    voc_redis_reader_feed(reader, bulk, 1000);
    assert_int_equal(voc_redis_reader_get(reader, &reply, &unread), 0);
    assert_int_equal(unread, 1000);

    voc_redis_reader_feed(reader, bulk + 1000, 1011);
    assert_int_equal(voc_redis_reader_get(reader, &reply, &unread), 1);
    assert_int_equal(reply.text.len, VOC_REDIS_TEXT_MAX);
    assert_true(reply.cut);
    assert_int_equal(unread, 2);
    voc_redis_reader_free(reader);
}

static void
what_is_no_resp_is_an_error(void **state)
{
    static const char *const bad[] = {
        "HTTP/1.1 400 Bad Request\r\n",
        "\x15\x03\x01\r\n",
        "$x\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
    };
    unsigned i;
    size_t unread;
    voc_redis_reply_t reply;
    voc_redis_reader_t *reader;

    (void)state;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        reader = voc_redis_reader_create();
        voc_redis_reader_feed(reader, bad[i], strlen(bad[i]));
        assert_int_equal(voc_redis_reader_get(reader, &reply, &unread), -1);
        voc_redis_reader_free(reader);
    }
}

/* hiredis' own objects would be 16 GB here. */
static void
an_announced_length_reserves_nothing(void **state)
{
    size_t unread;
    voc_redis_reply_t reply;
    voc_redis_reader_t *reader = voc_redis_reader_create();
    static const char array[] = "*2000000000\r\n:1\r\n$500000000\r\nx";

    (void)state;

    voc_redis_reader_feed(reader, array, sizeof(array) - 1);
    assert_int_equal(voc_redis_reader_get(reader, &reply, &unread), 0);
    assert_int_equal(unread, sizeof(array) - 1);
    voc_redis_reader_free(reader);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_its_action),
        cmocka_unit_test(a_key_needs_a_cursor_in_its_slot),
        cmocka_unit_test(errors_inside_a_script_are_unwrapped),
        cmocka_unit_test(the_script_has_its_sha1),
        cmocka_unit_test(commands_are_binary_safe),
        cmocka_unit_test(the_cursor_is_in_the_lists_slot),
        cmocka_unit_test(replies_come_in_pieces_or_together),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(what_is_no_resp_is_an_error),
        cmocka_unit_test(an_announced_length_reserves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
