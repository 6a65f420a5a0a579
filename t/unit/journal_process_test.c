/* The live journal between processes: order, death, stop, sleep. */

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>

#include "journal_fixture.h"

#define APPENDERS 2
#define PER_CHILD 50000

/* In a child: no assertion, cmocka is the parent's. */
static int
append_until_room(voc_journal_t *journal, const void *data, size_t length)
{
    uint64_t seq;
    voc_journal_rc rc;

    for (;;) {
        rc = voc_journal_append(journal, data, length, NOW, &seq);
        if (rc == VOC_JOURNAL_OK) {
            return 0;
        }
        if (rc != VOC_JOURNAL_FULL && rc != VOC_JOURNAL_BUSY) {
            return -1;
        }
        sched_yield();
    }
}

/* Payload: who, its own count, then as many bytes as the count says. */
static int
appender(voc_journal_t *journal, uint32_t who, uint32_t count)
{
    char data[8 + 256];
    uint32_t i;

    for (i = 0; i < count; i++) {
        memcpy(data, &who, 4);
        memcpy(data + 4, &i, 4);
        memset(data + 8, (char)i, i % 256);
        if (append_until_room(journal, data, 8 + i % 256) == -1) {
            return 1;
        }
    }

    return 0;
}

/* Reads total records; each appender's come in its own order, once. */
static int
consumer(voc_journal_t *journal, uint64_t total)
{
    uint32_t expected[APPENDERS] = {0}, who, i;
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    uint64_t n = 0;
    char data[8 + 256];

    voc_journal_seek(&reader, journal, 0);
    while (n < total) {
        switch (read_on(&reader, data, sizeof(data), &record)) {
        case VOC_JOURNAL_EMPTY:
            if (record.lost) {
                return 2;
            }
            sched_yield();
            continue;
        case VOC_JOURNAL_OK:
            break;
        default:
            return 3;
        }

        memcpy(&who, data, 4);
        memcpy(&i, data + 4, 4);
        if (record.seq != ++n || record.lost != 0) {
            return 4;
        }
        if (who >= APPENDERS || expected[who] != i ||
            record.length != 8 + i % 256) {
            return 5;
        }
        expected[who]++;
        if (n % 37 == 0 || n == total) {
            while (voc_journal_acknowledge(journal, record.seq, record.end) ==
                   VOC_JOURNAL_BUSY) {
            }
        }
    }

    return 0;
}

static void
many(voc_journal_t *journal)
{
    pid_t pids[APPENDERS + 1];
    voc_journal_status_t status;
    uint32_t i;

    for (i = 0; i <= APPENDERS; i++) {
        pids[i] = child();
        if (pids[i] == 0) {
            _exit(i < APPENDERS
                      ? appender(journal, i, PER_CHILD)
                      : consumer(journal, (uint64_t)APPENDERS * PER_CHILD));
        }
    }

    for (i = 0; i <= APPENDERS; i++) {
        assert_int_equal(ended(pids[i]), 0);
    }

    voc_journal_status(journal, &status);
    assert_int_equal(status.head, APPENDERS * PER_CHILD);
    assert_int_equal(status.pending, 0);
    voc_journal_close(journal);
}

static void
test_many(void **state)
{
    (void)state;
    many(create(RING));
    many(create_memory(RING));
}

/*
 * Number and offset always belong together: this process reads them, and is
 * interrupted wherever it is by one that publishes two new ones, so that the
 * slot that was current is written again.
 */
static voc_journal_t *published;
static volatile uint64_t published_n;

static void
publish_two(int signo)
{
    voc_position_t tail;
    int i;

    (void)signo;
    for (i = 0; i < 2; i++) {
        tail.seq = ++published_n;
        tail.end = tail.seq * 8;
        atomic_store(&published->shared->end[tail.seq & 1], tail.end);
        atomic_store(&published->shared->seq, tail.seq);
        voc_journal_set_tail(published, tail);
    }
}

static void
test_snapshots(void **state)
{
    uint64_t i, torn = 0, start = now_ms();
    pid_t parent = getpid(), pid;
    voc_position_t head, tail;

    (void)state;
    published = create_memory(RING);
    published_n = 0;
    signal(SIGUSR1, publish_two);
    pid = child();
    if (pid == 0) {
        while (kill(parent, SIGUSR1) == 0) {
        }
        _exit(0);
    }
    for (i = 0; published_n < 1000000; i++) {
        head = voc_journal_head(published);
        tail = voc_journal_tail(published);
        torn += head.end != head.seq * 8 || tail.end != tail.seq * 8;
        if (i % 1024 == 0 && now_ms() - start > 3000) {
            break;
        }
    }
    kill(pid, SIGKILL);
    assert_int_equal(ended(pid), 1000 + SIGKILL);
    signal(SIGUSR1, SIG_IGN);
    assert_int_equal(torn, 0);
    assert_true(published_n > 0);
    voc_journal_close(published);
}

/*
 * Appenders are killed again and again while this process reads: every record
 * that one of them got a number for is there.  told: in shared memory, the
 * highest number that was given out.
 */
static void
killed_appender(voc_journal_t *journal, _Atomic uint64_t *told)
{
    static char data[4000];
    uint64_t seq, random = (uint64_t)getpid() * 7919 + 1, before;

    for (;;) {
        if (voc_journal_append(journal, data,
                               next_random(&random) % sizeof(data), NOW,
                               &seq) == VOC_JOURNAL_OK) {
            before = atomic_load(told);
            while (before < seq &&
                   !atomic_compare_exchange_weak(told, &before, seq)) {
            }
        }
    }
}

static void
test_killed(void **state)
{
    voc_journal_t *journal = create(RING);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    _Atomic uint64_t *told =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
             -1, 0);
    static char data[4000];
    uint64_t read = 0, until, random = 42, busy = 0;
    pid_t pids[2];
    int round;

    (void)state;
    voc_journal_seek(&reader, journal, 0);

    for (round = 0; round < 300; round++) {
        pids[0] = child();
        if (pids[0] == 0) {
            killed_appender(journal, told);
        }
        pids[1] = child();
        if (pids[1] == 0) {
            killed_appender(journal, told);
        }

        until = read + 1 + next_random(&random) % 200;
        while (read < until) {
            if (read_on(&reader, data, sizeof(data), &record) !=
                VOC_JOURNAL_OK) {
                assert_int_equal(record.lost, 0);
                continue;
            }
            assert_int_equal(record.seq, ++read);
            assert_int_equal(record.lost, 0);
            while (voc_journal_acknowledge(journal, record.seq, record.end) ==
                   VOC_JOURNAL_BUSY) {
                assert_true(++busy < 1000);
                poll(NULL, 0, 1);
            }
        }

        kill(pids[0], SIGKILL);
        kill(pids[1], SIGKILL);
        assert_int_equal(ended(pids[0]), 1000 + SIGKILL);
        assert_int_equal(ended(pids[1]), 1000 + SIGKILL);
    }

    while (read_on(&reader, data, sizeof(data), &record) == VOC_JOURNAL_OK) {
        assert_int_equal(record.seq, ++read);
        voc_journal_acknowledge(journal, record.seq, record.end);
    }
    assert_int_equal(record.lost, 0);
    assert_true(read >= atomic_load(told));
    assert_int_equal(append(journal, 100), read + 1);
    munmap((void *)told, 4096);
    voc_journal_close(journal);
}

/* Dies with the lock: between the record and its publication, and before. */
static void
test_owner_dead(void **state)
{
    voc_journal_t *journal = create(RING);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    char *garbage;
    pid_t pid;
    int i;

    (void)state;
    voc_journal_seek(&reader, journal, 0);

    for (i = 1; i <= 20; i++) {
        assert_int_equal(append(journal, 50), i);
        pid = child();
        if (pid == 0) {
            if (voc_journal_lock(journal) != VOC_JOURNAL_OK) {
                _exit(1);
            }
            garbage = journal->window.bytes + voc_journal_head(journal).end %
                                                  journal->window.size;
            memset(garbage, 0x55, 700);
            atomic_store(&journal->shared->end[(i + 1) & 1], 12345);
            atomic_store(&journal->shared
                              ->tail_end[(journal->shared->turn + 1) & 1],
                         54321);
            kill(getpid(), SIGKILL);
        }
        assert_int_equal(ended(pid), 1000 + SIGKILL);
        expect(&reader, (uint64_t)i, 0, &record);
        expect_empty(&reader, 0);
        assert_int_equal(
            voc_journal_acknowledge(journal, record.seq, record.end), 0);
    }
    voc_journal_close(journal);
}

/* What is published makes no sense: nothing more is written. */
static void
test_owner_dead_and_broken(void **state)
{
    voc_journal_t *journal = create(RING);
    uint64_t seq;
    pid_t pid;

    (void)state;
    append(journal, 50);
    pid = child();
    if (pid == 0) {
        voc_journal_lock(journal);
        atomic_store(&journal->shared->end[1], 10 * RING);
        _exit(0);
    }
    assert_int_equal(ended(pid), 0);
    assert_int_equal(voc_journal_append(journal, "", 0, NOW, &seq),
                     VOC_JOURNAL_FAILED);
    assert_int_equal(voc_journal_append(journal, "", 0, NOW, &seq),
                     VOC_JOURNAL_FAILED);
    voc_journal_close(journal);
}

/* Appends while another process has the lock for ms. */
static void
owner_for(voc_journal_t *journal, int ms)
{
    int pipes[2];
    uint64_t seq;
    pid_t pid;
    char c;

    assert_int_equal(pipe(pipes), 0);
    pid = child();
    if (pid == 0) {
        if (voc_journal_lock(journal) != VOC_JOURNAL_OK ||
            write(pipes[1], "", 1) != 1) {
            _exit(1);
        }
        poll(NULL, 0, ms);
        voc_journal_unlock(journal);
        _exit(0);
    }

    assert_int_equal(read(pipes[0], &c, 1), 1);
    voc_journal_append(journal, "", 0, NOW, &seq);
    assert_int_equal(ended(pid), 0);
    close(pipes[0]);
    close(pipes[1]);
}

static void
test_stopped(void **state)
{
    voc_journal_t *journal = create(RING);
    uint64_t seq, start, took;
    int status, i;
    pid_t pid;

    (void)state;
    append(journal, 50);
    pid = child();
    if (pid == 0) {
        voc_journal_lock(journal);
        raise(SIGSTOP);
        voc_journal_unlock(journal);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));

    start = now_ms();
    assert_int_equal(voc_journal_append(journal, "", 0, NOW, &seq),
                     VOC_JOURNAL_BUSY);
    took = now_ms() - start;
    assert_in_range(took, VOC_JOURNAL_LOCK_WAIT / 2,
                    VOC_JOURNAL_LOCK_WAIT + 500);
    /* one waited in vain: the others only look */
    start = now_ms();
    for (i = 0; i < 20; i++) {
        assert_int_equal(voc_journal_append(journal, "", 0, NOW, &seq),
                         VOC_JOURNAL_BUSY);
    }
    assert_int_equal(voc_journal_acknowledge(journal, 1, 96),
                     VOC_JOURNAL_BUSY);
    assert_true(now_ms() - start < 10 * VOC_JOURNAL_LOCK_WAIT);

    kill(pid, SIGCONT);
    assert_int_equal(ended(pid), 0);
    assert_int_equal(append(journal, 50), 2);

    /* From now on it waits again, where the owner is only slow: not every
     * time, since this process may be the slow one. */
    for (i = 0; i < 20 && voc_journal_head(journal).seq == 2; i++) {
        owner_for(journal, VOC_JOURNAL_LOCK_WAIT / 5);
    }
    assert_int_equal(voc_journal_head(journal).seq, 3);
    voc_journal_close(journal);
}

/*
 * The appender sends the next record only once the last is acknowledged, and
 * wakes only when told to: one lost wake-up and both wait for ever.
 */
static void
test_no_lost_wake_up(void **state)
{
    voc_journal_t *journal = create_memory(RING);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    struct pollfd event = {eventfd(0, EFD_NONBLOCK), POLLIN, 0};
    uint64_t read_n = 0, rounds = 100000, slept = 0, i, seq, one = 1;
    char data[8];
    pid_t pid;

    (void)state;
    pid = child();
    if (pid == 0) {
        for (i = 0; i < rounds; i++) {
            if (append_until_room(journal, &i, 8) == -1) {
                _exit(1);
            }
            if (voc_journal_must_wake(journal) &&
                write(event.fd, &one, 8) != 8) {
                _exit(2);
            }
            /* by turns at once and after the reader has caught up */
            while (i % 2 && voc_journal_tail(journal).seq < i + 1) {
                sched_yield();
            }
        }
        _exit(0);
    }

    voc_journal_seek(&reader, journal, 0);
    while (read_n < rounds) {
        if (read_on(&reader, data, 8, &record) == VOC_JOURNAL_OK) {
            assert_int_equal(record.seq, ++read_n);
            while (voc_journal_acknowledge(journal, record.seq, record.end) ==
                   VOC_JOURNAL_BUSY) {
            }
            continue;
        }

        if (voc_journal_sleep(journal, read_n)) {
            slept++;
            if (poll(&event, 1, 10000) != 1) {
                kill(pid, SIGKILL);
                fail_msg("not woken at %d", (int)read_n);
            }
            assert_int_equal(read(event.fd, &seq, 8), 8);
            voc_journal_awake(journal);
        }
    }

    assert_int_equal(ended(pid), 0);
    assert_true(slept > 0);
    assert_int_equal(voc_journal_must_wake(journal), 0);
    close(event.fd);
    voc_journal_close(journal);
}

/* One is told to wake, not all. */
static void
test_wake_once(void **state)
{
    voc_journal_t *journal = create_memory(RING);

    (void)state;
    assert_int_equal(voc_journal_must_wake(journal), 0);
    assert_int_equal(voc_journal_sleep(journal, 0), 1);
    append(journal, 1);
    assert_int_equal(voc_journal_must_wake(journal), 1);
    assert_int_equal(voc_journal_must_wake(journal), 0);
    assert_int_equal(voc_journal_sleep(journal, 0), 0);
    assert_int_equal(voc_journal_must_wake(journal), 0);
    assert_int_equal(voc_journal_sleep(journal, 1), 1);
    voc_journal_awake(journal);
    assert_int_equal(voc_journal_must_wake(journal), 0);
    voc_journal_close(journal);
}

/* Each process syncs on a description of its own. */
static void
test_sync_by_child(void **state)
{
    voc_journal_t *journal = create(RING);
    uint64_t synced;
    pid_t pid;

    (void)state;
    append(journal, 10);
    assert_int_equal(voc_journal_sync(journal, &synced, &error), 0);
    append(journal, 10);
    pid = child();
    if (pid == 0) {
        _exit(voc_journal_sync(journal, &synced, &error) != 0 ||
              synced != 2 || journal->sync_fd == journal->fd ||
              journal->sync_pid != getpid());
    }
    assert_int_equal(ended(pid), 0);
    assert_int_equal(voc_journal_synced(journal), 2);
    voc_journal_close(journal);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_snapshots),    T(test_many),
        T(test_killed),
        T(test_owner_dead),   T(test_owner_dead_and_broken),
        T(test_stopped),      T(test_no_lost_wake_up),
        T(test_wake_once),    T(test_sync_by_child),
    };

    alarm(300); /* a lock that is never had ends the tests, and the children */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
