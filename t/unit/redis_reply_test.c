/* Replies of Redis, and what is kept of them. */

#include "redis_fixture.h"

static const struct {
    const char *bytes;
    voc_redis_type_e type;
    const char *text; /* NULL: none */
    voc_redis_type_e text_type;
} replies[] = {
    {"+OK\r\n", VOC_REDIS_STATUS, "OK", VOC_REDIS_STATUS},
    {"-ERR no\r\n", VOC_REDIS_ERROR, "ERR no", VOC_REDIS_ERROR},
    {":17\r\n", VOC_REDIS_INTEGER, NULL, 0},
    {"$-1\r\n", VOC_REDIS_NIL, NULL, 0},
    {"$0\r\n\r\n", VOC_REDIS_STRING, "", VOC_REDIS_STRING},
    {"$5\r\n12\r\n3\r\n", VOC_REDIS_STRING, "12\r\n3", VOC_REDIS_STRING},
    {"*-1\r\n", VOC_REDIS_NIL, NULL, 0},
    {"*0\r\n", VOC_REDIS_ARRAY, NULL, 0},

    /* the first text of an array */
    {"*2\r\n:3\r\n$2\r\n17\r\n", VOC_REDIS_ARRAY, "17", VOC_REDIS_STRING},
    {"*2\r\n-WRONGTYPE a\r\n$2\r\n17\r\n", VOC_REDIS_ARRAY, "WRONGTYPE a",
     VOC_REDIS_ERROR},
    {"*2\r\n:3\r\n-OOM b\r\n", VOC_REDIS_ARRAY, "OOM b", VOC_REDIS_ERROR},
    {"*2\r\n-WRONGTYPE a\r\n-ERR b\r\n", VOC_REDIS_ARRAY, "WRONGTYPE a",
     VOC_REDIS_ERROR},
    {"*2\r\n$1\r\n1\r\n-ERR b\r\n", VOC_REDIS_ARRAY, "1", VOC_REDIS_STRING},
    {"*2\r\n:1\r\n+OK\r\n", VOC_REDIS_ARRAY, "OK", VOC_REDIS_STATUS},
    {"*2\r\n:1\r\n$0\r\n\r\n", VOC_REDIS_ARRAY, "", VOC_REDIS_STRING},
    {"*2\r\n$0\r\n\r\n$1\r\nb\r\n", VOC_REDIS_ARRAY, "", VOC_REDIS_STRING},
    {"*2\r\n:1\r\n:2\r\n", VOC_REDIS_ARRAY, NULL, 0},
    {"*2\r\n$-1\r\n+OK\r\n", VOC_REDIS_ARRAY, "OK", VOC_REDIS_STATUS},
    {"*2\r\n*-1\r\n$-1\r\n", VOC_REDIS_ARRAY, NULL, 0},

    /* nested ones have texts of their own */
    {"*3\r\n$6\r\nmaster\r\n:3\r\n*2\r\n*1\r\n$1\r\nx\r\n$1\r\ny\r\n",
     VOC_REDIS_ARRAY, "master", VOC_REDIS_STRING},
    {"*2\r\n*1\r\n$1\r\nx\r\n$1\r\ny\r\n", VOC_REDIS_ARRAY, "y",
     VOC_REDIS_STRING},
    {"*2\r\n*2\r\n-ERR x\r\n*1\r\n+y\r\n:1\r\n", VOC_REDIS_ARRAY, NULL, 0},
};

#define REPLIES (sizeof(replies) / sizeof(replies[0]))

static void
check_reply(unsigned i, const voc_redis_reply_t *reply)
{
    assert_true(i < REPLIES);
    assert_int_equal(reply->type, replies[i].type);
    assert_false(reply->cut);

    if (replies[i].text == NULL) {
        assert_null(reply->text.data);
        assert_int_equal(reply->text.len, 0);
    } else {
        assert_non_null(reply->text.data);
        assert_int_equal(reply->text_type, replies[i].text_type);
        assert_true(voc_str_equal(reply->text, text(replies[i].text)));
    }
}

static void
replies_come_in_pieces_or_together(void **state)
{
    char all[1024] = "";
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

    /* not said of the next one, */
    voc_redis_reader_feed(reader, "K\r\n", 3);
    assert_int_equal(voc_redis_reader_get(reader, &reply, &unread), 1);
    assert_false(reply.cut);

    /* ... nor of an array for a later text, but for its first one */
    voc_redis_reader_feed(reader, "*2\r\n+1\r\n", 8);
    voc_redis_reader_feed(reader, bulk, 2009);
    assert_int_equal(voc_redis_reader_get(reader, &reply, &unread), 1);
    assert_true(voc_str_equal(reply.text, text("1")));
    assert_false(reply.cut);

    voc_redis_reader_feed(reader, "*2\r\n:1\r\n", 8);
    voc_redis_reader_feed(reader, bulk, 2009);
    assert_int_equal(voc_redis_reader_get(reader, &reply, &unread), 1);
    assert_int_equal(reply.text.len, VOC_REDIS_TEXT_MAX);
    assert_true(reply.cut);
    assert_int_equal(unread, 0);

    voc_redis_reader_feed(reader, ":1\r\n", 4);
    assert_int_equal(voc_redis_reader_get(reader, &reply, &unread), 1);
    assert_false(reply.cut);
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
        cmocka_unit_test(replies_come_in_pieces_or_together),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(what_is_no_resp_is_an_error),
        cmocka_unit_test(an_announced_length_reserves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
