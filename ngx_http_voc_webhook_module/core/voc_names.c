#include "voc_names.h"

/*
 * Where to look for the name first.  Names that share a place cost a few
 * comparisons, whoever chose them: only those that were added are there.
 */
static unsigned
place(voc_str_t name, voc_names_key_t *key)
{
    char padded[16] = {0};

    if (name.len > 0) {
        memcpy(padded, name.data, name.len < 16 ? name.len : 16);
    }

    *key = voc_names_key((voc_str_t){padded, 16});
    return voc_names_place(*key);
}

void
voc_names_begin(voc_names_t *names)
{
    memset(names, 0, sizeof(*names));
    memset(names->table, VOC_NAMES_MAX, sizeof(names->table));
    names->names[VOC_NAMES_MAX].name.len = (size_t)-1;
}

int
voc_names_find(const voc_names_t *names, voc_str_t name)
{
    voc_names_key_t key;
    unsigned i, at = place(name, &key);

    while ((i = names->table[at]) != VOC_NAMES_MAX) {
        if (voc_str_equal(names->names[i].name, name)) {
            return (int)i;
        }
        at = (at + 1) % VOC_NAMES_TABLE;
    }

    return -1;
}

int
voc_names_add(voc_names_t *names, voc_str_t name)
{
    voc_names_key_t key;
    unsigned at = place(name, &key);
    int index = voc_names_find(names, name);

    if (index >= 0 || names->n == VOC_NAMES_MAX) {
        return index;
    }

    while (names->table[at] != VOC_NAMES_MAX) {
        at = (at + 1) % VOC_NAMES_TABLE;
    }

    index = (int)names->n++;
    names->names[index] = (voc_name_t){key, name};
    names->table[at] = (uint8_t)index;
    return index;
}
