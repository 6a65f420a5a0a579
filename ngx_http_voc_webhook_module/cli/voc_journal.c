/* voc-journal: looks into journals; changes nothing. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "voc_journal.h"
#include "voc_json.h"

#define SUFFIX ".journal"

enum { DONE, FAULT, USAGE }; /* exit codes */

static const char help[] =
    "usage: voc-journal ls DIR        the journals of a directory, oldest "
    "first\n"
    "       voc-journal cat FILE      the events it holds, one a line\n"
    "       voc-journal verify FILE   how many of its records are damaged\n"
    "       voc-journal help          this text\n"
    "\n"
    "A file may be in use.  Nothing is written to it.\n"
    "Exit code: 0; 1 where a file is damaged or cannot be read; 2 for wrong\n"
    "usage.\n";

/* The journal with its records found; NULL with *error. */
static voc_journal_t *
open_journal(const char *path, voc_journal_rc *rc, voc_error_t *error)
{
    voc_journal_t *journal;

    *rc = voc_journal_inspect(path, &journal, error);
    if (*rc != VOC_JOURNAL_OK) {
        return NULL;
    }

    do {
        *rc = voc_journal_recover(journal); /* slice by slice */
    } while (*rc == VOC_JOURNAL_AGAIN);

    if (*rc != VOC_JOURNAL_OK) {
        snprintf(error->text, sizeof(error->text),
                 "no memory to read journal \"%s\"", path);
        voc_journal_close(journal);
        return NULL;
    }

    return journal;
}

static voc_journal_t *
open_or_say(const char *path)
{
    voc_journal_t *journal;
    voc_error_t error;
    voc_journal_rc rc;

    journal = open_journal(path, &rc, &error);
    if (journal == NULL) {
        fprintf(stderr, "voc-journal: %s\n", error.text);
    }

    return journal;
}

/* ---- ls ------------------------------------------------------------------ */

static int
is_journal(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name), suffix = sizeof(SUFFIX) - 1;

    return entry->d_name[0] != '.' && length > suffix &&
           strcmp(entry->d_name + length - suffix, SUFFIX) == 0;
}

/* For as long as this looks, an adopter passes the file by; it comes back. */
static int
in_use(const char *path)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), used;

    if (fd == -1) {
        return 0;
    }

    used = flock(fd, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK;
    close(fd);
    return used;
}

static int
list_file(const char *path, const char *name)
{
    voc_journal_status_t status;
    voc_journal_t *journal;
    voc_error_t error;
    voc_journal_rc rc;

    journal = open_journal(path, &rc, &error);
    if (journal == NULL) {
        printf("%s  %-11s\n", name,
               rc == VOC_JOURNAL_REFUSED ? "refused" : "unreadable");
        fprintf(stderr, "voc-journal: %s\n", error.text);
        return FAULT;
    }

    voc_journal_status(journal, &status);
    printf("%s  %-11s  %10" PRIu64 " pending  %14" PRIu64 " bytes\n", name,
           in_use(path) ? "in use" : "left behind", status.pending,
           voc_journal_size(journal));
    voc_journal_close(journal);
    return DONE;
}

static int
command_ls(const char *directory)
{
    struct dirent **entries;
    int i, n, rc = DONE;
    char *path;

    n = scandir(directory, &entries, is_journal, alphasort);
    if (n == -1) {
        fprintf(stderr, "voc-journal: cannot read directory \"%s\": %s\n",
                directory, strerror(errno));
        return FAULT;
    }

    for (i = 0; i < n; i++) {
        if (asprintf(&path, "%s/%s", directory, entries[i]->d_name) == -1) {
            fprintf(stderr, "voc-journal: no memory\n");
            rc = FAULT;
        } else {
            if (list_file(path, entries[i]->d_name) != DONE) {
                rc = FAULT;
            }
            free(path);
        }
        free(entries[i]);
    }

    free(entries);
    return rc;
}

/* ---- cat, verify --------------------------------------------------------- */

typedef struct {
    uint64_t valid;
    uint64_t damaged;
} tally_t;

/*
 * Goes through all records that validate, by their numbers.  What is missing
 * before the first one was overwritten when it had been pushed, as far as the
 * tail says so.
 */
static int
each_record(voc_journal_t *journal, int print, tally_t *tally)
{
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    voc_journal_status_t status;
    size_t size = (size_t)voc_journal_payload_max(journal);
    char seal[VOC_JSON_SEAL_MAX], *payload;
    voc_json_second_t second = {0, ""};
    voc_journal_rc rc;
    uint64_t pushed;

    payload = malloc(size);
    if (payload == NULL) {
        fprintf(stderr, "voc-journal: no memory\n");
        return FAULT;
    }

    memset(tally, 0, sizeof(*tally));
    voc_journal_status(journal, &status);
    voc_journal_seek(&reader, journal, 0);

    do {
        rc = voc_journal_read(&reader, payload, size, &record);
        if (rc == VOC_JOURNAL_AGAIN) {
            continue;
        }

        pushed = tally->valid > 0            ? 0
                 : record.lost < status.tail ? record.lost
                                             : status.tail;
        tally->damaged += record.lost - pushed;

        if (rc == VOC_JOURNAL_OK) {
            tally->valid++;
        }
        if (rc == VOC_JOURNAL_OK && print) {
            fwrite(payload, 1, record.length, stdout);
            fwrite(seal, 1,
                   voc_json_seal(seal, &second, record.accepted,
                                 voc_journal_id(journal), record.seq),
                   stdout);
            putchar('\n');
        }
    } while (rc == VOC_JOURNAL_OK || rc == VOC_JOURNAL_AGAIN);

    free(payload);
    return DONE;
}

static int
command_cat(const char *path)
{
    voc_journal_t *journal = open_or_say(path);
    tally_t tally;
    int rc;

    if (journal == NULL) {
        return FAULT;
    }

    rc = each_record(journal, 1, &tally);
    if (rc == DONE && tally.damaged > 0) {
        fprintf(stderr, "voc-journal: \"%s\": %" PRIu64 " damaged\n", path,
                tally.damaged);
        rc = FAULT;
    }

    voc_journal_close(journal);
    return rc;
}

static int
command_verify(const char *path)
{
    voc_journal_t *journal = open_or_say(path);
    voc_error_t error;
    tally_t tally;
    int rc;

    if (journal == NULL) {
        return FAULT;
    }

    rc = each_record(journal, 0, &tally);
    if (rc == DONE) {
        printf("%s: %" PRIu64 " valid, %" PRIu64 " damaged\n", path,
               tally.valid, tally.damaged);
        rc = tally.damaged > 0 ? FAULT : DONE;
    }

    if (voc_journal_check(journal, &error) != VOC_JOURNAL_OK) {
        fprintf(stderr, "voc-journal: %s\n", error.text);
        rc = FAULT;
    }

    voc_journal_close(journal);
    return rc;
}

/* ---- main ---------------------------------------------------------------- */

static int
run(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const char *argument);
    } commands[] = {
        {"ls", command_ls},
        {"cat", command_cat},
        {"verify", command_verify},
    };
    size_t i;

    if (argc == 2 && (strcmp(argv[1], "help") == 0 ||
                      strcmp(argv[1], "--help") == 0 ||
                      strcmp(argv[1], "-h") == 0)) {
        fputs(help, stdout);
        return DONE;
    }

    for (i = 0; argc == 3 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argv[2]);
        }
    }

    fputs(help, stderr);
    return USAGE;
}

int
main(int argc, char **argv)
{
    int rc = run(argc, argv);

    if (ferror(stdout) || fflush(stdout) == EOF) {
        fprintf(stderr, "voc-journal: cannot write: %s\n", strerror(errno));
        return FAULT;
    }

    return rc;
}
