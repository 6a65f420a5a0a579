/*
 * What is said to Redis, and what its answers mean.  hiredis writes and reads
 * RESP; this file knows the commands and the errors.
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
    VOC_REPLY_CLOSE      /* protocol error: close, never reuse */
} voc_reply_e;

/* The action for an error reply, without its leading '-'. */
voc_reply_e voc_redis_error(voc_str_t error);

/* ---- commands ---------------------------------------------------------- */

#define VOC_REDIS_NUMBER   20 /* digits of a number */
#define VOC_REDIS_ARGS_MAX 16 /* words of a command, but for RPUSH */

/* Numbers are strings in RESP.  Writes up to VOC_REDIS_NUMBER digits, no NUL;
 * returns how many. */
size_t voc_redis_decimal(char *out, uint64_t number);

/* Commands in RESP, to be sent.  All zero: an empty one. */
typedef struct {
    char *data;        /* malloc()ed; NULL: nothing yet */
    size_t size;       /* of data */
    size_t start, end; /* where the commands are in it */
} voc_redis_buffer_t;

/* Room for so many bytes behind its end; 0, or -1: no memory. */
int voc_redis_reserve(voc_redis_buffer_t *buffer, size_t len);
/* One more command, of up to VOC_REDIS_ARGS_MAX words; 0, or -1: no memory,
 * and nothing is changed. */
int voc_redis_append(voc_redis_buffer_t *buffer, unsigned argc,
                     const voc_str_t *argv);
void voc_redis_buffer_free(voc_redis_buffer_t *buffer);

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

/* Of an array only its first text is kept; no data: it has none. */
typedef struct {
    voc_redis_type_e type;
    voc_redis_type_e text_type; /* of an array: STRING, STATUS or ERROR */
    voc_str_t text;             /* len is at most VOC_REDIS_TEXT_MAX */
    int cut;                    /* there was more of it */
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
