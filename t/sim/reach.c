/*
 * What a run has reached: points of the journal that were passed, stopped at
 * and died at, and answers that Redis gave.  Counted by seeds, since a place
 * that only one run reaches is as good as not tested.
 */

#include "sim.h"

#define REACHED_MAX 256
#define NAME_MAX    96

static struct {
    char name[NAME_MAX];
    uint64_t seed; /* the last one + 1 */
    unsigned seeds;
} places[REACHED_MAX];

static unsigned n;

void
reached(const char *what, const char *where)
{
    char name[NAME_MAX];
    unsigned i;

    snprintf(name, sizeof(name), "%s%s%s", what, where[0] ? " " : "", where);
    for (i = 0; i < n && strcmp(places[i].name, name) != 0; i++) {
    }

    if (i == REACHED_MAX) {
        fail("too many places");
    }
    if (i == n) {
        memcpy(places[n++].name, name, NAME_MAX);
    }
    if (places[i].seed != sim.seed + 1) {
        places[i].seed = sim.seed + 1;
        places[i].seeds++;
    }
}

void
reached_point(const char *what, voc_point_e point)
{
    static const char *const names[] = {[VOC_POINT_LOCKED] = "LOCKED",
                                        [VOC_POINT_MOVED] = "MOVED",
                                        [VOC_POINT_SKIPPED] = "SKIPPED",
                                        [VOC_POINT_HEADER] = "HEADER",
                                        [VOC_POINT_PAYLOAD] = "PAYLOAD",
                                        [VOC_POINT_END] = "END",
                                        [VOC_POINT_PUBLISHED] = "PUBLISHED",
                                        [VOC_POINT_UNLOCKED] = "UNLOCKED",
                                        [VOC_POINT_TAIL_FILE] = "TAIL_FILE",
                                        [VOC_POINT_TAIL_TURN] = "TAIL_TURN",
                                        [VOC_POINT_TAIL_DONE] = "TAIL_DONE",
                                        [VOC_POINT_TEMPORARY] = "TEMPORARY",
                                        [VOC_POINT_FILLED] = "FILLED",
                                        [VOC_POINT_NAMED] = "NAMED",
                                        [VOC_POINT_DELETED] = "DELETED",
                                        [VOC_POINT_ADOPTED] = "ADOPTED"};

    reached(what,
            point < sizeof(names) / sizeof(names[0]) ? names[point] : "NEW");
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

void
reached_print(void)
{
    unsigned i;

    qsort(places, n, sizeof(places[0]), by_name);
    for (i = 0; i < n; i++) {
        printf("%8u  %s\n", places[i].seeds, places[i].name);
    }
}
