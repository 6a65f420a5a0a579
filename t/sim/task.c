/*
 * Calls that can stop at a point of the journal while others go on, or die
 * there.  A thread that ends while it holds the lock leaves it as a process
 * does that is killed: the kernel marks it, and the next owner finds out.
 */

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "sim.h"
#include "voc_guard.h"

#define FDS 256

__thread uint32_t this_append;
static __thread task_t *self;
static __thread char *was; /* what stood where the record goes */
static __thread size_t was_size;
static __thread char *was_at;

static void
task_wait(sem_t *sem)
{
    while (sem_wait(sem) == -1) {
    }
}

static void
task_die(voc_point_e point)
{
    reached_point("died at", point);
    free(was);
    was = NULL;
    self->dead = 1;
    sem_post(&self->back);
    pthread_exit(NULL);
}

/* A copy that is killed halfway: part of what it wrote is as it was. */
static void
task_tear(voc_point_e point, voc_journal_t *journal)
{
    size_t from, to;

    if (was == NULL || roll(2) == 0) {
        return;
    }

    if (point == VOC_POINT_HEADER) {
        from = VOC_RECORD_MARK;
        to = VOC_RECORD_HEADER;
    } else if (point == VOC_POINT_PAYLOAD && was_size > VOC_RECORD_HEADER) {
        from = VOC_RECORD_HEADER;
        to = was_size;
    } else {
        return;
    }

    from += roll((uint32_t)(to - from));
    if (roll(2)) {
        to = from + 1 + roll((uint32_t)(to - from));
    }

    (void)journal;
    voc_guard_copy(was_at + from, was + from, to - from);
}

static void
task_remember(voc_journal_t *journal)
{
    const append_t *a = &sim.appends[this_append];
    const voc_area_t *area;

    if (self->die == 0 ||
        a->offset % journal->size + voc_record_size(a->length) >
            journal->size) {
        return;
    }

    was_size = voc_record_size(a->length);
    area = was_size > journal->window.size / 2 ? &journal->ring
                                               : &journal->window;
    was_at = area->bytes + a->offset % area->size;
    was = malloc(was_size);
    if (was != NULL && voc_guard_copy(was, was_at, was_size) == -1) {
        free(was);
        was = NULL;
    }
}

void
task_point(voc_point_e point, voc_journal_t *journal)
{
    oracle_point(point, journal);
    reached_point("passed", point);

    /* what is adopted is not yet where a death would close it */
    if (self == NULL || point == VOC_POINT_ADOPTED) {
        return;
    }

    self->locked = journal != NULL && !journal->readonly &&
                   point != VOC_POINT_UNLOCKED &&
                   point <= VOC_POINT_TAIL_DONE;

    if (point == VOC_POINT_LOCKED) {
        task_remember(journal);
    }

    if (self->die > 0 && --self->die == 0) {
        say("it dies at point %d", point);
        task_tear(point, journal);
        task_die(point);
    }

    if (self->pause == 0 || roll(100) >= self->pause) {
        return;
    }

    say("it stops at point %d", point);
    reached_point("stopped at", point);
    sem_post(&self->back);
    task_wait(&self->go);

    if (self->killed) {
        task_tear(point, journal);
        task_die(point);
    }
}

static void *
task_thread(void *data)
{
    task_t *t = data;

    self = t;
    t->run(t->arg);
    free(was);
    was = NULL;
    t->done = 1;
    sem_post(&t->back);
    return NULL;
}

static void
task_wait_for(task_t *t)
{
    task_wait(&t->back);

    if (t->done || t->dead) {
        pthread_join(t->thread, NULL);
        sem_destroy(&t->go);
        sem_destroy(&t->back);
        t->used = 0;
        t->locked = 0;
    }
}

void
task_start(task_t *t, void (*run)(void *), void *arg, unsigned pause,
           unsigned die)
{
    pthread_attr_t attr;

    memset(t, 0, sizeof(*t));
    t->used = 1;
    t->run = run;
    t->arg = arg;
    t->pause = pause;
    t->die = die;
    sem_init(&t->go, 0, 0);
    sem_init(&t->back, 0, 0);

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 512 * 1024);
    if (pthread_create(&t->thread, &attr, task_thread, t) != 0) {
        fail("no thread");
    }
    pthread_attr_destroy(&attr);
    task_wait_for(t);
}

void
task_resume(task_t *t, int kill)
{
    t->killed = kill;
    sem_post(&t->go);
    task_wait_for(t);
}

/* ---- descriptors --------------------------------------------------------
 */

static char fds[FDS];

void
fds_remember(void)
{
    int fd;

    for (fd = 0; fd < FDS; fd++) {
        fds[fd] = fcntl(fd, F_GETFD) != -1;
    }
}

void
fds_close_new(void)
{
    int fd;

    for (fd = 0; fd < FDS; fd++) {
        if (!fds[fd]) {
            close(fd);
        }
    }
}
