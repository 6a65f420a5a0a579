/* The transaction that puts a batch on the list, byte by byte. */

#include <hiredis/hiredis.h>

#include "redis_fixture.h"
#include "voc_redis_push.h"

#define LIST   "voc:events"
#define CURSOR "{voc:events}:cursor:0123456789abcdef"

#define EVENTS_MAX 5000

/* ---- a push ----------------------------------------------------------- */

/* As the pusher does it: room, the event where it is to be, its length. */
static void
add(voc_redis_push_t *push, voc_str_t list, const char *event, size_t len)
{
    size_t room;
    char *out;

    assert_int_equal(voc_redis_push_reserve(push, list, len), 0);
    out = voc_redis_push_next(push, &room);
    assert_true(room >= len);
    memcpy(out, event, len);
    voc_redis_push_add(push, len);
}

static void
end(voc_redis_push_t *push, voc_str_t list, const char *expected,
    const char *next)
{
    assert_int_equal(voc_redis_push_end(push, list, text(CURSOR),
                                        text(expected), text(next)),
                     0);
}

static void
assert_bytes(const voc_redis_push_t *push, const char *expected)
{
    const voc_redis_buffer_t *b = &push->buffer;

    assert_int_equal(b->end - b->start, strlen(expected));
    assert_memory_equal(b->data + b->start, expected, strlen(expected));
}

/* ---- and a reader that is not ours ------------------------------------ */

static redisReply *
next_command(redisReader *reader, size_t words)
{
    void *reply = NULL;

    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    assert_int_equal(((redisReply *)reply)->type, REDIS_REPLY_ARRAY);
    assert_int_equal(((redisReply *)reply)->elements, words);
    return reply;
}

static void
assert_word(const redisReply *command, size_t i, voc_str_t word)
{
    assert_int_equal(command->element[i]->type, REDIS_REPLY_STRING);
    assert_int_equal(command->element[i]->len, word.len);
    assert_memory_equal(command->element[i]->str, word.data, word.len);
}

static void
assert_word_alone(redisReader *reader, const char *word)
{
    redisReply *command = next_command(reader, 1);

    assert_word(command, 0, text(word));
    freeReplyObject(command);
}

static void
assert_commit(redisReader *reader, voc_str_t list, const char *expected,
              const char *next, unsigned n, voc_str_t last)
{
    redisReply *command = next_command(reader, 9);
    char count[16];

    sprintf(count, "%u", n);
    assert_word(command, 0, text("EVAL"));
    assert_word(command, 1, text(voc_redis_commit_script));
    assert_word(command, 2, text("2"));
    assert_word(command, 3, list);
    assert_word(command, 4, text(CURSOR));
    assert_word(command, 5, text(expected));
    assert_word(command, 6, text(next));
    assert_word(command, 7, text(count));
    assert_word(command, 8, last);
    freeReplyObject(command);
}

/* Four commands, with these events, and nothing else. */
static void
assert_transaction(const voc_redis_push_t *push, voc_str_t list,
                   const char *expected, const char *next, unsigned n,
                   const voc_str_t *events)
{
    const voc_redis_buffer_t *b = &push->buffer;
    redisReader *reader = redisReaderCreate();
    redisReply *command;
    void *reply = NULL;
    unsigned i;

    assert_true(b->start <= b->end && b->end <= b->size);
    assert_int_equal(
        redisReaderFeed(reader, b->data + b->start, b->end - b->start),
        REDIS_OK);

    assert_word_alone(reader, "MULTI");

    command = next_command(reader, 2 + n);
    assert_word(command, 0, text("RPUSH"));
    assert_word(command, 1, list);
    for (i = 0; i < n; i++) {
        assert_word(command, 2 + i, events[i]);
    }
    freeReplyObject(command);

    assert_commit(reader, list, expected, next, n, events[n - 1]);
    assert_word_alone(reader, "EXEC");

    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_null(reply);
    assert_int_equal(reader->pos, reader->len);
    redisReaderFree(reader);
}

/* ---- events of some lengths ------------------------------------------- */

static char letters[64 * 1024];
static voc_str_t events[EVENTS_MAX];

/* None is like another of its length. */
static voc_str_t
event(unsigned i, size_t len)
{
    if (letters[0] == '\0') {
        for (size_t n = 0; n < sizeof(letters); n++) {
            letters[n] = (char)('!' + n * n / 7 % 90);
        }
    }

    assert_true(len + i % 1000 <= sizeof(letters));
    events[i] = (voc_str_t){letters + i % 1000, len};
    return events[i];
}

static void
push_lengths(voc_redis_push_t *push, voc_str_t list, const size_t *lengths,
             unsigned n)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        event(i, lengths[i]);
        add(push, list, events[i].data, events[i].len);
    }

    assert_int_equal(push->count, n);
    end(push, list, "41", "9999");
    assert_transaction(push, list, "41", "9999", n, events);
}

/* ---- the tests -------------------------------------------------------- */

static void
one_event(void **state)
{
    voc_redis_push_t push = {0};
    char expected[4096];

    (void)state;

    add(&push, text(LIST), "{\"n\":1}", 7);
    end(&push, text(LIST), "0", "1");

    sprintf(expected,
            "*1\r\n$5\r\nMULTI\r\n"
            "*3\r\n$5\r\nRPUSH\r\n$10\r\nvoc:events\r\n"
            "$7\r\n{\"n\":1}\r\n"
            "*9\r\n$4\r\nEVAL\r\n$%zu\r\n%s\r\n$1\r\n2\r\n"
            "$10\r\nvoc:events\r\n"
            "$36\r\n{voc:events}:cursor:0123456789abcdef\r\n"
            "$1\r\n0\r\n$1\r\n1\r\n$1\r\n1\r\n$7\r\n{\"n\":1}\r\n"
            "*1\r\n$4\r\nEXEC\r\n",
            strlen(voc_redis_commit_script), voc_redis_commit_script);
    assert_bytes(&push, expected);
    voc_redis_buffer_free(&push.buffer);
}

static void
several_events(void **state)
{
    voc_redis_push_t push = {0};
    char expected[4096];

    (void)state;

    add(&push, text(LIST), "{\"n\":98}", 8);
    add(&push, text(LIST), "{\"name\":\"a\r\n\"}", 14);
    add(&push, text(LIST), "{}", 2);
    end(&push, text(LIST), "97", "100");

    sprintf(expected,
            "*1\r\n$5\r\nMULTI\r\n"
            "*5\r\n$5\r\nRPUSH\r\n$10\r\nvoc:events\r\n"
            "$8\r\n{\"n\":98}\r\n$14\r\n{\"name\":\"a\r\n\"}\r\n$2\r\n{}\r\n"
            "*9\r\n$4\r\nEVAL\r\n$%zu\r\n%s\r\n$1\r\n2\r\n"
            "$10\r\nvoc:events\r\n"
            "$36\r\n{voc:events}:cursor:0123456789abcdef\r\n"
            "$2\r\n97\r\n$3\r\n100\r\n$1\r\n3\r\n$2\r\n{}\r\n"
            "*1\r\n$4\r\nEXEC\r\n",
            strlen(voc_redis_commit_script), voc_redis_commit_script);
    assert_bytes(&push, expected);
    voc_redis_buffer_free(&push.buffer);
}

/* The digits of a length are guessed before the event is there. */
static void
lengths_of_other_digits(void **state)
{
    static const size_t lengths[] = {
        9,   10,   9,     99,    100,   99,  999,   1000, 999, 9999, 10000,
        9,   100,  10000, 10,    1000,  1,   10000, 1,    99,  9999, 100,
        100, 1000, 1000,  10000, 10000, 999, 999,   99,   99,  9,    9};
    voc_redis_push_t push;
    unsigned i, n = sizeof(lengths) / sizeof(lengths[0]);

    (void)state;

    /* each of them the last one too, which the commit repeats */
    for (i = 1; i <= n; i++) {
        memset(&push, 0, sizeof(push));
        push_lengths(&push, text(LIST), lengths, i);
        voc_redis_buffer_free(&push.buffer);
    }

    /* ... and the first one */
    for (i = 0; i < n; i++) {
        memset(&push, 0, sizeof(push));
        push_lengths(&push, text(LIST), lengths + i, n - i);
        voc_redis_buffer_free(&push.buffer);
    }
}

/* The number of words is in front of the list's name, and of any length. */
static void
any_number_of_events(void **state)
{
    static const unsigned numbers[] = {1,  7,  8,   9,   97,   98,  99,
                                       10, 11, 997, 998, 1000, 4999};
    static size_t lengths[EVENTS_MAX];
    voc_redis_push_t push;
    unsigned i;

    (void)state;

    for (i = 0; i < EVENTS_MAX; i++) {
        lengths[i] = 5 + i % 11;
    }

    for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        memset(&push, 0, sizeof(push));
        push_lengths(&push, text(LIST), lengths, numbers[i]);
        voc_redis_buffer_free(&push.buffer);
    }
}

static void
a_long_name(void **state)
{
    static const size_t lengths[] = {300, 20, 3000};
    char name[513];
    voc_str_t list = {name, 0};
    voc_redis_push_t push;
    size_t i;

    (void)state;

    for (i = 0; i < sizeof(name); i++) {
        name[i] = "a\r\n$5\0%s{}"[i % 10];
    }

    for (list.len = 1; list.len <= 513; list.len++) {
        if (list.len > 12 && list.len < 98) {
            continue;
        }
        memset(&push, 0, sizeof(push));
        push_lengths(&push, list, lengths, 1 + list.len % 3);
        voc_redis_buffer_free(&push.buffer);
    }
}

/* From nothing, in few steps; all that is promised may be written to. */
static void
it_grows(void **state)
{
    voc_redis_push_t push = {0};
    unsigned i, grown = 0;
    size_t size, room;

    (void)state;

    for (i = 0; i < EVENTS_MAX; i++) {
        size = push.buffer.size;
        event(i, 300 + i % 5);
        assert_int_equal(
            voc_redis_push_reserve(&push, text(LIST), events[i].len), 0);
        grown += push.buffer.size != size;

        memset(voc_redis_push_next(&push, &room), 'x', events[i].len);
        assert_true(room >= events[i].len);
        add(&push, text(LIST), events[i].data, events[i].len);
    }

    assert_true(push.buffer.end > 1024 * 1024);
    assert_in_range(grown, 2, 24);

    end(&push, text(LIST), "", "18446744073709551615");
    assert_transaction(&push, text(LIST), "", "18446744073709551615",
                       EVENTS_MAX, events);
    voc_redis_buffer_free(&push.buffer);
}

/* An event that takes all of the room, whatever its length was guessed. */
static void
no_room_is_left(void **state)
{
    static const size_t lengths[] = {0, 9, 99, 999, 9999};
    voc_redis_push_t push;
    unsigned i, n;
    size_t room;
    char *out;

    (void)state;

    for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        memset(&push, 0, sizeof(push));

        for (n = 0; n < 4; n++) {
            assert_int_equal(
                voc_redis_push_reserve(&push, text(LIST), lengths[i]), 0);
            out = voc_redis_push_next(&push, &room);
            assert_true(room >= lengths[i]);
            event(n, room);
            memcpy(out, events[n].data, room);
            voc_redis_push_add(&push, room);
            assert_true(push.buffer.end <= push.buffer.size);
        }

        end(&push, text(LIST), "1", "5");
        assert_transaction(&push, text(LIST), "1", "5", 4, events);
        voc_redis_buffer_free(&push.buffer);
    }
}

/* One large event that only the second reserve has room for. */
static void
more_room_for_the_first(void **state)
{
    voc_redis_push_t push = {0};
    size_t room;

    (void)state;

    assert_int_equal(voc_redis_push_reserve(&push, text(LIST), 10), 0);
    voc_redis_push_next(&push, &room);
    event(0, 60000);
    add(&push, text(LIST), events[0].data, events[0].len);
    end(&push, text(LIST), "0", "1");
    assert_transaction(&push, text(LIST), "0", "1", 1, events);
    voc_redis_buffer_free(&push.buffer);
}

static void
a_buffer_is_used_again(void **state)
{
    static const size_t lengths[] = {1000, 9, 100}, others[] = {10, 99};
    voc_redis_push_t push = {0}, fresh = {0};
    char *data;
    size_t size;

    (void)state;

    push_lengths(&push, text(LIST), lengths, 3);
    data = push.buffer.data;
    size = push.buffer.size;

    /* after a whole one, ... */
    push.count = 0;
    push_lengths(&push, text("another"), others, 2);
    push_lengths(&fresh, text("another"), others, 2);
    assert_int_equal(push.buffer.end - push.buffer.start,
                     fresh.buffer.end - fresh.buffer.start);
    assert_memory_equal(push.buffer.data + push.buffer.start,
                        fresh.buffer.data + fresh.buffer.start,
                        fresh.buffer.end - fresh.buffer.start);

    /* ... one that was given up, ... */
    push.count = 0;
    add(&push, text("x"), "given up", 8);
    push.count = 0;
    push_lengths(&push, text(LIST), lengths, 3);
    assert_ptr_equal(push.buffer.data, data);
    assert_int_equal(push.buffer.size, size);

    /* ... and in another push, as the pusher's spare */
    voc_redis_buffer_free(&fresh.buffer);
    memset(&fresh, 0, sizeof(fresh));
    fresh.buffer = push.buffer;
    push_lengths(&fresh, text(LIST), others, 2);
    assert_ptr_equal(fresh.buffer.data, data);
    voc_redis_buffer_free(&fresh.buffer);
}

/* However full it was, the same batch finds room in it. */
static void
a_buffer_used_again_stays_small(void **state)
{
    static size_t lengths[200] = {60000};
    voc_redis_push_t push;
    unsigned n;
    size_t size;

    (void)state;

    for (n = 1; n < 200; n++) {
        lengths[n] = 1000;
    }

    for (n = 1; n < 200; n += 7) {
        memset(&push, 0, sizeof(push));
        push_lengths(&push, text(LIST), lengths, n);
        size = push.buffer.size;

        push.count = 0;
        push_lengths(&push, text(LIST), lengths, n);
        assert_int_equal(push.buffer.size, size);
        voc_redis_buffer_free(&push.buffer);
    }
}

/* Else every event would have to be moved. */
static void
the_next_is_expected_to_be_as_long(void **state)
{
    static const size_t lengths[] = {9, 10, 315, 1000, 99, 1};
    voc_redis_push_t push = {0};
    char head[24];
    unsigned i;
    size_t room, digits;

    (void)state;

    assert_int_equal(voc_redis_push_reserve(&push, text(LIST), 1), 0);
    assert_ptr_equal(voc_redis_push_next(&push, &room),
                     push.buffer.data + push.buffer.end + 6);

    for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        event(i, lengths[i]);
        add(&push, text(LIST), events[i].data, events[i].len);
        digits = (size_t)sprintf(head, "%zu", lengths[i]);

        assert_int_equal(voc_redis_push_reserve(&push, text(LIST), 1), 0);
        assert_ptr_equal(voc_redis_push_next(&push, &room),
                         push.buffer.data + push.buffer.end + 3 + digits);
    }

    voc_redis_buffer_free(&push.buffer);
}

static void
without_memory_a_push_stays(void **state)
{
    voc_redis_push_t push = {0};
    int fd, empty, other;

    (void)state;

    fd = report_begin();
    empty = voc_redis_push_reserve(&push, text(LIST), TOO_MUCH);
    report_end(fd);
    assert_int_equal(empty, -1);
    assert_null(push.buffer.data);

    event(0, 50);
    add(&push, text(LIST), events[0].data, events[0].len);

    fd = report_begin();
    other = voc_redis_push_reserve(&push, text(LIST), TOO_MUCH);
    report_end(fd);
    assert_int_equal(other, -1);

    end(&push, text(LIST), "0", "1");
    assert_transaction(&push, text(LIST), "0", "1", 1, events);
    voc_redis_buffer_free(&push.buffer);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_event),
        cmocka_unit_test(several_events),
        cmocka_unit_test(lengths_of_other_digits),
        cmocka_unit_test(any_number_of_events),
        cmocka_unit_test(a_long_name),
        cmocka_unit_test(it_grows),
        cmocka_unit_test(no_room_is_left),
        cmocka_unit_test(more_room_for_the_first),
        cmocka_unit_test(a_buffer_is_used_again),
        cmocka_unit_test(a_buffer_used_again_stays_small),
        cmocka_unit_test(the_next_is_expected_to_be_as_long),
        cmocka_unit_test(without_memory_a_push_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
