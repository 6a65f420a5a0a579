/*
 * What is said to Redis, and what its answers mean.  hiredis writes and reads
 * RESP; this file knows the commands, the script and the errors.
 */

#ifndef VOC_REDIS_H
#define VOC_REDIS_H

#include "voc_types.h"

/* What an answer asks of the pusher. */
typedef enum {
    VOC_REPLY_OK,
    VOC_REPLY_BACKOFF,   /* keep the events, try again soon on this connection */
    VOC_REPLY_REDISCOVER,/* close, look again who the master is */
    VOC_REPLY_HOLD,      /* 1 to 30 s, stay connected */
    VOC_REPLY_DENIED,    /* credentials or permissions: at least 30 s, alert */
    VOC_REPLY_BLOCKED,   /* wrong type and the like: hold the queue, alert */
    VOC_REPLY_NOSCRIPT,  /* send the script itself */
    VOC_REPLY_CLOSE      /* protocol error: close, never reuse */
} voc_reply_e;

/* The action for an error reply, without its leading '-'. */
voc_reply_e voc_redis_error(voc_str_t error);

/*
 * One batch, atomic, repeatable and fenced: if the cursor is expected, RPUSH
 * all and SET the cursor.  Answers with the cursor as it stands afterwards,
 * "" for none: anything but the new one means that nothing was pushed.
 *   KEYS  list, cursor    ARGV  expected cursor, new cursor, event ...
 */
extern const char voc_redis_push_script[];
extern const char voc_redis_push_sha1[41]; /* lower case, NUL at the end */

/* A command in RESP, ready to send.  Freed with voc_redis_free(). */
typedef struct {
    char *data; /* NULL: no memory */
    size_t len;
} voc_redis_command_t;

voc_redis_command_t voc_redis_format(unsigned argc, const voc_str_t *argv);
void voc_redis_free(voc_redis_command_t *command);

/* <key>:cursor:<id>, with the key's own hash tag or {key}; out holds
 * key.len + 64 bytes.  Returns the length. */
size_t voc_redis_cursor_key(char *out, voc_str_t key, voc_str_t journal_id);

#endif
