/*
 * The journal: a fixed-size ring of records in a file, or in memory.  Every
 * worker appends; one reader takes records off and acknowledges them.  Each
 * start makes a fresh file; a file that an earlier start left behind is read
 * and deleted, never written.  docs/journal-format.md has the whole format.
 *
 *   file      | header | tail | ring ...                              |
 *   ring          ^ reusable ^ tail   pending    ^ head   reusable
 *
 * Offsets are logical: they only grow, and the place in the ring is the
 * offset modulo the ring's size.  A record holds its own offset, so what an
 * earlier lap left at the same place never validates.
 *
 * What the processes share while they run (lock, head, sequence number) is
 * not in the file but in memory inherited over fork(): a file that is
 * truncated or lost takes no lock along, and no lock outlives its processes.
 */

#ifndef VOC_JOURNAL_H
#define VOC_JOURNAL_H

#include <sys/types.h>

#include "voc_types.h"

#define VOC_JOURNAL_ID_LEN      16                  /* hexadecimal digits */
#define VOC_JOURNAL_SIZE_MIN    (64 * 1024)         /* bytes of ring */
#define VOC_JOURNAL_SIZE_MAX    (1024ULL << 30)     /* bytes of ring */
#define VOC_JOURNAL_PAYLOAD_MAX (1024 * 1024)       /* bytes, also ring / 4 */
#define VOC_JOURNAL_LOCK_WAIT   400                 /* ms, at most, for the lock */
#define VOC_JOURNAL_SLICE       (4 * 1024 * 1024)   /* bytes scanned at once */

typedef struct voc_journal_s voc_journal_t;

typedef enum {
    VOC_JOURNAL_OK,
    VOC_JOURNAL_EMPTY,     /* nothing (more) there */
    VOC_JOURNAL_AGAIN,     /* a slice is done, call again */
    VOC_JOURNAL_FULL,      /* no room until records are acknowledged */
    VOC_JOURNAL_TOO_LARGE, /* the payload is longer than a record may be */
    VOC_JOURNAL_SMALL,     /* the next record is larger than the buffer */
    VOC_JOURNAL_BUSY,      /* the lock could not be had in time */
    VOC_JOURNAL_REFUSED,   /* not a file of ours to read; left alone */
    VOC_JOURNAL_FAILED     /* the file is gone, or its disk failed: final */
} voc_journal_rc;

typedef struct {
    const char *directory; /* exists; NULL: in memory only */
    uint64_t size;         /* of the ring, bytes; rounded up to a page */
    uid_t uid;             /* owner of the file, (uid_t) -1: unchanged */
    gid_t gid;
} voc_journal_options_t;

/*
 * A fresh journal, shared by this process and all it forks from now on.  All
 * its blocks are allocated, and its name is on the disk, when this returns.
 * NULL with *error (no room, no permission), whose text names the directory
 * and the cause.
 */
voc_journal_t *voc_journal_create(const voc_journal_options_t *options,
                                  voc_error_t *error);

/*
 * Unmaps and closes; the file stays.  The file's lock ends with the last
 * process that holds the journal.
 */
void voc_journal_close(voc_journal_t *journal);

/*
 * Keeps the status only: unmaps the ring and closes the file, so that its
 * room and its lock are left to the other processes.
 */
void voc_journal_detach(voc_journal_t *journal);

/*
 * Deletes the file, makes that durable, closes.  Blocks on the disk.  0, or
 * -1 with *error, and the journal is still open and locked.
 */
int voc_journal_retire(voc_journal_t *journal, voc_error_t *error);

voc_str_t voc_journal_id(const voc_journal_t *journal); /* 16 digits */
const char *voc_journal_path(const voc_journal_t *journal); /* "" in memory */
uint64_t voc_journal_size(const voc_journal_t *journal);    /* of the ring */
uint64_t voc_journal_payload_max(const voc_journal_t *journal);

typedef struct {
    uint64_t head;    /* the last record's sequence number, 0: none yet */
    uint64_t tail;    /* the last acknowledged one's */
    uint64_t pending; /* records: head - tail */
    uint64_t bytes;   /* of ring between them */
} voc_journal_status_t;

void voc_journal_status(const voc_journal_t *journal,
                        voc_journal_status_t *status);

/* ---- appending, from any process ------------------------------------- */

/*
 * Appends a record and gives it the next sequence number.  now: milliseconds
 * since the epoch.  OK, FULL, TOO_LARGE, BUSY or FAILED; never waits longer
 * than VOC_JOURNAL_LOCK_WAIT, and not at all while the wait before was in vain.
 */
voc_journal_rc voc_journal_append(voc_journal_t *journal, const void *payload,
                                  size_t length, uint64_t now, uint64_t *seq);

/* 1 where the reader sleeps and the caller is the one who has to wake it. */
int voc_journal_must_wake(voc_journal_t *journal);

/*
 * fdatasync(); all records up to *synced were appended before it began.
 * Blocks on the disk; any thread.  The first failure is final: from then on
 * appends return FAILED.  Nothing is done where all is synced already.  OK,
 * BUSY as an append (try again) or FAILED, with *error.
 */
voc_journal_rc voc_journal_sync(voc_journal_t *journal, uint64_t *synced,
                                voc_error_t *error);

/* The last record known to be on the disk, by any process. */
uint64_t voc_journal_synced(const voc_journal_t *journal);

/*
 * Looks whether the file still is what it was (size, link count); FAILED,
 * and *error, once it is not.  A few system calls: not for every append.
 */
voc_journal_rc voc_journal_check(voc_journal_t *journal, voc_error_t *error);

/* ---- reading, from one process ---------------------------------------- */

typedef struct {
    voc_journal_t *journal;
    uint64_t offset;  /* where the next record is looked for */
    uint64_t next;    /* its sequence number */
    int scanning;     /* stepping to the next record that validates */
} voc_journal_reader_t;

typedef struct {
    uint64_t seq;
    uint64_t lost;     /* records before it that could not be read */
    uint64_t offset;   /* where the record stands */
    uint64_t end;      /* the offset behind it, for acknowledge */
    uint64_t accepted; /* milliseconds since the epoch */
    uint32_t length;   /* of the payload, bytes */
} voc_journal_record_t;

/*
 * Stands the reader behind record number seq.  Behind the tail's number it
 * walks on; before it, it searches what the ring still holds of older records.
 */
void voc_journal_seek(voc_journal_reader_t *reader, voc_journal_t *journal,
                      uint64_t seq);

/*
 * Copies the next record's payload into buffer.  OK, EMPTY, AGAIN, or SMALL
 * (record->length tells what it needs; the reader stays).  A record that does
 * not validate is stepped over, to the next with a higher number.  Where the
 * last ones do not validate there is no next: EMPTY, this once with
 * record->lost > 0, and seq and end to acknowledge them with.
 */
voc_journal_rc voc_journal_read(voc_journal_reader_t *reader, void *buffer,
                                size_t size, voc_journal_record_t *record);

/*
 * All up to record seq, which ends at offset end, is done with; its room may
 * be used again.  Never moves backwards.  OK, BUSY (try again) or FAILED: the
 * tail has moved for this run, but not in the file.
 */
voc_journal_rc voc_journal_acknowledge(voc_journal_t *journal, uint64_t seq,
                                       uint64_t end);

/*
 * Takes acknowledged records back: the tail returns to just before record,
 * so that it and all after it are pending again.  EMPTY where its room has
 * been used meanwhile: seek again.
 */
voc_journal_rc voc_journal_retain(voc_journal_t *journal,
                                  const voc_journal_record_t *record);

/*
 * The reader is about to sleep.  1: it may, the append of a record behind
 * number seq will be told to wake it; 0: that is there already.
 */
int voc_journal_sleep(voc_journal_t *journal, uint64_t seq);
void voc_journal_awake(voc_journal_t *journal); /* nobody need wake it */

/* ---- what an earlier start left behind --------------------------------- */

#define VOC_JOURNAL_REFUSED_MAX 64 /* files; with that many none is adopted */

typedef struct {
    const char *path;
    uint64_t refused[VOC_JOURNAL_REFUSED_MAX]; /* ids: left alone, reported */
    unsigned nrefused;
} voc_journal_directory_t;

/*
 * Opens the oldest file in the directory that no process holds and locks it.
 * OK; EMPTY: there is none; REFUSED: a file of unknown version, byte order or
 * make, reported in *error once and left alone, call again; FAILED: the
 * directory cannot be read, *error.
 */
voc_journal_rc voc_journal_adopt(voc_journal_directory_t *directory,
                                 voc_journal_t **journal, voc_error_t *error);

/*
 * The same for the pusher of a journal, in turn.  A reload may leave more
 * than one for a while, of this journal and of those that it follows: only
 * one of them drains leftovers, and none that is newer than a journal which
 * others still push.  BUSY: not yet, and nothing else comes before it.
 * mine: the caller was the last one who drained.
 */
voc_journal_rc voc_journal_adopt_next(voc_journal_t *live,
                                      voc_journal_directory_t *directory,
                                      int mine, voc_journal_t **journal,
                                      voc_error_t *error);

/* Called before the fork; previous is closed after journal. */
void voc_journal_follow(voc_journal_t *journal, voc_journal_t *previous);

/* Leaves the file with this id alone from now on. */
void voc_journal_refuse(voc_journal_directory_t *directory, voc_str_t id);

int voc_journal_refused(const voc_journal_directory_t *directory,
                        voc_str_t id);

/* Opens one file for looking at it, without a lock: for voc-journal. */
voc_journal_rc voc_journal_inspect(const char *path, voc_journal_t **journal,
                                   voc_error_t *error);

/*
 * Finds the records of an adopted or inspected file, a slice a call; trusts
 * no stored head.  AGAIN, then OK: status and reading work from here; FAILED:
 * no memory for what its window has.
 */
voc_journal_rc voc_journal_recover(voc_journal_t *journal);

#endif
