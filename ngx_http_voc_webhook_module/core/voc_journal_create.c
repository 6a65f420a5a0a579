/* The journal's files: their names, how one comes about, how it goes. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "voc_crc32c.h"
#include "voc_journal_file.h"

#define VOC_CREATE_TRIES 8 /* a cleaner may take our temporary file away */

/* ---- names in the directory --------------------------------------------- */

static int
voc_file_hex(const char *text)
{
    return strspn(text, "0123456789abcdef") >= 16;
}

uint64_t
voc_file_generation(const char *name)
{
    if (strlen(name) != VOC_FILE_NAME_LEN || !voc_file_hex(name) ||
        name[16] != '-' || !voc_file_hex(name + 17) ||
        strcmp(name + 33, ".journal") != 0) {
        return 0;
    }

    return strtoull(name, NULL, 16);
}

int
voc_file_each(int directory, int (*each)(void *ctx, const char *name),
              void *ctx)
{
    struct dirent *entry;
    DIR *dir;
    int fd, rc = 0, number;

    fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd == -1) {
        return -1;
    }

    dir = fdopendir(fd);
    if (dir == NULL) {
        number = errno;
        close(fd);
        errno = number;
        return -1;
    }

    while (rc == 0) {
        errno = 0;
        entry = readdir(dir);
        if (entry == NULL) {
            rc = errno == 0 ? 0 : -1;
            break;
        }
        rc = each(ctx, entry->d_name);
    }

    number = errno;
    closedir(dir);
    errno = number;
    return rc;
}

int
voc_file_is(int directory, const char *name, int fd)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && a.st_nlink > 0 &&
           fstatat(directory, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
           a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* .<name>.tmp whose lock can be had: its creator died. */
static int
voc_clean_one(void *ctx, const char *name)
{
    char inner[VOC_FILE_NAME_LEN + 1];
    int directory = *(int *)ctx, fd;

    if (strlen(name) != VOC_FILE_NAME_LEN + 5 || name[0] != '.' ||
        strcmp(name + 1 + VOC_FILE_NAME_LEN, ".tmp") != 0) {
        return 0;
    }

    memcpy(inner, name + 1, VOC_FILE_NAME_LEN);
    inner[VOC_FILE_NAME_LEN] = '\0';
    if (voc_file_generation(inner) == 0) {
        return 0;
    }

    fd = openat(directory, name,
                O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd == -1) {
        return 0;
    }

    if (flock(fd, LOCK_EX | LOCK_NB) == 0 &&
        voc_file_is(directory, name, fd)) {
        unlinkat(directory, name, 0);
    }

    close(fd);
    return 0;
}

void
voc_file_clean(int directory)
{
    voc_file_each(directory, voc_clean_one, &directory);
}

static int
voc_highest_one(void *ctx, const char *name)
{
    uint64_t *highest = ctx, generation = voc_file_generation(name);

    if (generation > *highest) {
        *highest = generation;
    }

    return 0;
}

/* ---- creating ------------------------------------------------------------ */

typedef struct {
    const voc_journal_options_t *options;
    voc_error_t *error;
    int directory;
    uint64_t size;   /* of the ring, bytes */
    uint64_t window; /* bytes */
    uint64_t generation;
    char id[VOC_JOURNAL_ID_LEN + 1];
    char name[VOC_FILE_NAME_LEN + 1];
    char temp[VOC_FILE_NAME_LEN + 6];
    int fd;
} voc_create_t;

static int
voc_create_failed(voc_create_t *create, int number, const char *what)
{
    voc_journal_error(create->error, number, "cannot %s in \"%s\"", what,
                      create->options->directory);
    return -1;
}

static int
voc_create_id(voc_create_t *create)
{
    uint64_t random;

    if (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
        voc_journal_error(create->error, errno, "no random journal id");
        return -1;
    }

    snprintf(create->id, sizeof(create->id), "%016" PRIx64, random);
    return 0;
}

/* 1: made and locked; 0: someone cleaned it away, try again; -1: error. */
static int
voc_create_temp(voc_create_t *create)
{
    if (voc_create_id(create) == -1) {
        return -1;
    }

    snprintf(create->name, sizeof(create->name), "%016" PRIx64 "-%s.journal",
             create->generation, create->id);
    snprintf(create->temp, sizeof(create->temp), ".%s.tmp", create->name);

    create->fd =
        openat(create->directory, create->temp,
               O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (create->fd == -1) {
        return voc_create_failed(create, errno, "create a journal");
    }

    if (flock(create->fd, LOCK_EX | LOCK_NB) == 0) {
        if (voc_file_is(create->directory, create->temp, create->fd)) {
            return 1;
        }

    } else if (errno != EWOULDBLOCK) {
        return voc_create_failed(create, errno, "lock a journal");
    }

    unlinkat(create->directory, create->temp, 0);
    close(create->fd);
    create->fd = -1;
    return 0;
}

static int
voc_create_write(voc_create_t *create, const void *data, size_t size,
                 off_t offset)
{
    return pwrite(create->fd, data, size, offset) == (ssize_t)size ? 0 : -1;
}

static int
voc_create_header(voc_create_t *create)
{
    voc_file_header_t header;
    voc_file_slot_t slot;
    struct timespec now;
    uint32_t seed = voc_crc32c(0, create->id, VOC_JOURNAL_ID_LEN);

    clock_gettime(CLOCK_REALTIME, &now);

    memset(&header, 0, sizeof(header));
    memcpy(header.magic, VOC_FILE_MAGIC, sizeof(header.magic));
    header.version = VOC_FILE_VERSION;
    header.byte_order = VOC_FILE_BYTE_ORDER;
    header.header_size = (uint32_t)(VOC_FILE_WINDOW + create->window);
    header.size = create->size;
    memcpy(header.id, create->id, VOC_JOURNAL_ID_LEN);
    header.generation = create->generation;
    header.created =
        (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    header.crc = voc_crc32c(0, &header, offsetof(voc_file_header_t, crc));

    memset(&slot, 0, sizeof(slot));
    slot.crc = voc_slot_crc(seed, &slot);

    if (voc_create_write(create, &header, sizeof(header), 0) == -1 ||
        voc_create_write(create, &slot, sizeof(slot), VOC_FILE_SLOTS) == -1) {
        return -1;
    }

    slot.turn = 1;
    slot.crc = voc_slot_crc(seed, &slot);
    return voc_create_write(create, &slot, sizeof(slot),
                            VOC_FILE_SLOTS + VOC_FILE_SLOT_STEP);
}

/* Behind the limit posix_fallocate() would end the process by SIGXFSZ. */
static int
voc_create_allocate(voc_create_t *create)
{
    uint64_t size = VOC_FILE_WINDOW + create->window + create->size;
    struct rlimit limit;
    char what[64];
    int rc;

    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && size > limit.rlim_cur) {
        rc = EFBIG;
    } else {
        do {
            rc = posix_fallocate(create->fd, 0, (off_t)size);
        } while (rc == EINTR);
    }

    if (rc != 0) {
        snprintf(what, sizeof(what), "allocate %" PRIu64 " bytes", size);
        return voc_create_failed(create, rc, what);
    }

    return 0;
}

/*
 * All pages are written once.  Else the first write to a page would have the
 * file system turn an unwritten block into a written one, which may wait for
 * its own journal, under our lock.
 */
static int
voc_create_touch(voc_create_t *create)
{
    static const char zeros[64 * 1024];
    uint64_t size = create->window + create->size, done = 0;
    ssize_t n;

    while (done < size) {
        n = pwrite(create->fd, zeros,
                   size - done < sizeof(zeros) ? (size_t)(size - done)
                                               : sizeof(zeros),
                   (off_t)(VOC_FILE_WINDOW + done));

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n <= 0) {
            return voc_create_failed(create, n == 0 ? ENOSPC : errno,
                                     "write a journal");
        }

        done += (uint64_t)n;
    }

    return 0;
}

/* Owner, blocks and header, and all of it on the disk. */
static int
voc_create_fill(voc_create_t *create)
{
    const voc_journal_options_t *options = create->options;

    if ((options->uid != (uid_t)-1 || options->gid != (gid_t)-1) &&
        fchown(create->fd, options->uid, options->gid) == -1) {
        return voc_create_failed(create, errno, "chown a journal");
    }

    if (voc_create_allocate(create) == -1 || voc_create_touch(create) == -1) {
        return -1;
    }

    if (voc_create_header(create) == -1 || fsync(create->fd) == -1) {
        return voc_create_failed(create, errno, "write a journal");
    }

    return 0;
}

static int
voc_create_publish(voc_create_t *create)
{
    voc_point(VOC_POINT_FILLED, NULL);

    if (renameat(create->directory, create->temp, create->directory,
                 create->name) == -1) {
        return voc_create_failed(create, errno, "rename a journal");
    }

    voc_point(VOC_POINT_NAMED, NULL);

    if (fsync(create->directory) == -1) {
        voc_create_failed(create, errno, "make a journal's name durable");
        unlinkat(create->directory, create->name, 0);
        return -1;
    }

    return 0;
}

/* A locked, complete, named file in create->fd, or nothing is left of it. */
static int
voc_create_file(voc_create_t *create)
{
    uint64_t highest = 0;
    int i, rc = 0;

    if (voc_file_each(create->directory, voc_highest_one, &highest) == -1) {
        return voc_create_failed(create, errno, "look for journals");
    }

    if (highest == UINT64_MAX) {
        return voc_create_failed(create, EOVERFLOW, "number a journal");
    }

    voc_file_clean(create->directory);
    create->generation = highest + 1;

    for (i = 0; i < VOC_CREATE_TRIES && rc == 0; i++) {
        rc = voc_create_temp(create);
    }

    if (rc == 0) {
        voc_create_failed(create, EAGAIN, "lock a journal");
    }

    if (rc == 1) {
        voc_point(VOC_POINT_TEMPORARY, NULL);
    }

    if (rc == 1 && voc_create_fill(create) == 0 &&
        voc_create_publish(create) == 0) {
        return 0;
    }

    if (create->fd != -1) {
        unlinkat(create->directory, create->temp, 0);
        close(create->fd);
        create->fd = -1;
    }

    return -1;
}

static voc_journal_t *
voc_create_mapped(voc_create_t *create, const char *path)
{
    voc_journal_t *journal;
    uint64_t start = create->fd == -1 ? 0 : VOC_FILE_WINDOW + create->window;
    void *map;

    journal = voc_journal_new(path, create->error);
    if (journal == NULL) {
        return NULL;
    }

    map = mmap(NULL, start + create->size, PROT_READ | PROT_WRITE,
               create->fd == -1 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED,
               create->fd, 0);
    if (map == MAP_FAILED) {
        voc_journal_error(create->error, errno,
                          "cannot map %" PRIu64 " bytes of journal \"%s\"",
                          create->size, path);
        voc_journal_close(journal);
        return NULL;
    }

    voc_journal_set_id(journal, create->id);
    voc_journal_set_size(journal, create->size);
    journal->map = map;
    journal->map_size = start + create->size;
    journal->ring_at = start;
    journal->ring.bytes = (char *)map + start;
    journal->window = journal->ring;
    journal->phase = VOC_RECOVER_DONE;
    atomic_store(&journal->shared->turn, 1);

    if (create->fd != -1 && voc_window_map(journal, create->fd, create->window,
                                           PROT_READ | PROT_WRITE) == -1) {
        voc_journal_error(create->error, errno,
                          "cannot map the window of journal \"%s\"", path);
        voc_journal_close(journal);
        return NULL;
    }

    return journal;
}

static voc_journal_t *
voc_create_in_directory(voc_create_t *create)
{
    const char *directory = create->options->directory;
    voc_journal_t *journal = NULL;
    char *path = NULL;

    create->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (create->directory == -1) {
        voc_create_failed(create, errno, "create a journal");
        return NULL;
    }

    if (voc_create_file(create) == 0) {
        if (asprintf(&path, "%s/%s", directory, create->name) == -1) {
            path = NULL;
            voc_create_failed(create, ENOMEM, "create a journal");
        } else {
            journal = voc_create_mapped(create, path);
        }

        if (journal != NULL) {
            journal->fd = create->fd;
        } else {
            unlinkat(create->directory, create->name, 0);
            close(create->fd);
        }
    }

    free(path);
    close(create->directory);
    return journal;
}

voc_journal_t *
voc_journal_create(const voc_journal_options_t *options, voc_error_t *error)
{
    voc_create_t create;

    memset(&create, 0, sizeof(create));
    create.options = options;
    create.error = error;
    create.fd = -1;

    if (options->size < VOC_JOURNAL_SIZE_MIN ||
        options->size > VOC_JOURNAL_SIZE_MAX) {
        voc_journal_error(error, EINVAL,
                          "a journal of %" PRIu64 " bytes, expected %d to "
                          "%llu",
                          options->size, VOC_JOURNAL_SIZE_MIN,
                          VOC_JOURNAL_SIZE_MAX);
        return NULL;
    }

    create.size = (options->size + VOC_FILE_PAGE - 1) / VOC_FILE_PAGE *
                  VOC_FILE_PAGE;
    create.window = voc_window_size(create.size);

    if (options->directory != NULL) {
        return voc_create_in_directory(&create);
    }

    return voc_create_id(&create) == 0 ? voc_create_mapped(&create, "")
                                       : NULL;
}

/* ---- deleting ------------------------------------------------------------ */

int
voc_journal_retire(voc_journal_t *journal, voc_error_t *error)
{
    char *path = journal->path, *slash = strrchr(path, '/');
    int directory, rc = 0;

    if (slash == NULL) {
        voc_journal_close(journal);
        return 0;
    }

    *slash = '\0';
    directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *slash = '/';

    if (directory == -1) {
        rc = errno;

    } else {
        /* Under our name may stand another's file by now: not ours. */
        if (voc_file_is(directory, slash + 1, journal->fd) &&
            unlinkat(directory, slash + 1, 0) == -1 && errno != ENOENT) {
            rc = errno;
        } else {
            voc_point(VOC_POINT_DELETED, journal);
            if (fsync(directory) == -1) {
                rc = errno;
            }
        }
        close(directory);
    }

    if (rc != 0) {
        voc_journal_error(error, rc, "cannot delete journal \"%s\"", path);
        return -1;
    }

    voc_journal_close(journal);
    return 0;
}
