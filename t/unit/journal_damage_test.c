/* Damaged records, of a live journal and of one that was left behind. */

#include "journal_fixture.h"

static void
test_damaged_middle(void **state)
{
    voc_journal_t *journal = settled(filled(10, 1024, 0));
    voc_journal_reader_t reader;
    voc_journal_record_t record;

    (void)state;
    flip(voc_journal_path(journal), 2 * 1024 + 500); /* 3: payload */
    flip(voc_journal_path(journal), 3 * 1024);       /* 4: magic */
    flip(voc_journal_path(journal), 6 * 1024 + 33);  /* 7: length */
    voc_journal_seek(&reader, journal, 0);
    expect(&reader, 1, 0, &record);
    expect(&reader, 2, 0, &record);
    expect(&reader, 5, 2, &record);
    expect(&reader, 6, 0, &record);
    expect(&reader, 8, 1, &record);
    assert_int_equal(voc_journal_acknowledge(journal, 8, record.end), 0);
    expect(&reader, 9, 0, &record);
    expect(&reader, 10, 0, &record);
    expect_empty(&reader, 0);
    voc_journal_close(journal);
}

/* Each byte of a record, one after the other: it never validates. */
static void
test_every_byte_counts(void **state)
{
    voc_journal_t *journal = settled(filled(3, 64, 0));
    const char *path = voc_journal_path(journal);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    uint64_t place;

    (void)state;
    for (place = 64; place < 128; place++) {
        flip(path, place);
        voc_journal_seek(&reader, journal, 1);
        expect(&reader, 3, 1, &record);
        flip(path, place);
    }
    expect_all(journal, 1, 3);
    voc_journal_close(journal);
}

static void
test_damaged_end(void **state)
{
    voc_journal_t *journal = settled(filled(5, 1024, 0));
    const char *path = voc_journal_path(journal);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    char buffer[2000];

    (void)state;
    flip(path, 3 * 1024 + 900);
    flip(path, 4 * 1024 + 900);
    voc_journal_seek(&reader, journal, 2);
    expect(&reader, 3, 0, &record);
    assert_int_equal(read_on(&reader, buffer, 2000, &record),
                     VOC_JOURNAL_EMPTY);
    assert_int_equal(record.lost, 2);
    assert_int_equal(record.seq, 5);
    assert_int_equal(voc_journal_acknowledge(journal, record.seq, record.end),
                     0);
    expect_status(journal, 5, 5);
    expect_empty(&reader, 0);
    append(journal, 10);
    expect(&reader, 6, 0, &record);
    voc_journal_close(journal);
}

/* Up to seq all is there; what follows, to last, is lost. */
static void
expect_cut(char *path, uint64_t seq, uint64_t last)
{
    voc_journal_t *journal = adopt();
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    uint64_t i;

    assert_string_equal(voc_journal_path(journal), path);
    expect_status(journal, 0, last);
    voc_journal_seek(&reader, journal, 0);
    for (i = 1; i <= seq; i++) {
        expect(&reader, i, 0, &record);
    }
    expect_empty(&reader, last - seq);
    voc_journal_close(journal);
}

/* No head is stored: the last records count, whichever byte is damaged. */
static void
test_left_behind_end(void **state)
{
    char path[1024];
    uint64_t place;

    (void)state;
    left_behind_settled(3, 64, 0, path);
    expect_cut(path, 3, 3);
    for (place = 128; place < 192; place++) {
        flip(path, place);
        expect_cut(path, 2, 3);
        if (place < 166) {
            flip(path, 64 + 45);
            expect_cut(path, 1, 3);
            flip(path, 64 + 45);
        }
        flip(path, place);
    }
}

/* The damaged ones stand at the start of the next lap. */
static void
test_left_behind_next_lap(void **state)
{
    voc_journal_t *journal = filled(60, 1064, 60);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    char path[1024];
    int i;

    (void)state;
    for (i = 0; i < 4; i++) {
        append(journal, 1024);
    }
    settled(journal);
    snprintf(path, sizeof(path), "%s", voc_journal_path(journal));
    voc_journal_close(journal);

    flip(path, 1000);            /* 62 */
    flip(path, 1064);            /* 63: its magic */
    flip(path, 2 * 1064 + 1000); /* 64 */

    journal = adopt();
    expect_status(journal, 60, 64);
    voc_journal_seek(&reader, journal, 60);
    expect(&reader, 61, 0, &record);
    expect_empty(&reader, 3);
    voc_journal_close(journal);
}

/* What was begun and not finished was not accepted, so it is not lost. */
static void
test_left_behind_unfinished(void **state)
{
    char path[1024], payload[24];

    (void)state;
    left_behind_settled(3, 64, 0, path);
    fill(payload, sizeof(payload), 4);
    poke(path, RING_AT + 192 + VOC_RECORD_HEADER, payload,
         sizeof(payload));
    expect_cut(path, 3, 3);
}

static void
die_at_header(voc_point_e point, voc_journal_t *journal)
{
    (void)journal;
    if (point == VOC_POINT_HEADER) {
        _exit(0);
    }
}

/* Nor is it where a record of the lap before began at the same place. */
static void
test_left_behind_killed(void **state)
{
    voc_journal_t *journal = create(RING);
    voc_journal_status_t status;
    uint64_t seq;
    pid_t pid;

    (void)state;
    do {
        seq = append(journal, 1024 - VOC_RECORD_HEADER);
        voc_journal_acknowledge(journal, seq, seq * 1024);
    } while (seq < 80);

    pid = child();
    if (pid == 0) {
        voc_journal_point = die_at_header;
        append(journal, 1024 - VOC_RECORD_HEADER);
        _exit(1);
    }
    assert_int_equal(ended(pid), 0);
    voc_journal_close(journal);

    journal = adopt();
    voc_journal_status(journal, &status);
    assert_int_equal(status.head, 80);
    voc_journal_close(journal);
}

/* A large file of magics, each as if a large record followed. */
static void
test_slices(void **state)
{
    voc_journal_t *journal = create(16 << 20);
    const char *path = voc_journal_path(journal);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    voc_file_record_t header;
    unsigned again = 0;
    uint64_t place;
    voc_journal_rc rc;
    char buffer[100];

    (void)state;
    while (voc_journal_head(journal).end + 300000 < 12 << 20) {
        append(journal, 250000);
    }
    append(journal, 10);
    memset(&header, 0, sizeof(header));
    header.magic = VOC_RECORD_MAGIC;
    header.seq = 1;
    header.length = 200000;
    for (place = 0; place < 11 << 20; place += 4096) {
        header.offset = place;
        poke(path, journal->ring_at + place, &header, sizeof(header));
    }

    voc_journal_seek(&reader, journal, 0);
    while ((rc = voc_journal_read(&reader, buffer, 100, &record)) ==
           VOC_JOURNAL_AGAIN) {
        again++;
    }
    assert_in_range(again, 120, 160);
    assert_int_equal(rc, VOC_JOURNAL_SMALL);
    assert_int_equal(record.seq, 48);
    assert_int_equal(record.lost, 47);
    voc_journal_close(journal);
}

/* What is damaged is not taken back; the next one may be. */
static void
test_retain_damaged(void **state)
{
    voc_journal_t *journal = settled(filled(4, 1024, 4));
    voc_journal_record_t second, third;
    voc_journal_reader_t reader;

    (void)state;
    voc_journal_seek(&reader, journal, 1);
    expect(&reader, 2, 0, &second);
    expect(&reader, 3, 0, &third);
    flip(voc_journal_path(journal), 1024 + 700);
    assert_int_equal(voc_journal_retain(journal, &second), VOC_JOURNAL_EMPTY);
    expect_status(journal, 4, 4);
    flip(voc_journal_path(journal), 1024 + 700);
    flip(voc_journal_path(journal), 1024 + 8);
    assert_int_equal(voc_journal_retain(journal, &second), VOC_JOURNAL_EMPTY);
    assert_int_equal(voc_journal_retain(journal, &third), VOC_JOURNAL_OK);
    expect_status(journal, 2, 4);
    voc_journal_close(journal);
}

/* A kind that this version does not know, with a crc that fits. */
static void
test_unknown_kind(void **state)
{
    voc_journal_t *journal = settled(filled(3, 64, 0));
    const char *path = voc_journal_path(journal);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    struct {
        voc_file_record_t header;
        char payload[24];
    } second;

    (void)state;
    peek(path, RING_AT + 64, &second, 64);
    second.header.kind = 1;
    second.header.crc = voc_crc32c(voc_record_crc(journal->seed,
                                                  &second.header),
                                   second.payload, 24);
    poke(path, RING_AT + 64, &second, 64);
    voc_journal_seek(&reader, journal, 1);
    expect(&reader, 3, 1, &record);

    second.header.kind = VOC_RECORD_EVENT;
    second.header.crc = voc_crc32c(voc_record_crc(journal->seed,
                                                  &second.header),
                                   second.payload, 24);
    poke(path, RING_AT + 64, &second, 64);
    expect_all(journal, 1, 3);
    voc_journal_close(journal);
}

/* Hundreds of laps behind: it does not go through them. */
static void
test_reader_left_behind(void **state)
{
    voc_journal_t *journal = filled(2, 1024, 1);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    char buffer[1024];
    int i;

    (void)state;
    voc_journal_seek(&reader, journal, 0);
    for (i = 3; i <= 20000; i++) {
        append(journal, 1024 - 40);
        voc_journal_acknowledge(journal, (uint64_t)i, (uint64_t)i * 1024);
    }
    assert_int_equal(voc_journal_read(&reader, buffer, 1024, &record),
                     VOC_JOURNAL_OK);
    assert_int_equal(record.seq, 20000 - 63);
    assert_int_equal(record.lost, 20000 - 64);
    voc_journal_close(journal);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_damaged_middle),
        T(test_every_byte_counts),
        T(test_damaged_end),
        T(test_left_behind_end),
        T(test_left_behind_next_lap),
        T(test_left_behind_unfinished),
        T(test_left_behind_killed),
        T(test_slices),
        T(test_retain_damaged),
        T(test_unknown_kind),
        T(test_reader_left_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
