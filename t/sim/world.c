/* The world itself: chance, messages, memory, a directory. */

#include <dirent.h>
#include <stdarg.h>
#include <sys/random.h>
#include <unistd.h>

#include "sim.h"

sim_t sim;

uint32_t
roll(uint32_t n)
{
    sim.random ^= sim.random << 13;
    sim.random ^= sim.random >> 7;
    sim.random ^= sim.random << 17;
    return (uint32_t)((sim.random * 2685821657736338717ULL) >> 32) % n;
}

int
fault(fault_e f)
{
    if (sim.calm || sim.rate[f] == 0 || roll(10000) >= sim.rate[f]) {
        return 0;
    }

    sim.met[f]++;
    return 1;
}

const char *
fault_name(fault_e f)
{
#define FAULT_TEXT(name, rate) #name,
    static const char *const names[] = {FAULTS(FAULT_TEXT)};

    return names[f];
}

void
say(const char *format, ...)
{
    va_list args;

    if (sim.verbose) {
        printf("%6u %8" PRIu64 "  ", sim.steps, sim.now);
        va_start(args, format);
        vprintf(format, args);
        va_end(args);
        putchar('\n');
    }
}

/* The first thing wrong ends it: what follows is only its consequence. */
void
fail(const char *format, ...)
{
    va_list args;

    printf("seed %" PRIu64 ", step %u: ", sim.seed, sim.steps);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
    world_files(1);
    rmdir(sim.directory);
    _exit(1);
}

void *
grown(void *data, size_t count, size_t *size, size_t each)
{
    size_t old = *size;

    if (count <= old) {
        return data;
    }

    *size = count * 2;
    data = realloc(data, *size * each);
    if (data == NULL) {
        fail("no memory");
    }
    memset((char *)data + old * each, 0, (*size - old) * each);
    return data;
}

void
bytes_add(bytes_t *b, const void *data, size_t len)
{
    b->data = grown(b->data, b->len + len, &b->size, 1);
    if (len > 0) {
        memcpy(b->data + b->len, data, len);
        b->len += len;
    }
}

void
bytes_drop(bytes_t *b, size_t len)
{
    if (len > 0) {
        memmove(b->data, b->data + len, b->len - len);
        b->len -= len;
    }
}

/* The journals' ids, in place of the C library's: a run is the same again. */
ssize_t
getrandom(void *buffer, size_t size, unsigned flags)
{
    uint64_t id = ++sim.ids * 0x9E3779B97F4A7C15ULL + sim.seed;

    (void)flags;
    memcpy(buffer, &id, size < sizeof(id) ? size : sizeof(id));
    return (ssize_t)size;
}

unsigned
world_files(int remove_them)
{
    struct dirent *entry;
    char path[512];
    unsigned n = 0;
    DIR *dir = opendir(sim.directory);

    if (dir == NULL) {
        return 0;
    }

    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 ||
            strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        n++;
        if (remove_them) {
            snprintf(path, sizeof(path), "%s/%s", sim.directory,
                     entry->d_name);
            unlink(path);
        }
    }

    closedir(dir);
    return n;
}

static void
world_directory(void)
{
    const char *tmp = getenv("TMPDIR");

    if (tmp == NULL || tmp[0] == '\0') {
        tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    }

    snprintf(sim.directory, sizeof(sim.directory), "%.60s/voc-sim-XXXXXX",
             tmp);
    if (mkdtemp(sim.directory) == NULL) {
        perror(sim.directory);
        _exit(2);
    }
}

/* A run has about half of all faults: rare things need quiet to unfold. */
void
world_begin(uint64_t seed)
{
    static const unsigned rates[] = {
#define FAULT_RATE(name, rate) rate,
        FAULTS(FAULT_RATE)};
    static const fault_e ends[] = {
        FAULT_KILL_ALL, FAULT_POWER,    FAULT_QUIT,   FAULT_RESIZE,
        FAULT_SECOND,   FAULT_FILE_CUT, FAULT_VANISH, FAULT_SYNC_ERROR};
    int verbose = sim.verbose;
    unsigned i;

    memset(&sim, 0, sizeof(sim));
    sim.verbose = verbose;
    sim.seed = seed;
    sim.random = (seed + 1) * 0x9E3779B97F4A7C15ULL;
    sim.now = 1000;
    sim.current = -1;
    sim.appends = grown(NULL, 1, &(size_t){0}, sizeof(append_t));
    sim.appends_size = 2;

    for (i = 0; i < 16; i++) {
        roll(2);
    }
    for (i = 0; i < FAULT_N; i++) {
        sim.rate[i] = roll(2) ? rates[i] / (1 + roll(4)) : 0;
    }

    /* a journal that lives long goes round many times */
    if (roll(3) == 0) {
        for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
            sim.rate[ends[i]] = 0;
        }
    }

    world_directory();
}

void
world_end(void)
{
    int i;

    for (i = 0; i < sim.nstores; i++) {
        free(sim.stores[i].path);
        free(sim.stores[i].by_seq);
        disk_free(&sim.stores[i]);
    }
    for (i = 0; i < CONNS_MAX; i++) {
        free(sim.conns[i].up.data);
        free(sim.conns[i].in.data);
        free(sim.conns[i].down.data);
        free(sim.conns[i].queue.data);
    }
    redis_free();
    free(sim.appends);
    world_files(1);
    if (rmdir(sim.directory) == -1) {
        fail("%s is not empty", sim.directory);
    }
}
