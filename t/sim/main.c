/*
 * sim SEED [-v]          one run; -v tells what happens
 * sim --seeds FROM COUNT so many runs, up to the first that fails
 * sim --coverage FROM COUNT  and how many of them reached what
 */

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

#define RUN_MAX 120 /* seconds */

static void
crashed(int signo)
{
    char text[96];
    int n;

    n = snprintf(text, sizeof(text), "seed %" PRIu64 ", step %u: %s\n",
                 sim.seed, sim.steps,
                 signo == SIGALRM ? "does not end" : "crashes");
    if (write(STDOUT_FILENO, text, (size_t)n) == n) {
        _exit(1);
    }
    _exit(2);
}

int
main(int argc, char **argv)
{
    uint64_t seed, from, count = 1, events = 0, full = 0, replayed = 0,
                         pushed = 0;
    unsigned met[FAULT_N] = {0};
    struct timespec a, b;
    int i, many, coverage;

    coverage = argc == 4 && strcmp(argv[1], "--coverage") == 0;
    many = coverage || (argc == 4 && strcmp(argv[1], "--seeds") == 0);

    if (!many && (argc < 2 || argv[1][0] < '0' || argv[1][0] > '9')) {
        fprintf(stderr,
                "usage: sim SEED [-v] | sim --seeds|--coverage FROM COUNT\n");
        return 2;
    }

    from = strtoull(argv[many ? 2 : 1], NULL, 10);
    if (many) {
        count = strtoull(argv[3], NULL, 10);
    }
    sim.verbose = !many && argc > 2;

    signal(SIGALRM, crashed);
#ifndef __SANITIZE_ADDRESS__
    signal(SIGSEGV, crashed);
    signal(SIGABRT, crashed);
#endif

    clock_gettime(CLOCK_MONOTONIC, &a);
    for (seed = from; seed < from + count; seed++) {
        alarm(RUN_MAX);
        run(seed);
        events += sim.nappends;
        full += sim.full;
        replayed += sim.replayed;
        pushed += sim.pushed;
        for (i = 0; i < FAULT_N; i++) {
            met[i] += sim.met[i];
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &b);

    printf("%" PRIu64 " seeds, %" PRIu64 " events, FULL %" PRIu64
           ", PUSHED %" PRIu64 ", REPLAYED %" PRIu64 ", %.1f seconds;",
           count, events, full, pushed, replayed,
           (double)(b.tv_sec - a.tv_sec) +
               (double)(b.tv_nsec - a.tv_nsec) / 1e9);
    for (i = 0; i < FAULT_N; i++) {
        printf(" %s %u", fault_name((fault_e)i), met[i]);
    }
    printf("\n");
    if (coverage) {
        reached_print();
    }
    return 0;
}
