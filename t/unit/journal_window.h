/* What the tests of the journal's window share. */

#ifndef JOURNAL_WINDOW_H
#define JOURNAL_WINDOW_H

#include "journal_fixture.h"

#define LARGE (WINDOW / 2) /* of payload: goes to the ring at once */

static inline uint64_t
moved(const voc_journal_t *journal)
{
    return atomic_load(&journal->shared->moved);
}

/* A live journal, and what a new start finds of it, have these records. */
static inline void
expect_both(voc_journal_t *journal, uint64_t from, uint64_t to)
{
    uint64_t end = voc_journal_head(journal).end;

    expect_all(journal, from, to);
    voc_journal_close(journal);

    journal = adopt();
    assert_int_equal(voc_journal_head(journal).seq, to);
    assert_int_equal(voc_journal_head(journal).end, end);
    expect_all(journal, from, to);
    voc_journal_close(journal);
}

#endif
