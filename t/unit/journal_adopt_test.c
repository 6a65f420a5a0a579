/* Which files are taken over, which are left alone. */

#include <sys/file.h>

#include "journal_fixture.h"

static void
test_adopt_order(void **state)
{
    voc_journal_directory_t d = {directory, {0}, 0};
    voc_journal_t *live, *a, *b, *none;
    char path[3][1024], temp[1100];
    int i;

    (void)state;
    for (i = 0; i < 3; i++) {
        left_behind((uint64_t)i + 1, 1000, 0, path[i]);
    }
    live = create(RING);
    assert_non_null(strstr(voc_journal_path(live), "/0000000000000004-"));

    /* A temporary file that a creator left, and one that is being made. */
    snprintf(temp, sizeof(temp),
             "%s/.00000000000000aa-0123456789abcdef.journal.tmp", directory);
    close(open(temp, O_CREAT | O_WRONLY, 0600));
    temp[strlen(directory) + 2] = '1';
    i = open(temp, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(flock(i, LOCK_EX | LOCK_NB), 0);

    assert_int_equal(voc_journal_adopt(&d, &a, &error), VOC_JOURNAL_OK);
    assert_int_equal(files(".tmp", NULL, 0, 0), 1);
    close(i);
    assert_string_equal(voc_journal_path(a), path[0]);
    assert_int_equal(voc_journal_adopt(&d, &b, &error), VOC_JOURNAL_OK);
    assert_int_equal(files(".tmp", NULL, 0, 0), 0);
    assert_string_equal(voc_journal_path(b), path[1]);
    assert_int_equal(voc_journal_retire(a, &error), 0);
    voc_journal_close(b);
    assert_int_equal(voc_journal_adopt(&d, &b, &error), VOC_JOURNAL_OK);
    assert_string_equal(voc_journal_path(b), path[1]);
    assert_int_equal(voc_journal_adopt(&d, &a, &error), VOC_JOURNAL_OK);
    assert_string_equal(voc_journal_path(a), path[2]);
    assert_int_equal(voc_journal_adopt(&d, &none, &error), VOC_JOURNAL_EMPTY);
    assert_int_equal(voc_journal_retire(a, &error), 0);
    assert_int_equal(voc_journal_retire(b, &error), 0);
    assert_int_equal(voc_journal_adopt(&d, &none, &error), VOC_JOURNAL_EMPTY);
    assert_int_equal(files("", NULL, 0, 0), 1);
    voc_journal_close(live);

    d.path = "/nowhere/at/all";
    assert_int_equal(voc_journal_adopt(&d, &a, &error), VOC_JOURNAL_FAILED);
    assert_int_equal(error.number, ENOENT);
}

/* The lock lives as long as one of the processes that inherited it. */
static void
test_lock_is_inherited(void **state)
{
    voc_journal_directory_t d = {directory, {0}, 0};
    voc_journal_t *journal = filled(2, 1000, 0), *other;
    int pipes[2];
    pid_t pid;
    char c;

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    pid = child();
    if (pid == 0) {
        close(pipes[1]);
        _exit((int)read(pipes[0], &c, 1));
    }
    close(pipes[0]);
    voc_journal_close(journal);
    assert_int_equal(voc_journal_adopt(&d, &other, &error), VOC_JOURNAL_EMPTY);
    close(pipes[1]);
    assert_int_equal(ended(pid), 0);
    assert_int_equal(voc_journal_adopt(&d, &other, &error), VOC_JOURNAL_OK);
    voc_journal_close(other);
}

static void
refused(const char *path, const char *text)
{
    voc_journal_directory_t d = {directory, {0}, 0};
    voc_journal_t *journal;
    struct stat before, after;

    assert_int_equal(lstat(path, &before), 0);
    assert_int_equal(voc_journal_adopt(&d, &journal, &error),
                     VOC_JOURNAL_REFUSED);
    if (strstr(error.text, text) == NULL || !strstr(error.text, path)) {
        fail_msg("\"%s\" not in \"%s\"", text, error.text);
    }
    assert_null(journal);
    assert_int_equal(voc_journal_adopt(&d, &journal, &error),
                     VOC_JOURNAL_EMPTY);
    assert_int_equal(lstat(path, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
    assert_int_not_equal(voc_journal_inspect(path, &journal, &error),
                         VOC_JOURNAL_OK);
}

/* Changes the header, with a checksum that fits. */
static void
set_header(const char *path, size_t at, const void *value, size_t size)
{
    voc_file_header_t header;

    peek(path, 0, &header, sizeof(header));
    memcpy((char *)&header + at, value, size);
    header.crc = voc_crc32c(0, &header, offsetof(voc_file_header_t, crc));
    poke(path, 0, &header, sizeof(header));
}

static void
test_refused(void **state)
{
    const uint32_t two = 2, swapped = 0x04030201, one = 1;
    const uint32_t order = VOC_FILE_BYTE_ORDER;
    const uint64_t odd = RING + 1;
    const uint64_t ring = RING;
    char path[1024], target[1100];
    voc_journal_t *journal;

    (void)state;
    left_behind(2, 1000, 0, path);
    set_header(path, offsetof(voc_file_header_t, version), &two, 4);
    refused(path, "unknown version");
    set_header(path, offsetof(voc_file_header_t, version), &one, 4);
    set_header(path, offsetof(voc_file_header_t, byte_order), &swapped, 4);
    refused(path, "byte order");
    set_header(path, offsetof(voc_file_header_t, byte_order), &order, 4);
    set_header(path, offsetof(voc_file_header_t, size), &odd, 8);
    refused(path, "impossible");
    set_header(path, offsetof(voc_file_header_t, size), &ring, 8);
    poke(path, 0, "X", 1);
    refused(path, "is not a journal");
    poke(path, 0, "V", 1);
    poke(path, offsetof(voc_file_header_t, created), "\xFF", 1);
    refused(path, "damaged header");
    set_header(path, 0, "V", 1);

    journal = adopt(); /* and now it is as it was */
    expect_status(journal, 0, 2);
    voc_journal_close(journal);

    snprintf(target, sizeof(target), "%s/elsewhere", directory);
    assert_int_equal(rename(path, target), 0);
    assert_int_equal(symlink(target, path), 0);
    refused(path, "cannot open");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    refused(path, "not a regular file");
    unlink(path);

    assert_int_equal(rename(target, path), 0);
    assert_int_equal(truncate(path, 8191), 0);
    refused(path, "too short");
    assert_int_equal(truncate(path, 71), 0);
    refused(path, "too short");
    assert_int_equal(truncate(path, 0), 0);
    refused(path, "too short");
}

/* What is refused does not stand in the way of the others. */
static void
test_refused_and_others(void **state)
{
    voc_journal_directory_t d = {directory, {0}, 0};
    char bad[1024], good[1024];
    voc_journal_t *journal;

    (void)state;
    left_behind(2, 1000, 0, bad);
    left_behind(3, 1000, 0, good);
    poke(bad, 0, "X", 1);
    assert_int_equal(voc_journal_adopt(&d, &journal, &error),
                     VOC_JOURNAL_REFUSED);
    assert_int_equal(voc_journal_adopt(&d, &journal, &error), VOC_JOURNAL_OK);
    assert_string_equal(voc_journal_path(journal), good);
    assert_int_equal(voc_journal_retire(journal, &error), 0);
    assert_int_equal(voc_journal_adopt(&d, &journal, &error),
                     VOC_JOURNAL_EMPTY);
    assert_int_equal(access(bad, F_OK), 0);
}

/* Cut short while left behind, and while it is read. */
static void
test_cut_short(void **state)
{
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    voc_journal_t *journal;
    char path[1024];

    (void)state;
    left_behind_settled(40, 1000, 2, path);
    assert_int_equal(truncate(path, RING_AT + 20503), 0);
    journal = adopt();
    expect_status(journal, 2, 21); /* of 21 there is the beginning */
    voc_journal_seek(&reader, journal, 19);
    expect(&reader, 20, 0, &record);
    expect_empty(&reader, 1);
    assert_int_equal(voc_journal_check(journal, &error), VOC_JOURNAL_FAILED);
    assert_non_null(strstr(error.text, "was truncated"));
    assert_int_equal(voc_journal_acknowledge(journal, 3, 3000),
                     VOC_JOURNAL_OK);

    assert_int_equal(truncate(path, RING_AT + 4096), 0);
    voc_journal_seek(&reader, journal, 2);
    expect(&reader, 3, 0, &record);
    expect(&reader, 4, 0, &record);
    expect_empty(&reader, 17);
    voc_journal_close(journal);
}

static voc_journal_rc
inspect_it(voc_journal_t **journal)
{
    char path[1024];

    files(".journal", path, sizeof(path), 0);
    return voc_journal_inspect(path, journal, &error);
}

static void
test_inspect_live(void **state)
{
    voc_journal_t *journal = filled(100, 1024, 90), *other;

    (void)state;
    other = recovered(inspect_it);
    expect_status(other, 90, 100);
    expect_all(other, 37, 100);
    append(journal, 100);
    voc_journal_close(other);
    voc_journal_close(journal);
}

/* The file that was replaced by another of its name is not deleted. */
static void
test_retire_only_ours(void **state)
{
    voc_journal_t *journal = create(RING);
    char path[1024];

    (void)state;
    snprintf(path, sizeof(path), "%s", voc_journal_path(journal));
    unlink(path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(voc_journal_retire(journal, &error), 0);
    assert_int_equal(access(path, F_OK), 0);
}

/* A file that was to be left alone is, and the next one comes. */
static void
test_refuse(void **state)
{
    voc_journal_directory_t d = {directory, {0}, 0};
    char path[2][1024];
    voc_journal_t *journal;

    (void)state;
    left_behind(2, 1000, 0, path[0]);
    left_behind(3, 1000, 0, path[1]);
    assert_int_equal(voc_journal_adopt(&d, &journal, &error), VOC_JOURNAL_OK);
    voc_journal_refuse(&d, voc_journal_id(journal));
    voc_journal_refuse(&d, voc_journal_id(journal));
    assert_int_equal(d.nrefused, 1);
    voc_journal_close(journal);
    assert_int_equal(voc_journal_adopt(&d, &journal, &error), VOC_JOURNAL_OK);
    assert_string_equal(voc_journal_path(journal), path[1]);
    voc_journal_close(journal);
}

/* A journal that cannot be deleted stays open and locked. */
static void
test_retire_fails(void **state)
{
    voc_journal_directory_t d = {directory, {0}, 0};
    voc_journal_t *journal, *other;
    char path[1024], away[600];

    (void)state;
    left_behind(2, 1000, 0, path);
    journal = adopt();
    snprintf(away, sizeof(away), "%s.away", directory);
    assert_int_equal(rename(directory, away), 0);
    assert_int_equal(voc_journal_retire(journal, &error), -1);
    assert_int_equal(error.number, ENOENT);
    assert_non_null(strstr(error.text, path));
    assert_int_equal(rename(away, directory), 0);
    expect_all(journal, 1, 2);
    assert_int_equal(voc_journal_adopt(&d, &other, &error), VOC_JOURNAL_EMPTY);
    assert_int_equal(voc_journal_retire(journal, &error), 0);
    assert_int_equal(files("", NULL, 0, 0), 0);
}

/* Detached: the status is there, file and lock are the others'. */
static void
test_detach(void **state)
{
    voc_journal_t *journal = filled(3, 1000, 1), *other;
    uint64_t seq;

    (void)state;
    voc_journal_detach(journal);
    expect_status(journal, 1, 3);
    assert_int_equal(voc_journal_append(journal, "", 0, NOW, &seq),
                     VOC_JOURNAL_FAILED);
    assert_int_equal(voc_journal_sync(journal, &seq, &error), VOC_JOURNAL_OK);
    assert_int_equal(voc_journal_check(journal, &error), VOC_JOURNAL_OK);
    other = adopt();
    expect_status(other, 1, 3);
    voc_journal_close(other);
    voc_journal_close(journal);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_adopt_order),
        T(test_lock_is_inherited),
        T(test_refused),
        T(test_refused_and_others),
        T(test_cut_short),
        T(test_inspect_live),
        T(test_retire_only_ours),
        T(test_refuse),
        T(test_retire_fails),
        T(test_detach),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
