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
 * "" for none: anything but the new one means that nothing was pushed.  The
 * SET before RPUSH changes nothing: where the user may not SET, the script
 * has to fail before it has pushed, or each try would push once more.
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

/* 1 where a list may have this name: a '}' that closes no hash tag leaves no
 * name for a cursor in the list's slot. */
int voc_redis_key_valid(voc_str_t key);

/* <key>:cursor:<id>, with the key's own hash tag or {key}; out holds
 * key.len + 64 bytes.  Returns the length. */
size_t voc_redis_cursor_key(char *out, voc_str_t key, voc_str_t journal_id);

/* ---- replies ----------------------------------------------------------- */

typedef enum {
    VOC_REDIS_STRING,
    VOC_REDIS_STATUS,
    VOC_REDIS_ERROR,
    VOC_REDIS_INTEGER,
    VOC_REDIS_NIL,
    VOC_REDIS_ARRAY,
    VOC_REDIS_OTHER
} voc_redis_type_e;

#define VOC_REDIS_TEXT_MAX 512 /* bytes kept of a reply's text */

/* Of an array only the first element's text is kept, if it is a string. */
typedef struct {
    voc_redis_type_e type;
    voc_str_t text; /* len is at most VOC_REDIS_TEXT_MAX */
    int cut;        /* there was more of it */
} voc_redis_reply_t;

typedef struct voc_redis_reader_s voc_redis_reader_t;

voc_redis_reader_t *voc_redis_reader_create(void); /* NULL: no memory */
void voc_redis_reader_free(voc_redis_reader_t *reader);

/* 0, or -1: no memory, and the reader is of no more use. */
int voc_redis_reader_feed(voc_redis_reader_t *reader, const char *data,
                          size_t len);

/*
 * 1 and the next reply, which holds until the next call; 0 where it is not
 * complete; -1 where this is no RESP.  *unread gets the bytes fed that belong
 * to no complete reply.
 */
int voc_redis_reader_get(voc_redis_reader_t *reader, voc_redis_reply_t *reply,
                         size_t *unread);

#endif
