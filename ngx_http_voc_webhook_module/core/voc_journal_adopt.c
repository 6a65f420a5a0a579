/* What an earlier start left behind: who takes it over, and when. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "voc_journal_file.h"

typedef struct {
    char before[VOC_FILE_NAME_LEN + 1]; /* "": no bound */
    char after[VOC_FILE_NAME_LEN + 1];
    char next[VOC_FILE_NAME_LEN + 1]; /* "": none */
} voc_adopt_t;

/* Of fixed length and in lower case: the names' order is the files' age. */
static int
voc_adopt_one(void *ctx, const char *name)
{
    voc_adopt_t *adopt = ctx;

    if (voc_file_generation(name) != 0 && strcmp(name, adopt->after) > 0 &&
        (adopt->before[0] == '\0' || strcmp(name, adopt->before) < 0) &&
        (adopt->next[0] == '\0' || strcmp(name, adopt->next) < 0)) {
        memcpy(adopt->next, name, VOC_FILE_NAME_LEN + 1);
    }

    return 0;
}

/* A file is remembered by its id: an inode may become another file's. */
static uint64_t
voc_refused_key(const char *id)
{
    char digits[VOC_JOURNAL_ID_LEN + 1];

    memcpy(digits, id, VOC_JOURNAL_ID_LEN);
    digits[VOC_JOURNAL_ID_LEN] = '\0';
    return strtoull(digits, NULL, 16);
}

static int
voc_is_refused(const voc_journal_directory_t *directory, uint64_t key)
{
    unsigned i;

    for (i = 0; i < directory->nrefused; i++) {
        if (directory->refused[i] == key) {
            return 1;
        }
    }

    return 0;
}

void
voc_journal_refuse(voc_journal_directory_t *directory, voc_str_t id)
{
    uint64_t key = voc_refused_key(id.data);

    if (!voc_is_refused(directory, key) &&
        directory->nrefused < VOC_JOURNAL_REFUSED_MAX) {
        directory->refused[directory->nrefused++] = key;
    }
}

int
voc_journal_refused(const voc_journal_directory_t *directory, voc_str_t id)
{
    return voc_is_refused(directory, voc_refused_key(id.data));
}

/* OK; EMPTY: in use or gone; REFUSED; FAILED. */
static voc_journal_rc
voc_adopt_file(int directory, const char *name, const char *path,
               voc_journal_t **journal, voc_error_t *error)
{
    int fd, number;

    fd = openat(directory, name,
                O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd == -1) {
        number = errno;
        if (number == ENOENT) {
            return VOC_JOURNAL_EMPTY;
        }
        voc_journal_error(error, number, "cannot open journal \"%s\"", path);
        /* what is ours, not the file's, passes */
        return number == EMFILE || number == ENFILE || number == ENOMEM
                   ? VOC_JOURNAL_FAILED
                   : VOC_JOURNAL_REFUSED;
    }

    if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
        number = errno;
        close(fd);
        if (number == EWOULDBLOCK) {
            return VOC_JOURNAL_EMPTY;
        }
        voc_journal_error(error, number, "cannot lock journal \"%s\"", path);
        return VOC_JOURNAL_REFUSED;
    }

    /* It may have been drained and deleted before we had the lock. */
    if (!voc_file_is(directory, name, fd)) {
        close(fd);
        return VOC_JOURNAL_EMPTY;
    }

    return voc_journal_open(path, fd, journal, error);
}

static voc_journal_rc
voc_adopt_named(voc_journal_directory_t *directory, int fd, const char *name,
                voc_journal_t **journal, voc_error_t *error)
{
    voc_str_t id = {name + VOC_FILE_NAME_ID, VOC_JOURNAL_ID_LEN};
    voc_journal_rc rc;
    char *path;

    if (directory->nrefused == VOC_JOURNAL_REFUSED_MAX ||
        voc_is_refused(directory, voc_refused_key(id.data))) {
        return VOC_JOURNAL_EMPTY;
    }

    if (asprintf(&path, "%s/%s", directory->path, name) == -1) {
        voc_journal_error(error, ENOMEM, "no memory for journal \"%s\"", name);
        return VOC_JOURNAL_FAILED;
    }

    rc = voc_adopt_file(fd, name, path, journal, error);
    if (rc == VOC_JOURNAL_REFUSED) {
        voc_journal_refuse(directory, id);
    }

    free(path);
    return rc;
}

static voc_journal_rc
voc_adopt_oldest(voc_journal_directory_t *directory, voc_adopt_t *adopt,
                 voc_journal_t **journal, voc_error_t *error)
{
    voc_journal_rc rc = VOC_JOURNAL_EMPTY;
    int fd, number;

    *journal = NULL;

    fd = open(directory->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    number = errno;

    if (fd != -1) {
        voc_file_clean(fd);
    }

    while (rc == VOC_JOURNAL_EMPTY) {
        adopt->next[0] = '\0';
        if (fd == -1 || voc_file_each(fd, voc_adopt_one, adopt) == -1) {
            voc_journal_error(error, fd == -1 ? number : errno,
                              "cannot look for journals in \"%s\"",
                              directory->path);
            rc = VOC_JOURNAL_FAILED;
            break;
        }

        if (adopt->next[0] == '\0') {
            break;
        }

        memcpy(adopt->after, adopt->next, sizeof(adopt->after));
        rc = voc_adopt_named(directory, fd, adopt->next, journal, error);
    }

    if (fd != -1) {
        close(fd);
    }

    return rc;
}

voc_journal_rc
voc_journal_adopt(voc_journal_directory_t *directory, voc_journal_t **journal,
                  voc_error_t *error)
{
    voc_adopt_t adopt;

    memset(&adopt, 0, sizeof(adopt));
    return voc_adopt_oldest(directory, &adopt, journal, error);
}

/* ---- adopting in turn ---------------------------------------------------- */

void
voc_journal_follow(voc_journal_t *journal, voc_journal_t *previous)
{
    journal->previous = previous;
    atomic_store(&previous->shared->followed, 1);
}

/* 1: some process has this file. */
static int
voc_file_held(const char *path)
{
    int fd, held;

    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd == -1) {
        return 0;
    }

    held = flock(fd, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK;
    close(fd);
    return held;
}

/* What all that follow each other share stands with the first of them. */
static _Atomic uint64_t *
voc_adopt_drained(voc_journal_t *live)
{
    while (live->previous != NULL) {
        live = live->previous;
    }

    return live->shared->drained;
}

/* 1: the leftover that was adopted last is there, and held. */
static int
voc_adopt_draining(voc_journal_t *live,
                   const voc_journal_directory_t *directory)
{
    _Atomic uint64_t *drained = voc_adopt_drained(live);
    uint64_t generation = atomic_load(&drained[0]);
    char path[PATH_MAX];

    if (generation == 0 ||
        snprintf(path, sizeof(path), "%s/" VOC_FILE_NAME, directory->path,
                 generation, atomic_load(&drained[1])) >= (int)sizeof(path)) {
        return 0;
    }

    return voc_file_held(path);
}

static void
voc_adopt_before(voc_adopt_t *adopt, const voc_journal_t *journal)
{
    size_t len = strlen(journal->path);

    if (len > VOC_FILE_NAME_LEN) {
        memcpy(adopt->before, journal->path + len - VOC_FILE_NAME_LEN,
               sizeof(adopt->before));
    }
}

/*
 * What is newer than a journal that others still push has to wait; 1: there
 * is one.  What is newer than one that is followed is left to those who
 * followed.
 */
static int
voc_adopt_bound(voc_adopt_t *adopt, voc_journal_t *live)
{
    voc_journal_status_t status;
    voc_journal_t *previous;
    int waits = 0;

    if (atomic_load(&live->shared->followed)) {
        voc_adopt_before(adopt, live);
    }

    for (previous = live->previous; previous != NULL;
         previous = previous->previous) {
        voc_journal_status(previous, &status);
        if (status.pending > 0 && voc_file_held(previous->path)) {
            voc_adopt_before(adopt, previous);
            waits = 1;
        }
    }

    return waits;
}

voc_journal_rc
voc_journal_adopt_next(voc_journal_t *live, voc_journal_directory_t *directory,
                       int mine, voc_journal_t **journal, voc_error_t *error)
{
    _Atomic uint64_t *drained = voc_adopt_drained(live);
    voc_adopt_t adopt;
    voc_journal_rc rc;
    int waits;

    *journal = NULL;
    if (!mine && voc_adopt_draining(live, directory)) {
        return VOC_JOURNAL_BUSY;
    }

    memset(&adopt, 0, sizeof(adopt));
    waits = voc_adopt_bound(&adopt, live);

    rc = voc_adopt_oldest(directory, &adopt, journal, error);
    if (rc == VOC_JOURNAL_OK) {
        atomic_store(&drained[0], voc_file_generation(adopt.next));
        atomic_store(&drained[1],
                     voc_refused_key(adopt.next + VOC_FILE_NAME_ID));
        voc_point(VOC_POINT_ADOPTED, *journal);
    }

    return rc == VOC_JOURNAL_EMPTY && waits ? VOC_JOURNAL_BUSY : rc;
}
