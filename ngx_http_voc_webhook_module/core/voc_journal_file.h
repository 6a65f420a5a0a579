/*
 * Private to voc_journal*.c and their tests: what stands on the disk, and
 * what is shared in memory.
 *
 *   0          4096        8192       header_size         ... + size
 *   +-----------+-----------+----------+--------------------------+
 *   | header    | slot slot | window   | ring                     |
 *   +-----------+-----------+----------+--------------------------+
 *    once, at    tail, by    the last   records, moved here from
 *    creation    turns       records    the window, many at once
 *
 *   a record, 8-byte aligned, never split at the ring's end:
 *   +-------+-------+-------+--------+----------+--------+------+---------+
 *   | magic | crc   | seq   | offset | accepted | length | kind | payload |
 *   | 4     | 4     | 8     | 8      | 8        | 4      | 4    | length  |
 *   +-------+-------+-------+--------+----------+--------+------+---------+
 *
 * The next record stands behind the last one, or, where it did not fit
 * there, at the start of the next lap.
 */

#ifndef VOC_JOURNAL_FILE_H
#define VOC_JOURNAL_FILE_H

#include <pthread.h>
#include <stdatomic.h>

#include "voc_journal.h"

#define VOC_FILE_MAGIC      "VOCJRNL\n"
#define VOC_FILE_VERSION    1
#define VOC_FILE_BYTE_ORDER 0x01020304U
#define VOC_FILE_PAGE       4096
#define VOC_FILE_SLOTS      VOC_FILE_PAGE /* where the tail page stands */
#define VOC_FILE_SLOT_STEP  2048          /* a torn sector hits one slot */
#define VOC_FILE_WINDOW     (2 * VOC_FILE_PAGE)

typedef struct {
    char magic[8];
    uint32_t version;
    uint32_t byte_order;
    uint32_t header_size; /* where the ring starts */
    uint32_t reserved;
    uint64_t size; /* of the ring, bytes */
    char id[VOC_JOURNAL_ID_LEN];
    uint64_t generation;
    uint64_t created; /* milliseconds since the epoch */
    uint32_t unused;
    uint32_t crc; /* of all before it */
} voc_file_header_t;

/* The tail may also go back, so the slots are numbered on their own. */
typedef struct {
    uint64_t turn; /* the higher one is the newer; slot turn & 1 */
    uint64_t seq;
    uint64_t offset;
    uint32_t crc; /* of all before it, seeded */
    uint32_t unused;
} voc_file_slot_t;

/* Four bytes that no JSON text holds, in either byte order. */
#define VOC_RECORD_MAGIC 0xF81EFE01U
#define VOC_RECORD_EVENT 0 /* the only kind so far */

typedef struct {
    uint32_t magic;
    uint32_t crc; /* of all behind it, seeded with the journal's id */
    uint64_t seq; /* from 1, below VOC_RECORD_SEQ_END */
    uint64_t offset;
    uint64_t accepted; /* milliseconds since the epoch */
    uint32_t length;   /* of the payload, bytes */
    uint32_t kind;
} voc_file_record_t;

_Static_assert(sizeof(voc_file_header_t) == 72, "header");
_Static_assert(sizeof(voc_file_slot_t) == 32, "slot");
_Static_assert(sizeof(voc_file_record_t) == 40, "record");

#define VOC_RECORD_SEQ_END (1ULL << 63) /* so that counting never wraps */
#define VOC_RECORD_HEADER sizeof(voc_file_record_t)
#define VOC_RECORD_MARK   offsetof(voc_file_record_t, seq) /* magic and crc */

/* A position: the last record's number, and the offset behind it. */
typedef struct {
    uint64_t seq;
    uint64_t end;
} voc_position_t;

/*
 * In memory that fork() shares.  head and tail are each published by one
 * store: the slots turn, and the one that is not current may be torn by a
 * process that died while it wrote.
 */
typedef struct {
    _Alignas(64) pthread_mutex_t mutex; /* robust, process-shared */

    _Alignas(64) _Atomic uint64_t seq; /* the head's: the published word */
    _Atomic uint64_t end[2];           /* the head's offset: end[seq & 1] */
    _Atomic uint64_t moved; /* offset, up to which the ring has all records */

    _Alignas(64) _Atomic uint64_t turn; /* the tail's published word */
    _Atomic uint64_t tail_seq[2];       /* both: [turn & 1] */
    _Atomic uint64_t tail_end[2];

    _Alignas(64) _Atomic uint64_t wake_at; /* the record that wakes; 0: none */
    _Atomic int failed; /* errno, for ever; 0: none */
    _Atomic uint64_t synced;
    _Atomic uint64_t drained[2]; /* generation and id of the leftover */
    _Atomic int followed;        /* another journal came in its place */
} voc_journal_shared_t;

/* Mapped, with records in it: each stands at its offset modulo the size. */
typedef struct {
    char *bytes;
    uint64_t size;
    uint64_t have; /* where records end: the window is there twice */
} voc_area_t;

struct voc_journal_s {
    voc_journal_shared_t *shared;
    voc_journal_t *previous; /* that this one follows; NULL: none */
    void *map;       /* the file, or the ring in memory */
    size_t map_size; /* bytes */
    voc_area_t ring;
    voc_area_t window;    /* where records are appended; may be the ring */
    uint64_t size;        /* of the ring */
    uint64_t ring_at;     /* where it starts in the file */
    uint64_t payload_max; /* bytes */
    uint32_t seed;        /* of every CRC: the id's */
    int fd;               /* holds the lock; -1: in memory */
    _Atomic int stuck;    /* the last wait for the lock was in vain */
    int readonly;         /* left behind: the file is never written */
    char id[VOC_JOURNAL_ID_LEN + 1];
    char *path; /* "" in memory */

    /* fdatasync(): one thread of this process at a time */
    pthread_mutex_t sync_lock;
    int sync_fd;
    pid_t sync_pid; /* whose sync_fd it is */

    /* recovery */
    int phase;
    uint64_t scanned;     /* bytes of the area */
    voc_position_t found; /* the highest record so far */
    uint64_t found_at;    /* its offset */
};

enum {
    VOC_RECOVER_RING,
    VOC_RECOVER_WINDOW,
    VOC_RECOVER_MOVED,
    VOC_RECOVER_END,
    VOC_RECOVER_TAIL,
    VOC_RECOVER_DONE
};

/* ---- where a process may stop or die, for the simulator ---- */

typedef enum {
    VOC_POINT_LOCKED,    /* append: the lock is ours, */
    VOC_POINT_MOVED,     /* ... or a sync: the ring has what is published, */
    VOC_POINT_SKIPPED,   /* ... the ring's end is given up, */
    VOC_POINT_PAYLOAD,   /* ... the payload is copied, */
    VOC_POINT_HEADER,    /* ... the header but magic and crc, */
    VOC_POINT_END,       /* ... its end is stored, */
    VOC_POINT_PUBLISHED, /* ... its number: it can be read, */
    VOC_POINT_UNLOCKED,  /* ... the lock is free */
    VOC_POINT_TAIL_FILE, /* acknowledge, retain: the slot is written, */
    VOC_POINT_TAIL_TURN, /* ... the tail stored, not its turn, */
    VOC_POINT_TAIL_DONE, /* ... all is done, the lock still ours */
    VOC_POINT_TEMPORARY, /* create: locked under its temporary name, */
    VOC_POINT_FILLED,    /* ... allocated and written, */
    VOC_POINT_NAMED,     /* ... renamed */
    VOC_POINT_DELETED,   /* retire: the name is gone */
    VOC_POINT_ADOPTED    /* a leftover's turn has come */
} voc_point_e;

/* NULL but in the simulator; journal: NULL while it is created. */
extern void (*voc_journal_point)(voc_point_e point, voc_journal_t *journal);

static inline void
voc_point(voc_point_e point, voc_journal_t *journal)
{
    if (__builtin_expect(voc_journal_point != NULL, 0)) {
        voc_journal_point(point, journal);
    }
}

/* ---- voc_journal.c ---- */

void voc_journal_error(voc_error_t *error, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Memory and defaults of a journal; without file and ring. */
voc_journal_t *voc_journal_new(const char *path, voc_error_t *error);
void voc_journal_set_id(voc_journal_t *journal, const char *id);
void voc_journal_set_size(voc_journal_t *journal, uint64_t size);

/* Sets the failure, for ever, unless there is one; returns FAILED. */
voc_journal_rc voc_journal_fail(voc_journal_t *journal, int number);

/* OK, BUSY or FAILED. */
voc_journal_rc voc_journal_lock(voc_journal_t *journal);
void voc_journal_unlock(voc_journal_t *journal);

voc_position_t voc_journal_head(const voc_journal_t *journal);
voc_position_t voc_journal_tail(const voc_journal_t *journal);
void voc_journal_set_tail(voc_journal_t *journal, voc_position_t tail);

/* From or to an area; 0, or -1 where the file does not hold. */
int voc_journal_copy(const voc_journal_t *journal, void *to, const void *from,
                     size_t size);

uint32_t voc_slot_crc(uint32_t seed, const voc_file_slot_t *slot);

/* Bytes of ring that a record with this payload takes. */
static inline uint64_t
voc_record_size(uint64_t length)
{
    return (VOC_RECORD_HEADER + length + 7) & ~7ULL;
}

/* Bytes of payload at most, for a ring of size bytes. */
static inline uint64_t
voc_payload_max(uint64_t size)
{
    uint64_t quarter = size / 4 - VOC_RECORD_HEADER;

    return quarter < VOC_JOURNAL_PAYLOAD_MAX ? quarter
                                             : VOC_JOURNAL_PAYLOAD_MAX;
}

/* The start of the next lap. */
static inline uint64_t
voc_next_lap(const voc_journal_t *journal, uint64_t offset)
{
    return offset - offset % journal->size + journal->size;
}

/* ---- voc_journal_window.c ---- */

/* Bytes of window, for a ring of size bytes. */
uint64_t voc_window_size(uint64_t size);

/* Maps that of the file; 0, or -1 with errno. */
int voc_window_map(voc_journal_t *journal, int fd, uint64_t size, int prot);

/* In memory, and where a file that was left behind has none, or no more. */
static inline int
voc_window_is_ring(const voc_journal_t *journal)
{
    return journal->window.bytes == journal->ring.bytes;
}

/* From here on the ring is the window. */
void voc_window_unmap(voc_journal_t *journal);

/*
 * All that is published, to the ring; under the lock.  The window is written
 * over only behind this, so the ring has a record before the window loses
 * it.  0 or errno.
 */
int voc_window_move(voc_journal_t *journal);

/* To the file, within one lap; 0 or errno. */
int voc_ring_write(const voc_journal_t *journal, uint64_t offset,
                   const void *bytes, uint64_t size);

/* ---- voc_journal_read.c ---- */

uint32_t voc_record_crc(uint32_t seed, const voc_file_record_t *header);

/*
 * The header of what may be a record at place (bytes into the area): 1 where
 * it looks like one that belongs there; its payload is not looked at.
 */
int voc_record_header(const voc_journal_t *journal, const voc_area_t *area,
                      uint64_t place, voc_file_record_t *header);

/*
 * Copies its payload into buffer, or nowhere (NULL), and says whether header
 * and payload are a record: 1 or 0.
 */
int voc_record_load(const voc_journal_t *journal, const voc_area_t *area,
                    const voc_file_record_t *header, void *buffer);

/*
 * The record at exactly this offset: 1, its payload in buffer unless it is
 * longer than size, or 0.  *cost: grows by the bytes read.
 */
int voc_record_at(const voc_journal_t *journal, uint64_t offset, void *buffer,
                  size_t size, voc_file_record_t *header, uint64_t *cost);

/* The first place before limit where a record's magic stands, or limit. */
uint64_t voc_record_find(const voc_journal_t *journal, const voc_area_t *area,
                         uint64_t place, uint64_t limit);

/* ---- voc_journal_recover.c ---- */

/* Takes fd over.  OK with *journal, else nothing is left. */
voc_journal_rc voc_journal_open(const char *path, int fd,
                                voc_journal_t **journal, voc_error_t *error);

/* ---- voc_journal_create.c ---- */

/* <generation>-<id>.journal, each 16 digits; 46 with ".", ".tmp", no NUL */
#define VOC_FILE_NAME     "%016" PRIx64 "-%016" PRIx64 ".journal"
#define VOC_FILE_NAME_LEN 41
#define VOC_FILE_NAME_ID  17 /* where the id stands in it */

/* The generation in a file's name; 0 where it is no journal's. */
uint64_t voc_file_generation(const char *name);

/* Goes through a directory: calls each() with every name until it is != 0;
 * -1 with errno where the directory cannot be read. */
int voc_file_each(int directory, int (*each)(void *ctx, const char *name),
                  void *ctx);

/* Removes the temporary files of creators that died. */
void voc_file_clean(int directory);

/* 1 where fd is what stands in the directory under this name. */
int voc_file_is(int directory, const char *name, int fd);

#endif
