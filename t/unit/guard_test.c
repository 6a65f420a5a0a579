/* Copies that survive a SIGBUS, and only those. */

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "voc_guard.h"

#define PAGE 65536 /* no machine has larger ones */

static char *map;
static int fd;

/* Two pages are mapped, one is there. */
static int
setup(void **state)
{
    char path[512];
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(path, sizeof(path), "%s/voc-guard-XXXXXX",
             tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
    fd = mkstemp(path);
    if (fd == -1 || unlink(path) == -1 || ftruncate(fd, PAGE) == -1) {
        return -1;
    }
    map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return map == MAP_FAILED ? -1 : 0;
}

static int
teardown(void **state)
{
    (void)state;
    munmap(map, 2 * PAGE);
    return close(fd);
}

/* Within each test: cmocka puts a SIGBUS handler of its own around it. */
static void
install(void)
{
    assert_int_equal(voc_guard_install(), 0);
    assert_int_equal(voc_guard_install(), 0);
}

static void
test_copies(void **state)
{
    char text[6] = "";

    (void)state;
    install();
    assert_int_equal(voc_guard_copy(map + 10, "hello", 6), 0);
    assert_int_equal(voc_guard_copy(text, map + 10, 6), 0);
    assert_string_equal(text, "hello");
}

static void
test_survives(void **state)
{
    char data[64] = {0};
    int i;

    (void)state;
    install();
    for (i = 0; i < 3; i++) {
        assert_int_equal(voc_guard_copy(data, map + PAGE, 64), -1);
        assert_int_equal(voc_guard_copy(map + PAGE, data, 64), -1);
        assert_int_equal(voc_guard_copy(data, map + PAGE - 32, 64), -1);
        assert_int_equal(voc_guard_copy(data, map, 64), 0);
    }

    /* It holds again once the file does, and not after it shrinks. */
    assert_int_equal(ftruncate(fd, 2 * PAGE), 0);
    assert_int_equal(voc_guard_copy(map + PAGE, "x", 1), 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(voc_guard_copy(data, map, 64), -1);
    assert_int_equal(ftruncate(fd, PAGE), 0);
}

static void *
hammer(void *data)
{
    char buffer[64];
    long bad = 0;
    int i;

    for (i = 0; i < 20000; i++) {
        bad += voc_guard_copy(buffer, map + PAGE, 64) != -1;
        bad += voc_guard_copy(buffer, map, 64) != 0;
    }

    (void)data;
    return (void *)bad;
}

static void
test_threads(void **state)
{
    pthread_t threads[2];
    void *bad;
    int i;

    (void)state;
    install();
    for (i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, NULL), 0);
    }
    for (i = 0; i < 2; i++) {
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
}

static int
signal_that_ends(void (*act)(void))
{
    pid_t pid = fork();
    int status;

    assert_true(pid != -1);
    if (pid == 0) {
        act();
        _exit(0);
    }

    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void
touch_outside(void)
{
    char data[64];

    voc_guard_copy(data, map + PAGE, 64);
    *(volatile char *)(map + PAGE) = 1;
}

static void
send_one(void)
{
    kill(getpid(), SIGBUS);
}

static void
test_default_effect(void **state)
{
    (void)state;
    install();
    assert_int_equal(signal_that_ends(touch_outside), SIGBUS);
    assert_int_equal(signal_that_ends(send_one), SIGBUS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_survives),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_default_effect),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
