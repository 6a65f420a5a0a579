/*
 * Copies to and from a mapped file that may shrink, or whose disk may fail,
 * while it is mapped: the SIGBUS becomes a return value.
 */

#ifndef VOC_GUARD_H
#define VOC_GUARD_H

#include <setjmp.h>

#include "voc_types.h"

/*
 * Installs the SIGBUS handler, for the process and all it forks; nothing is
 * done where it is there.  A SIGBUS outside a guarded copy still has its
 * default effect.  0, or -1 with errno.
 */
int voc_guard_install(void);

typedef struct {
    sigjmp_buf env;
} voc_guard_t;

/*
 * 0, and what follows is guarded until voc_guard_leave(); or, when that has
 * met a SIGBUS, here once more: -1, and nothing is guarded any more.  What is
 * guarded calls nothing that must not be left half done.
 */
#define voc_guard_enter(guard)                                               \
    (sigsetjmp((guard)->env, 0) == 0 ? voc_guard_set(guard) : -1)

int voc_guard_set(voc_guard_t *guard); /* 0 */
void voc_guard_leave(void);

/* memcpy(); 0, or -1 where the mapping did not hold. */
int voc_guard_copy(void *to, const void *from, size_t size);

#endif
