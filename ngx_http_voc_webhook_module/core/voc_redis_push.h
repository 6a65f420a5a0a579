/*
 * A batch of events on its way to the list, as one transaction:
 *
 *   MULTI
 *   RPUSH  list event ...
 *   EVAL   commit 2 list cursor  expected new count last-event
 *   EXEC
 *
 * The commit moves the cursor or takes the events back; nobody sees the list
 * in between.  The events are not arguments of the script, since those cost
 * Redis twice as much as RPUSH alone.  They are bulk strings from the start,
 * written where the journal is read to; the commands around are hiredis'.
 */

#ifndef VOC_REDIS_PUSH_H
#define VOC_REDIS_PUSH_H

#include "voc_redis.h"

/*
 * Atomic, repeatable and fenced: the cursor becomes the new one if it is the
 * expected one; else, or where it may not be set, the batch is taken off the
 * list again.  Answers with the cursor as it stands afterwards, "" for none:
 * anything but the new one means that nothing was pushed.  Where RPUSH failed
 * the list does not end with the batch, and is left alone.
 */
extern const char voc_redis_commit_script[];

/* +OK, +QUEUED, +QUEUED, and EXEC's array: of RPUSH, of the commit. */
#define VOC_REDIS_PUSH_REPLIES 4

/* An event's own bytes aside. */
#define VOC_REDIS_BULK_MAX (sizeof("$\r\n\r\n") + VOC_REDIS_NUMBER)

typedef struct {
    voc_redis_buffer_t buffer;
    unsigned count;  /* events; 0: the buffer is empty */
    size_t last;     /* the last one: where it is in the buffer, */
    size_t last_len; /* its bytes, */
    size_t digits;   /* and the digits of that number: the next one's guess */
} voc_redis_push_t;

/* Room for an event of len bytes in all; 0, or -1: no memory. */
int voc_redis_push_reserve(voc_redis_push_t *push, voc_str_t list,
                           size_t len);

/* Where the next event is to be written, behind a reserve: *room bytes. */
char *voc_redis_push_next(voc_redis_push_t *push, size_t *room);

/* An event of len bytes stands there. */
void voc_redis_push_add(voc_redis_push_t *push, size_t len);

/* Makes the buffer the whole transaction; 0, or -1: no memory, and the push
 * is of no more use.  A count of 0 makes it an empty one. */
int voc_redis_push_end(voc_redis_push_t *push, voc_str_t list,
                       voc_str_t cursor, voc_str_t expected, voc_str_t next);

#endif
