/* A few names known beforehand → 0, 1, 2 ...  Nothing is ever removed. */

#ifndef VOC_NAMES_H
#define VOC_NAMES_H

#include "voc_types.h"

#define VOC_NAMES_MAX        64
#define VOC_NAMES_TABLE_BITS 8 /* never more than a quarter full */
#define VOC_NAMES_TABLE      (1u << VOC_NAMES_TABLE_BITS)

/* A name's first 16 bytes, those behind its end 0. */
typedef struct {
    uint64_t low;
    uint64_t high;
} voc_names_key_t;

typedef struct {
    voc_names_key_t key;
    voc_str_t name;
} voc_name_t;

/* Open addressing, linear probing. */
typedef struct {
    unsigned n;
    uint8_t table[VOC_NAMES_TABLE];      /* indexes, VOC_NAMES_MAX: free */
    voc_name_t names[VOC_NAMES_MAX + 1]; /* the last one is like none */
} voc_names_t;

void voc_names_begin(voc_names_t *names);

/*
 * The index of the name, new or not; -1 where there is no room.  Its bytes
 * outlive the names.
 */
int voc_names_add(voc_names_t *names, voc_str_t name);

/* The index of the name, or -1. */
int voc_names_find(const voc_names_t *names, voc_str_t name);

/* Of a padded name of at most 16 bytes. */
static inline voc_names_key_t
voc_names_key(voc_str_t name)
{
    static const _Alignas(32) unsigned char mask[32] = {
        255, 255, 255, 255, 255, 255, 255, 255,
        255, 255, 255, 255, 255, 255, 255, 255,
    };
    const unsigned char *keep = mask + 16;
    voc_names_key_t key;
    uint64_t low, high;

    keep -= name.len;
    memcpy(&key.low, name.data, 8);
    memcpy(&key.high, name.data + 8, 8);
    memcpy(&low, keep, 8);
    memcpy(&high, keep + 8, 8);
    key.low &= low;
    key.high &= high;
    return key;
}

static inline unsigned
voc_names_place(voc_names_key_t key)
{
    return (unsigned)((key.low ^ key.high) * 0xc4ceb9fe1a85ec53 >>
                      (64 - VOC_NAMES_TABLE_BITS));
}

/* voc_names_find() for a padded name: most are found with the first look. */
static inline int
voc_names_find_padded(const voc_names_t *names, voc_str_t name)
{
    const voc_name_t *known;
    voc_names_key_t key;
    size_t i;

    if (name.len <= 16) {
        key = voc_names_key(name);
        i = names->table[voc_names_place(key)];
        known = &names->names[i];
        if (((known->key.low ^ key.low) | (known->key.high ^ key.high) |
             (known->name.len ^ name.len)) == 0) {
            return (int)i;
        }
    }

    return voc_names_find(names, name);
}

#endif
