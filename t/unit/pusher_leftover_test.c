/* The pusher, and what earlier starts left behind. */

#include <sys/stat.h>

#include "pusher_fixture.h"

static char left[512]; /* the file that leave() has left last */

static void
leave(unsigned n)
{
    voc_journal_t *journal = world_journal(SMALL_RING);

    world_events(journal, n);
    snprintf(left, sizeof(left), "%s", voc_journal_path(journal));
    voc_journal_close(journal);
}

static void
leftovers_go_first_the_oldest_before_the_others(void **state)
{
    unsigned i, dels = 0;

    (void)state;
    world_directory();
    leave(300);
    leave(0);
    leave(7);
    w.hold_retired = 1;
    w.options.journal = world_journal(SMALL_RING);
    world_events(w.options.journal, 20);
    world_start(SMALL_RING);

    world_settle();
    world_check();
    assert_int_equal(w.nretired, 3);
    assert_int_equal(world_files(0), 4);
    assert_int_equal(w.redis.nstrings, 4);

    /* first the file, then the cursor */
    w.hold_retired = 0;
    world_settle();
    assert_int_equal(world_files(0), 1);
    assert_int_equal(w.redis.nstrings, 1);
    assert_string_equal(world_cursor(w.options.journal), "20");

    for (i = 0; i < w.redis.nlog; i++) {
        dels += strncmp(world_said(i), "DEL ", 4) == 0;
    }
    assert_int_equal(dels, 3);
}

static void
a_leftover_of_later_is_found(void **state)
{
    (void)state;
    world_directory();
    world_start(SMALL_RING);
    world_accept(3);
    world_settle();

    leave(5);
    world_settle();
    assert_int_equal(w.redis.nlist, 3);
    world_pass(VOC_PUSHER_RESCAN);
    world_check();

    world_accept(2);
    world_pass(5 * VOC_PUSHER_RESCAN);
    world_check();

    leave(4);
    world_pass(VOC_PUSHER_RESCAN);
    world_check();
    assert_int_equal(world_files(0), 1);
    assert_int_equal(w.redis.nstrings, 1);
}

static void
a_leftover_is_gone_on_with(void **state)
{
    voc_journal_t *journal;

    (void)state;
    world_directory();
    journal = world_journal(SMALL_RING);
    world_events(journal, 10);
    model_set(&w.redis, world_cursor_key(journal), "6");
    voc_journal_close(journal);

    world_start(SMALL_RING);
    world_settle();
    assert_int_equal(w.redis.nlist, 4);
    assert_string_equal(w.redis.list[0], w.events[6]);
    assert_int_equal(world_files(0), 1);
}

/* Redis has what the file lost with the power: that is no foreign cursor. */
static void
a_leftover_may_lack_what_redis_has(void **state)
{
    voc_journal_t *journal;

    (void)state;
    world_directory();
    journal = world_journal(SMALL_RING);
    world_events(journal, 10);
    model_set(&w.redis, world_cursor_key(journal), "14");
    voc_journal_close(journal);

    world_start(SMALL_RING);
    world_pass(1000);
    assert_int_equal(w.redis.nlist, 0);
    assert_int_equal(world_files(0), 1);
    assert_int_equal(w.redis.nstrings, 1);

    world_events(w.options.journal, 1);
    voc_pusher_wake(w.pusher, w.now);
    world_settle();
    assert_int_equal(w.redis.nlist, 1);
}

static void
the_live_journal_waits_for_its_turn(void **state)
{
    (void)state;
    world_directory();
    w.not_yet = 1;
    world_start(SMALL_RING);
    world_accept(3);
    world_pass(10 * VOC_PUSHER_RESCAN);
    assert_int_equal(w.redis.nlist, 0);

    w.not_yet = 0;
    world_pass(VOC_PUSHER_TURN);
    world_check();
}

static void
a_leftover_that_stays_is_left_alone(void **state)
{
    (void)state;
    world_directory();
    leave(3);
    w.hold_retired = 1;
    world_start(SMALL_RING);
    world_settle();
    assert_int_equal(w.nretired, 1);

    voc_journal_refuse(w.options.directory, voc_journal_id(w.retired[0]));
    voc_journal_close(w.retired[--w.nretired]);
    world_pass(10 * VOC_PUSHER_RESCAN);
    assert_int_equal(w.nretired, 0);
    assert_int_equal(world_files(0), 2);
}

/* A byte in the payload of each of these events is changed. */
static void
damage(const char *path, const unsigned *events, unsigned n)
{
    char *data, *at, text[32];
    long size;
    FILE *file = fopen(path, "r+");

    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    data = malloc((size_t)size);
    rewind(file);
    assert_int_equal(fread(data, 1, (size_t)size, file), size);

    while (n-- > 0) {
        snprintf(text, sizeof(text), "{\"n\":%u", events[n]);
        at = memmem(data, (size_t)size, text, strlen(text));
        assert_non_null(at);
        do { /* in the ring, and in the window */
            fseek(file, at - data, SEEK_SET);
            fputc('X', file);
            at++;
            at = memmem(at, (size_t)(data + size - at), text, strlen(text));
        } while (at != NULL);
    }

    free(data);
    fclose(file);
}

static void
a_damaged_leftover_costs_what_is_damaged(void **state)
{
    static const unsigned events[] = {40, 41, 60};
    unsigned i;
    voc_journal_t *journal;

    (void)state;
    world_directory();
    leave(90);
    damage(left, events, 3);

    /* read more than once, counted once */
    w.redis.fault = (fault_t){"EVAL", "BUSY Redis is busy", 2};
    world_start(SMALL_RING);
    world_pass(10000);
    assert_int_equal(w.redis.nlist, 87);
    assert_int_equal(counters()->lost, 3);
    assert_int_equal(counters()->pushed, 87);
    assert_string_equal(w.redis.list[40], w.events[42]);
    assert_string_equal(w.redis.list[86], w.events[89]);
    assert_int_equal(world_files(0), 1);

    for (i = 0, journal = NULL; w.all[i] != '\0'; i++) {
        if (strncmp(w.all + i, "is damaged", 10) == 0) {
            assert_null(journal);
            journal = w.options.journal;
        }
    }
    assert_non_null(journal);
    assert_non_null(strstr(w.all, "behind event 40, 2 events are lost"));
    assert_non_null(strstr(w.all, "3 of its events are lost in all"));
}

/* Nobody wrote down how many there are: the last ones are missed, too. */
static void
a_leftover_with_a_damaged_end(void **state)
{
    static const unsigned events[] = {88, 89};

    (void)state;
    world_directory();
    leave(90);
    damage(left, events, 2);

    world_start(SMALL_RING);
    world_pass(1000);
    assert_int_equal(w.redis.nlist, 88);
    assert_int_equal(counters()->lost, 2);
    assert_int_equal(counters()->pushed, 88);
    assert_int_equal(world_files(0), 1);
    assert_int_equal(w.redis.nstrings, 1);
    assert_non_null(strstr(w.all, "behind event 88, 2 events are lost"));
    assert_null(strstr(w.all, "in all"));
}

static void
a_leftover_that_was_cut_short(void **state)
{
    struct stat st;

    (void)state;
    world_directory();
    leave(9);
    assert_int_equal(stat(left, &st), 0);
    assert_int_equal(truncate(left, st.st_size - 4096), 0);

    world_start(SMALL_RING);
    world_pass(1000);
    assert_int_equal(w.redis.nlist, 9);
    assert_int_equal(world_files(0), 1);
    assert_non_null(strstr(w.all, "was truncated"));
}

/* A graceful exit waits for the file to go, and for its cursor. */
static void
it_is_finished_when_the_cursor_is_gone(void **state)
{
    (void)state;
    world_directory();
    leave(5);
    w.hold_retired = 1;
    world_start(SMALL_RING);
    assert_false(voc_pusher_finished(w.pusher));
    world_settle();
    assert_int_equal(w.redis.nstrings, 2);

    w.hold_retired = 0;
    w.redis.fault = (fault_t){"DEL", "BUSY Redis is busy", 1};
    world_pass(1);
    assert_false(voc_pusher_finished(w.pusher));
    world_pass(1000);
    assert_true(voc_pusher_finished(w.pusher));
    assert_int_equal(w.redis.nstrings, 1);

    world_accept(1);
    assert_false(voc_pusher_finished(w.pusher));
    world_settle();
    assert_true(voc_pusher_finished(w.pusher));
}

static void
what_is_no_journal_is_left_alone(void **state)
{
    char path[600];
    FILE *file;

    (void)state;
    world_directory();
    snprintf(path, sizeof(path),
             "%s/0000000000000001-0123456789abcdef.journal", w.path);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("not at all", file);
    fclose(file);
    leave(3);

    world_start(SMALL_RING);
    world_pass(10000);
    world_check();
    assert_int_equal(world_files(0), 2);
    assert_non_null(strstr(w.all, "left alone"));
    assert_ptr_equal(strstr(strstr(w.all, "left alone") + 1, "left alone"),
                     NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        test(leftovers_go_first_the_oldest_before_the_others),
        test(a_leftover_of_later_is_found),
        test(a_leftover_is_gone_on_with),
        test(a_leftover_may_lack_what_redis_has),
        test(the_live_journal_waits_for_its_turn),
        test(a_leftover_that_stays_is_left_alone),
        test(a_damaged_leftover_costs_what_is_damaged),
        test(a_leftover_with_a_damaged_end),
        test(a_leftover_that_was_cut_short),
        test(it_is_finished_when_the_cursor_is_gone),
        test(what_is_no_journal_is_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
