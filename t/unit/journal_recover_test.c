/* What recovery finds in a file that was left behind. */

#include "journal_fixture.h"

static void
test_recovers(void **state)
{
    voc_journal_t *journal;
    char path[1024];
    int twice;

    (void)state;
    left_behind(40, 1000, 25, path);
    for (twice = 0; twice < 2; twice++) {
        journal = adopt();
        expect_status(journal, 25, 40);
        expect_all(journal, 26, 40);
        expect_all(journal, 1, 40);
        expect_all(journal, 30, 40);
        assert_int_equal(voc_journal_acknowledge(journal, 30, 30000), 0);
        expect_status(journal, 30, 40);
        voc_journal_close(journal); /* nothing of it is written */
    }
}

static void
test_recovers_after_laps(void **state)
{
    voc_journal_t *journal = create(RING);
    int i;

    (void)state;
    for (i = 1; i <= 1007; i++) {
        append(journal, (size_t)(i * 37 % 3000));
        if (i % 10 == 0) {
            voc_journal_acknowledge(journal, (uint64_t)i,
                                    voc_journal_head(journal).end);
        }
    }
    voc_journal_close(journal);

    journal = adopt();
    expect_status(journal, 1000, 1007);
    expect_all(journal, 1001, 1007);
    voc_journal_close(journal);
}

/* A large file is recovered in steps, each of a bounded part of it. */
static void
test_recovers_in_steps(void **state)
{
    voc_journal_t *journal = create(32 << 20), *found;
    static const char zeros[VOC_FILE_PAGE];
    unsigned steps = 1;
    char path[1024];

    (void)state;
    while (voc_journal_head(journal).end + 300000 < 32 << 20) {
        append(journal, 250000);
    }
    snprintf(path, sizeof(path), "%s", voc_journal_path(journal));
    voc_journal_close(journal);

    /* Without the tail's slots it goes through all of it twice. */
    poke(path, VOC_FILE_SLOTS, zeros, sizeof(zeros));
    assert_int_equal(adopt_it(&found), VOC_JOURNAL_OK);
    while (voc_journal_recover(found) == VOC_JOURNAL_AGAIN) {
        steps++;
    }
    assert_in_range(steps, (32 << 20) / VOC_JOURNAL_SLICE, 20);
    expect_status(found, 0, 133);
    voc_journal_close(found);
}

static void
test_recovers_empty(void **state)
{
    voc_journal_t *journal;
    char path[1024];

    (void)state;
    left_behind(0, 0, 0, path);
    journal = adopt();
    expect_status(journal, 0, 0);
    assert_int_equal(voc_journal_retire(journal, &error), 0);
    assert_int_equal(files("", NULL, 0, 0), 0);
}

/* The last record's end did not get to the disk. */
static void
test_torn_end(void **state)
{
    static const char zeros[600];
    voc_journal_t *journal;
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    char path[1024];

    (void)state;
    left_behind_settled(10, 1000, 4, path);
    poke(path, RING_AT + 9400, zeros, 600);
    journal = adopt();
    expect_status(journal, 4, 10);
    voc_journal_seek(&reader, journal, 8);
    expect(&reader, 9, 0, &record);
    expect_empty(&reader, 1);
    voc_journal_close(journal);
}

static void
test_zeros_and_garbage(void **state)
{
    char path[1024], page[4096];
    voc_journal_t *journal;
    uint64_t i, random = 5;
    int round;

    (void)state;
    left_behind_settled(60, 1000, 10, path);
    for (round = 0; round < 2; round++) {
        for (i = 0; i < RING; i += sizeof(page)) {
            memset(page, 0, sizeof(page));
            for (size_t k = 0; round == 1 && k < sizeof(page); k += 8) {
                next_random(&random);
                memcpy(page + k, &random, 8);
                if (random % 3 == 0) {
                    uint32_t magic = VOC_RECORD_MAGIC;
                    memcpy(page + k, &magic, 4);
                }
            }
            poke(path, RING_AT + i, page, sizeof(page));
        }
        journal = adopt();
        expect_status(journal, 0, 0);
        voc_journal_close(journal);
    }
}

/* A record of the last lap, at its place, is never one of this lap. */
static void
test_previous_lap(void **state)
{
    voc_journal_t *journal = settled(filled(64, 1024, 64));
    char record[1024], path[1024];
    voc_journal_reader_t reader;
    voc_journal_record_t found;

    (void)state;
    snprintf(path, sizeof(path), "%s", voc_journal_path(journal));
    peek(path, RING_AT + 1024, record, 1024);
    append(journal, 1024 - 40);
    append(journal, 1024 - 40);
    append(journal, 1024 - 40);
    settled(journal);
    poke(path, RING_AT + 1024, record, 1024); /* 2 over 66 */

    voc_journal_seek(&reader, journal, 64);
    expect(&reader, 65, 0, &found);
    expect(&reader, 67, 1, &found);
    voc_journal_close(journal);

    journal = adopt();
    expect_status(journal, 64, 67);
    voc_journal_seek(&reader, journal, 64);
    expect(&reader, 65, 0, &found);
    expect(&reader, 67, 1, &found);
    voc_journal_close(journal);
}

/* A record of another journal at the same place and offset: not ours. */
static void
test_other_journal(void **state)
{
    char a[1024], b[1024], record[1000];
    voc_journal_t *journal;
    voc_journal_reader_t reader;

    (void)state;
    left_behind_settled(3, 1000, 0, a);
    left_behind_settled(2, 1000, 0, b);
    peek(a, RING_AT + 2000, record, 1000);
    poke(b, RING_AT + 2000, record, 1000);
    unlink(a);
    journal = adopt();
    expect_status(journal, 0, 3);
    voc_journal_seek(&reader, journal, 2);
    expect_empty(&reader, 1);
    voc_journal_close(journal);
}

/* A good record, but not at its place. */
static void
test_other_place(void **state)
{
    static const char zeros[8];
    char path[1024], record[1000];
    voc_journal_t *journal;

    (void)state;
    left_behind_settled(3, 1000, 0, path);
    peek(path, RING_AT + 2000, record, 1000);
    poke(path, RING_AT + 8000, record, 1000);
    journal = adopt();
    expect_all(journal, 1, 3);
    voc_journal_close(journal);

    poke(path, RING_AT + 2000, zeros, 8);
    journal = adopt();
    expect_status(journal, 0, 2); /* as if it had never been finished */
    voc_journal_close(journal);
}

static void
test_slots(void **state)
{
    const uint64_t slots[2] = {VOC_FILE_SLOTS,
                               VOC_FILE_SLOTS + VOC_FILE_SLOT_STEP};
    char path[1024], zeros[32] = {0}, saved[2][32];
    voc_journal_t *journal;

    (void)state;
    left_behind(40, 1000, 25, path); /* turn 26 is in slot 0 */
    peek(path, slots[0], saved[0], 32);
    peek(path, slots[1], saved[1], 32);

    poke(path, slots[0] + 8, "x", 1); /* torn: the older one holds */
    journal = adopt();
    expect_status(journal, 24, 40);
    voc_journal_close(journal);

    poke(path, slots[1], zeros, 32); /* both: all that is held */
    journal = adopt();
    expect_status(journal, 0, 40);
    expect_all(journal, 1, 40);
    voc_journal_close(journal);

    poke(path, slots[0], saved[0], 32);
    journal = adopt();
    expect_status(journal, 25, 40);
    voc_journal_close(journal);
}

/* Both slots bad after many laps: what the last lap holds is pending. */
static void
test_slots_bad_after_laps(void **state)
{
    char path[1024], zeros[4096] = {0};
    voc_journal_t *journal;

    (void)state;
    left_behind(100, 1024, 100, path);
    poke(path, VOC_FILE_SLOTS, zeros, 4096);
    journal = adopt();
    expect_status(journal, 36, 100);
    expect_all(journal, 37, 100);
    voc_journal_close(journal);
}

/* Valid slots that cannot be: ahead of the ring, or a lap behind it. */
static void
test_slots_do_not_fit(void **state)
{
    char path[1024], page[4096], ring[1000];
    voc_journal_t *journal;
    uint64_t i;

    (void)state;
    left_behind_settled(40, 1000, 30, path);
    memset(ring, 0, sizeof(ring));
    for (i = 20; i < 40; i++) { /* the disk has only records 1 to 20 */
        poke(path, RING_AT + i * 1000, ring, 1000);
    }
    journal = adopt();
    expect_status(journal, 0, 20);
    voc_journal_close(journal);
    unlink(path);

    journal = filled(40, 1024, 5);
    snprintf(path, sizeof(path), "%s", voc_journal_path(journal));
    peek(path, VOC_FILE_SLOTS, page, 4096);
    voc_journal_acknowledge(journal, 40, 40 * 1024);
    for (i = 0; i < 60; i++) {
        append(journal, 1024 - 40);
    }
    voc_journal_close(journal);
    poke(path, VOC_FILE_SLOTS, page, 4096); /* the disk has the old tail */
    journal = adopt();
    expect_status(journal, 36, 100);
    voc_journal_close(journal);
}

static void
test_recovers_after_kill(void **state)
{
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    static char data[3000];
    voc_journal_t *journal;
    uint64_t seq, told, random, n;
    int round, pipes[2];
    pid_t pid;

    (void)state;
    for (round = 0; round < 30; round++) {
        assert_int_equal(pipe(pipes), 0);
        pid = child();
        if (pid == 0) {
            voc_journal_options_t options = {directory, RING, (uid_t)-1,
                                             (gid_t)-1};

            random = (uint64_t)round + 1;
            journal = voc_journal_create(&options, NULL);
            while (journal != NULL) {
                if (voc_journal_append(journal, data,
                                       next_random(&random) % sizeof(data),
                                       NOW, &seq) == VOC_JOURNAL_FULL) {
                    voc_journal_acknowledge(
                        journal, seq, voc_journal_head(journal).end);
                } else if (write(pipes[1], &seq, 8) != 8) {
                    break;
                }
            }
            _exit(1);
        }
        close(pipes[1]);

        /* So many answered, then the kill; the rest of the pipe is told, too. */
        for (n = 0; n < 50 + (uint64_t)round * 20; n++) {
            assert_int_equal(read(pipes[0], &told, 8), 8);
        }
        kill(pid, SIGKILL);
        assert_int_equal(ended(pid), 1000 + SIGKILL);
        while (read(pipes[0], &seq, 8) == 8) {
            told = seq;
        }
        close(pipes[0]);

        journal = adopt();
        assert_in_range(voc_journal_head(journal).seq, told, told + 1);
        seq = voc_journal_tail(journal).seq;
        voc_journal_seek(&reader, journal, seq);
        while (read_on(&reader, data, sizeof(data), &record) ==
               VOC_JOURNAL_OK) {
            assert_int_equal(record.seq, ++seq);
            assert_int_equal(record.lost, 0);
        }
        assert_int_equal(record.lost, 0);
        assert_int_equal(seq, voc_journal_head(journal).seq);
        assert_int_equal(voc_journal_retire(journal, &error), 0);
    }
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_recovers),
        T(test_recovers_after_laps),
        T(test_recovers_in_steps),
        T(test_recovers_empty),
        T(test_torn_end),
        T(test_zeros_and_garbage),
        T(test_previous_lap),
        T(test_other_journal),
        T(test_other_place),
        T(test_slots),
        T(test_slots_bad_after_laps),
        T(test_slots_do_not_fit),
        T(test_recovers_after_kill),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
