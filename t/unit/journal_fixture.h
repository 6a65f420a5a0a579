/* What the journal's tests share: a directory, a file's bytes, children. */

#ifndef JOURNAL_FIXTURE_H
#define JOURNAL_FIXTURE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "voc_crc32c.h"
#include "voc_journal_file.h"

#define RING    (64 * 1024)
#define WINDOW  (RING / 4)
#define RING_AT (VOC_FILE_WINDOW + WINDOW) /* in the file */
#define NOW  1700000000000ULL /* ms */

static char directory[512];
static voc_error_t error;

static inline int
setup(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(directory, sizeof(directory), "%s/voc-journal-XXXXXX",
             tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
    memset(&error, 0, sizeof(error));
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static inline unsigned
files(const char *suffix, char *last, size_t size, int delete_them)
{
    struct dirent *entry;
    unsigned n = 0;
    char path[1024];
    DIR *dir = opendir(directory);
    size_t len;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        len = strlen(entry->d_name);
        if (strcmp(entry->d_name, ".") == 0 ||
            strcmp(entry->d_name, "..") == 0 || len < strlen(suffix) ||
            strcmp(entry->d_name + len - strlen(suffix), suffix) != 0) {
            continue;
        }
        n++;
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        if (last != NULL) {
            snprintf(last, size, "%s", path);
        }
        if (delete_them) {
            unlink(path);
        }
    }
    closedir(dir);
    return n;
}

static inline int
teardown(void **state)
{
    (void)state;
    files("", NULL, 0, 1);
    return rmdir(directory);
}

static inline voc_journal_t *
create(uint64_t size)
{
    voc_journal_options_t options = {directory, size, (uid_t)-1, (gid_t)-1};
    voc_journal_t *journal = voc_journal_create(&options, &error);

    if (journal == NULL) {
        print_error("%s\n", error.text);
    }
    assert_non_null(journal);
    return journal;
}

static inline voc_journal_t *
create_memory(uint64_t size)
{
    voc_journal_options_t options = {NULL, size, (uid_t)-1, (gid_t)-1};
    voc_journal_t *journal = voc_journal_create(&options, &error);

    assert_non_null(journal);
    return journal;
}

/* Deterministic; never 0. */
static inline uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A payload that tells its number and its length. */
static inline void
fill(char *payload, size_t length, uint64_t number)
{
    uint64_t state = number * 0x9E3779B97F4A7C15ULL + 1;
    size_t i;

    for (i = 0; i < length; i++) {
        payload[i] = (char)(' ' + next_random(&state) % 90);
    }
}

static inline uint64_t
append(voc_journal_t *journal, size_t length)
{
    static char payload[VOC_JOURNAL_PAYLOAD_MAX];
    uint64_t seq = 0;

    fill(payload, length, voc_journal_head(journal).seq + 1);
    assert_int_equal(voc_journal_append(journal, payload, length, NOW, &seq),
                     VOC_JOURNAL_OK);
    return seq;
}

/* Reads on over AGAIN. */
static inline voc_journal_rc
read_on(voc_journal_reader_t *reader, char *buffer, size_t size,
        voc_journal_record_t *record)
{
    voc_journal_rc rc;

    do {
        rc = voc_journal_read(reader, buffer, size, record);
    } while (rc == VOC_JOURNAL_AGAIN);

    return rc;
}

/* The next record is number seq with fill()'s payload. */
static inline void
expect(voc_journal_reader_t *reader, uint64_t seq, uint64_t lost,
       voc_journal_record_t *record)
{
    static char buffer[VOC_JOURNAL_PAYLOAD_MAX], want[VOC_JOURNAL_PAYLOAD_MAX];

    assert_int_equal(read_on(reader, buffer, sizeof(buffer), record),
                     VOC_JOURNAL_OK);
    assert_int_equal(record->seq, seq);
    assert_int_equal(record->lost, lost);
    assert_int_equal(record->accepted, NOW);
    fill(want, record->length, seq);
    assert_memory_equal(buffer, want, record->length);
}

static inline void
expect_empty(voc_journal_reader_t *reader, uint64_t lost)
{
    voc_journal_record_t record;

    assert_int_equal(read_on(reader, NULL, 0, &record), VOC_JOURNAL_EMPTY);
    assert_int_equal(record.lost, lost);
    assert_int_equal(read_on(reader, NULL, 0, &record), VOC_JOURNAL_EMPTY);
    assert_int_equal(record.lost, 0);
}

static inline void
poke(const char *path, uint64_t offset, const void *data, size_t size)
{
    int fd = open(path, O_RDWR);

    assert_true(fd != -1);
    assert_int_equal(pwrite(fd, data, size, (off_t)offset), size);
    close(fd);
}

static inline void
peek(const char *path, uint64_t offset, void *data, size_t size)
{
    int fd = open(path, O_RDONLY);

    assert_true(fd != -1);
    assert_int_equal(pread(fd, data, size, (off_t)offset), size);
    close(fd);
}

/* Leaves all records to the ring: the window is empty. */
static inline voc_journal_t *
settled(voc_journal_t *journal)
{
    assert_int_equal(voc_window_move(journal), 0);
    memset(journal->window.bytes, 0, journal->window.size);
    return journal;
}

/* Flips a bit of the byte at this place of the ring. */
static inline void
flip(const char *path, uint64_t place)
{
    char byte;

    peek(path, RING_AT + place, &byte, 1);
    byte ^= 0x10;
    poke(path, RING_AT + place, &byte, 1);
}

static inline voc_journal_t *
recovered(voc_journal_rc (*open_it)(voc_journal_t **journal))
{
    voc_journal_t *journal = NULL;
    voc_journal_rc rc;

    assert_int_equal(open_it(&journal), VOC_JOURNAL_OK);
    do {
        rc = voc_journal_recover(journal);
    } while (rc == VOC_JOURNAL_AGAIN);
    assert_int_equal(rc, VOC_JOURNAL_OK);
    return journal;
}

static inline voc_journal_rc
adopt_it(voc_journal_t **journal)
{
    voc_journal_directory_t d = {directory, {0}, 0};

    return voc_journal_adopt(&d, journal, &error);
}

static inline voc_journal_t *
adopt(void)
{
    return recovered(adopt_it);
}

/* n records of size bytes of ring each, the first acked of them done with. */
static inline voc_journal_t *
filled(uint64_t n, uint64_t size, uint64_t acked)
{
    voc_journal_t *journal = create(RING);
    uint64_t i;

    for (i = 1; i <= n; i++) {
        append(journal, size - 40);
        if (i <= acked) {
            assert_int_equal(voc_journal_acknowledge(journal, i, i * size),
                             0);
        }
    }
    return journal;
}

/* The same, left behind; path: its file. */
static inline void
left_behind(uint64_t n, uint64_t size, uint64_t acked, char path[1024])
{
    voc_journal_t *journal = filled(n, size, acked);

    snprintf(path, 1024, "%s", voc_journal_path(journal));
    voc_journal_close(journal);
}

/* The same, with nothing in its window. */
static inline void
left_behind_settled(uint64_t n, uint64_t size, uint64_t acked, char path[1024])
{
    voc_journal_t *journal = settled(filled(n, size, acked));

    snprintf(path, 1024, "%s", voc_journal_path(journal));
    voc_journal_close(journal);
}

static inline void
expect_status(voc_journal_t *journal, uint64_t tail, uint64_t head)
{
    voc_journal_status_t status;

    voc_journal_status(journal, &status);
    assert_int_equal(status.tail, tail);
    assert_int_equal(status.head, head);
    assert_int_equal(status.pending, head - tail);
}

static inline void
expect_all(voc_journal_t *journal, uint64_t from, uint64_t to)
{
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    uint64_t i;

    voc_journal_seek(&reader, journal, from - 1);
    for (i = from; i <= to; i++) {
        expect(&reader, i, 0, &record);
    }
    expect_empty(&reader, 0);
}

/* fork(); the child ends with the test program, however that ends. */
static inline pid_t
child(void)
{
    pid_t parent = getpid(), pid = fork();

    assert_true(pid != -1);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(99);
        }
    }
    return pid;
}

/* A child's exit code; a signal is 1000 + its number. */
static inline int
ended(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status)
                               : WEXITSTATUS(status);
}

static inline uint64_t
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

#endif
