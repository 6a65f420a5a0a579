/*
 * Journals as bytes, written by the book (docs/journal-format.md) and without
 * core's own writer: always the same, so that an input stays what it is.
 */

#ifndef JOURNAL_IMAGE_H
#define JOURNAL_IMAGE_H

#include "fuzz.h"

#include "voc_crc32c.h"
#include "voc_journal_file.h"

#define IMAGE_ID      "0123456789abcdef"
#define IMAGE_NAME    "0000000000000001-" IMAGE_ID ".journal"
#define IMAGE_RING    VOC_JOURNAL_SIZE_MIN
#define IMAGE_WINDOW  (IMAGE_RING / 4)
#define IMAGE_RING_AT (VOC_FILE_WINDOW + IMAGE_WINDOW)
#define IMAGE_SIZE    (IMAGE_RING_AT + IMAGE_RING)
#define IMAGE_RECORDS (IMAGE_RING / VOC_RECORD_HEADER)
#define IMAGE_TIME    1700000000000ULL /* ms */

typedef struct {
    uint8_t bytes[IMAGE_SIZE];
    uint64_t moved; /* offset: what is behind it, only the window has */
    voc_file_record_t records[IMAGE_RECORDS]; /* all that validate, by seq */
    unsigned n;
    uint64_t seq, end; /* of the last one */
} image_t;

static inline uint32_t
image_seeded(const void *data, size_t size)
{
    return voc_crc32c(voc_crc32c(0, IMAGE_ID, 16), data, size);
}

static inline void
image_header(uint8_t *bytes, voc_file_header_t *header)
{
    header->crc = voc_crc32c(0, header, 68);
    memcpy(bytes, header, sizeof(*header));
}

static inline void
image_slot(uint8_t *bytes, uint64_t turn, uint64_t seq, uint64_t offset)
{
    voc_file_slot_t slot = {.turn = turn, .seq = seq, .offset = offset};

    slot.crc = image_seeded(&slot, 24);
    memcpy(bytes + 4096 + 2048 * (turn % 2), &slot, sizeof(slot));
}

/* The record's crc over what stands behind its header; 0: no room there. */
UNSEEN static inline int
image_sign(uint8_t *ring, size_t have, voc_file_record_t *record)
{
    size_t place = record->offset % have;
    uint32_t crc;

    if (have - place < 40 || record->length > have - place - 40) {
        return 0;
    }

    record->magic = VOC_RECORD_MAGIC;
    crc = image_seeded(&record->seq, 32);
    record->crc = voc_crc32c(crc, ring + place + 40, record->length);
    memcpy(ring + place, record, 40);
    return 1;
}

/* 1 where a record is valid at place of the ring, all rules in one. */
UNSEEN static inline int
image_valid(const uint8_t *ring, uint64_t have, uint64_t size, uint64_t place,
            voc_file_record_t *record)
{
    uint64_t quarter = size / 4 - 40, room;

    if (place % 8 != 0 || place >= have || have - place < 40) {
        return 0;
    }

    memcpy(record, ring + place, 40);
    room = have - place - 40;
    return record->magic == 0xF81EFE01U && record->seq != 0 &&
           record->seq < 1ULL << 63 &&
           record->kind == 0 && record->offset % size == place &&
           record->length <= quarter && record->length <= 1048576 &&
           (record->length + 7ULL) / 8 * 8 <= room &&
           record->crc == voc_crc32c(image_seeded(&record->seq, 32),
                                     ring + place + 40, record->length);
}

static inline int
image_by_seq(const void *one, const void *other)
{
    const voc_file_record_t *a = one, *b = other;

    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

UNSEEN static inline void
image_append(image_t *image, uint32_t length)
{
    uint8_t *ring = image->bytes + IMAGE_RING_AT;
    voc_file_record_t record = {.seq = ++image->seq,
                                .offset = image->end,
                                .accepted = IMAGE_TIME + image->seq,
                                .length = length};
    uint64_t place = image->end % IMAGE_RING, need = (length + 47) / 8 * 8;
    uint32_t i;

    if (IMAGE_RING - place < need) {
        if (IMAGE_RING - place >= 40) {
            memset(ring + place, 0, 8);
        }
        record.offset += IMAGE_RING - place;
        place = 0;
    }

    for (i = 0; i < length; i++) {
        ring[place + 40 + i] = (uint8_t)(' ' + (image->seq * 7 + i) % 90);
    }

    must(image_sign(ring, IMAGE_RING, &record));
    image->end = record.offset + need;
}

/* n records, of from to to bytes; the tail lies pending records back. */
UNSEEN static inline void
image_make(image_t *image, unsigned n, uint32_t from, uint32_t to,
           unsigned pending)
{
    voc_file_header_t header = {.version = 1,
                                .byte_order = 0x01020304,
                                .header_size = IMAGE_RING_AT,
                                .size = IMAGE_RING,
                                .generation = 1,
                                .created = IMAGE_TIME};
    voc_file_record_t record;
    uint64_t place;
    unsigned i;

    memset(image, 0, sizeof(*image));
    memcpy(header.magic, "VOCJRNL\n", 8);
    memcpy(header.id, IMAGE_ID, 16);
    image_header(image->bytes, &header);
    image_slot(image->bytes, 0, 0, 0);
    image_slot(image->bytes, 1, 0, 0);

    for (i = 0; i < n; i++) {
        image_append(image, from + i * 997 % (to - from + 1));
        if (i + pending < n) {
            image_slot(image->bytes, i + 2, image->seq, image->end);
        }
    }

    for (place = 0; place < IMAGE_RING; place += 8) {
        if (image_valid(image->bytes + IMAGE_RING_AT, IMAGE_RING, IMAGE_RING,
                        place, &record)) {
            image->records[image->n++] = record;
        }
    }
    qsort(image->records, image->n, sizeof(record), image_by_seq);
    must(n == 0 || image->records[image->n - 1].seq == n);
    image->moved = image->end;
}

/* Its window has the last ones; n of these the ring has not. */
UNSEEN static inline void
image_window(image_t *image, unsigned n)
{
    uint8_t *ring = image->bytes + IMAGE_RING_AT;
    uint64_t at = image->end > IMAGE_WINDOW ? image->end - IMAGE_WINDOW : 0;

    image->moved = image->records[image->n - n].offset;

    for (; at < image->end; at++) {
        image->bytes[VOC_FILE_WINDOW + at % IMAGE_WINDOW] =
            ring[at % IMAGE_RING];
        if (at >= image->moved) {
            ring[at % IMAGE_RING] = 0;
        }
    }
}

#define IMAGES_N 11

/*
 * Empty; one lap; several, with much, all, nothing pending; tiny; large; all
 * with an empty window.  Then: one, some, all that is there in it alone.
 */
static inline const image_t *
image(unsigned which)
{
    static image_t images[IMAGES_N];
    image_t *made = &images[which % IMAGES_N];

    if (made->bytes[0] != 0) {
        return made;
    }

    switch (which % IMAGES_N) {
    case 0:
        image_make(made, 0, 0, 0, 0);
        break;
    case 1:
        image_make(made, 5, 100, 300, 5);
        break;
    case 2:
        image_make(made, 140, 0, 3000, 30);
        break;
    case 3:
        image_make(made, 150, 100, 2000, 0);
        break;
    case 4:
        image_make(made, 12, 9000, 16000, 3);
        break;
    case 5:
        image_make(made, 3000, 0, 16, 700);
        break;
    case 6:
        image_make(made, 130, 500, 1500, 20);
        memset(made->bytes + 4096, 0, 4096); /* no tail */
        break;
    case 7:
        image_make(made, 60, 200, 400, 60);
        break;
    case 8:
        image_make(made, 170, 100, 1500, 40);
        image_window(made, 1);
        break;
    case 9:
        image_make(made, 300, 100, 900, 60);
        image_window(made, 12);
        break;
    default:
        image_make(made, 20, 100, 900, 20);
        image_window(made, 20);
        break;
    }

    return made;
}

#endif
