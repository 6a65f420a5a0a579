/* What has to be true in the end, and after a graceful stop. */

#include "sim.h"

static int
append_missing(const append_t *a)
{
    return a->fate == APPEND_OK && !a->on_list && !a->gone &&
           !(a->pushed && a->dropped && (a->excused || !append_held(a)));
}

int
oracle_complete(void)
{
    uint32_t n;

    for (n = 1; n <= sim.nappends; n++) {
        if (append_missing(&sim.appends[n])) {
            return 0;
        }
    }

    return 1;
}

void
oracle_final(void)
{
    uint32_t n;

    for (n = 1; n <= sim.nappends; n++) {
        if (sim.appends[n].fate == APPEND_RUNNING) {
            fail("event %u has no end", n);
        }
        if (append_missing(&sim.appends[n])) {
            fail("%s was accepted, and is not on the list", append_name(n));
        }
    }
}

/* nginx has stopped in peace. */
void
oracle_stopped(void)
{
    uint32_t n;
    int s;

    for (n = 1; n <= sim.nappends; n++) {
        if (append_missing(&sim.appends[n])) {
            fail("%s is left at a graceful stop", append_name(n));
        }
    }

    for (s = 0; s < sim.nstores; s++) {
        if (sim.stores[s].deleted && sim.stores[s].deleted_in == sim.deaths &&
            redis_has_cursor(sim.stores[s].id)) {
            fail("the cursor of journal %d is left, its file is not", s);
        }
    }
}
