/*
 * Copies to and from a mapped file that may shrink, or whose disk may fail,
 * while it is mapped: the SIGBUS becomes a return value.
 */

#ifndef VOC_GUARD_H
#define VOC_GUARD_H

#include "voc_types.h"

/*
 * Installs the SIGBUS handler, for the process and all it forks; nothing is
 * done where it is there.  A SIGBUS outside a guarded copy still has its
 * default effect.  0, or -1 with errno.
 */
int voc_guard_install(void);

/* memcpy(); 0, or -1 where the mapping did not hold. */
int voc_guard_copy(void *to, const void *from, size_t size);

#endif
