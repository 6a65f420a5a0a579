/*
 * How a journal's file comes about and goes, call by call: what may fail at
 * each of them, and what is on the disk before anyone can find it.
 */

#include <sys/syscall.h>

#include "journal_fixture.h"

/* ---- the calls, written down; one of them fails ------------------------ */

static char calls[512];
static const char *failing, *deadly;

/* 0, or the error that is to be had. */
static int
called(const char *name)
{
    size_t len = strlen(calls);

    if (deadly != NULL && strcmp(deadly, name) == 0) {
        kill(getpid(), SIGKILL);
    }

    snprintf(calls + len, sizeof(calls) - len, "%s%s", len ? " " : "", name);
    return failing != NULL && strcmp(failing, name) == 0 ? EIO : 0;
}

static int
is_directory(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

static int
failed(const char *name)
{
    int number = called(name);

    errno = number;
    return number != 0;
}

/* These stand before the C library's. */

int
openat(int at, const char *name, int flags, ...)
{
    const int wanted = O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    mode_t mode = 0;
    va_list args;

    if (flags & O_CREAT) {
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);

        if (failed(name[0] == '.' && mode == 0600 &&
                           (flags & wanted) == wanted
                       ? "create"
                       : "create?")) {
            return -1;
        }
    }
    return (int)syscall(SYS_openat, at, name, flags, mode);
}

int
fsync(int fd)
{
    if (failed(is_directory(fd) ? "fsync-directory" : "fsync")) {
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

int
fchown(int fd, uid_t uid, gid_t gid)
{
    if (failed("chown")) {
        return -1;
    }
    return (int)syscall(SYS_fchown, fd, uid, gid);
}

int
posix_fallocate(int fd, off_t offset, off_t len)
{
    int number = called("allocate");

    if (number != 0) {
        return number;
    }
    return syscall(SYS_fallocate, fd, 0, offset, len) == -1 ? errno : 0;
}

int
renameat(int from, const char *old, int to, const char *new)
{
    if (failed(old[0] == '.' && new[0] != '.' ? "rename" : "rename?")) {
        return -1;
    }
    return (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

int
unlinkat(int at, const char *name, int flags)
{
    if (failed(name[0] == '.' ? "unlink-temporary" : "unlink")) {
        return -1;
    }
    return (int)syscall(SYS_unlinkat, at, name, flags);
}

static voc_journal_t *
create_as_told(const char *fails)
{
    voc_journal_options_t options = {directory, RING, geteuid(), getegid()};
    voc_journal_t *journal;

    calls[0] = '\0';
    failing = fails;
    journal = voc_journal_create(&options, &error);
    failing = NULL;
    return journal;
}

/* ---- tests --------------------------------------------------------------
 */

/* All of it is on the disk before it has its name, then the name as well. */
static void
test_order(void **state)
{
    voc_journal_t *journal = create_as_told(NULL);

    (void)state;
    assert_non_null(journal);
    assert_string_equal(calls, "create chown allocate fsync rename "
                               "fsync-directory");

    calls[0] = '\0';
    assert_int_equal(voc_journal_retire(journal, &error), 0);
    assert_string_equal(calls, "unlink fsync-directory");
}

static const char *const steps[] = {"create", "chown",  "allocate",
                                    "fsync",  "rename", "fsync-directory"};

#define STEPS (sizeof(steps) / sizeof(steps[0]))

/* Whatever fails: no journal, no file, and what it was. */
static void
test_each_may_fail(void **state)
{
    unsigned i;

    (void)state;
    for (i = 0; i < STEPS; i++) {
        if (create_as_told(steps[i]) != NULL) {
            fail_msg("%s fails, and there is a journal", steps[i]);
        }
        assert_int_equal(error.number, EIO);
        assert_non_null(strstr(error.text, directory));
        assert_int_equal(files("", NULL, 0, 0), 0);
    }
}

/* Who dies on the way leaves nothing that is taken for a journal, or one. */
static void
test_dies_on_the_way(void **state)
{
    voc_journal_directory_t d = {directory, {0}, 0};
    voc_journal_t *journal;
    unsigned i, temporary;
    pid_t pid;

    (void)state;
    for (i = 0; i < STEPS; i++) {
        pid = child();
        if (pid == 0) {
            deadly = steps[i];
            create_as_told(NULL);
            _exit(0);
        }
        assert_int_equal(ended(pid), 1000 + SIGKILL);

        temporary = i > 0 && strcmp(steps[i], "fsync-directory") != 0;
        assert_int_equal(files(".journal.tmp", NULL, 0, 0), temporary);

        if (i == STEPS - 1) {
            journal = adopt();
            expect_status(journal, 0, 0);
            assert_int_equal(voc_journal_retire(journal, &error), 0);
        } else {
            assert_int_equal(voc_journal_adopt(&d, &journal, &error),
                             VOC_JOURNAL_EMPTY);
        }
        assert_int_equal(files("", NULL, 0, 0), 0);
    }
}

/* A deletion that may not last is told, and the journal stays held. */
static void
test_deletion_not_durable(void **state)
{
    voc_journal_t *journal = create_as_told(NULL);

    (void)state;
    failing = "fsync-directory";
    assert_int_equal(voc_journal_retire(journal, &error), -1);
    assert_int_equal(error.number, EIO);
    failing = NULL;
    assert_int_equal(voc_journal_retire(journal, &error), 0);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_order),
        T(test_each_may_fail),
        T(test_dies_on_the_way),
        T(test_deletion_not_durable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
