/*
 * The journal: the pages of its ring that this process has mapped.  All of
 * them stay as they are in the kernel's cache.
 *
 * A mapped page that goes to the disk is protected against writes first, and
 * the next lap's write to it is a fault that ends that again.  To map it anew
 * costs less than half of that, and an unmapped one needs no protection.  So
 * what was appended is unmapped before each sync; and as faults one by one
 * cost more than a call for some pages, those to come are mapped ahead.
 */

#include <sys/mman.h>

#include "voc_journal_file.h"

#define VOC_PAGES_MANY  (1024 * 1024) /* bytes between syncs: worth it */
#define VOC_PAGES_AHEAD (64 * 1024)   /* bytes mapped at once */

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

/* Advice: where it is not taken all works as well. */
static void
voc_pages_advise(const voc_journal_t *journal, uint64_t offset, uint64_t len,
                 int advice)
{
    uint64_t place = offset % journal->size;
    uint64_t first = journal->size - place < len ? journal->size - place : len;

    (void)madvise(journal->ring + place, first, advice);
    if (first < len) {
        (void)madvise(journal->ring, len - first, advice);
    }
}

static uint64_t
voc_pages_start(uint64_t offset)
{
    return offset - offset % VOC_FILE_PAGE;
}

/* But for the head's page, which is about to be written. */
void
voc_journal_unmap(voc_journal_t *journal)
{
    uint64_t end = voc_pages_start(voc_journal_head(journal).end);

    if (end < journal->unmapped + VOC_PAGES_MANY) {
        atomic_store(&journal->mapped, UINT64_MAX);
        return;
    }

    if (end - journal->unmapped > journal->size) {
        journal->unmapped = end - journal->size;
    }

    voc_pages_advise(journal, journal->unmapped, end - journal->unmapped,
                     MADV_DONTNEED);
    journal->unmapped = end;
    atomic_store(&journal->mapped, end);
}

void
voc_journal_map(voc_journal_t *journal, uint64_t offset)
{
    uint64_t mapped = atomic_load(&journal->mapped);

    if (offset + VOC_RECORD_MOST <= mapped) {
        return;
    }

    if (mapped < offset) {
        mapped = voc_pages_start(offset);
    }

    voc_pages_advise(journal, mapped, VOC_PAGES_AHEAD, MADV_POPULATE_WRITE);
    atomic_store(&journal->mapped, mapped + VOC_PAGES_AHEAD);
}
