/* What redis*.c share. */

#ifndef SIM_REDIS_H
#define SIM_REDIS_H

#include "sim.h"

typedef struct {
    unsigned argc;
    char *argv[ARGS_MAX];
    size_t lens[ARGS_MAX];
} command_t;

/* A transaction while it is carried out. */
typedef struct {
    conn_t *conn;
    redis_state_t *state;
    command_t push;  /* its RPUSH; argc 0: none that succeeded */
    unsigned kept;   /* so many of its events stand at the list's end */
    const char *id;  /* whose cursor the commit moves; NULL: no commit */
    char before[24]; /* that cursor then; "": none */
    int foreign;     /* someone else had set it */
} exec_t;

/* redis.c */
redis_state_t *state_of(const conn_t *c);
cursor_t *cursor_of(redis_state_t *state, const char *id);
void cursor_set(redis_state_t *state, const char *id, const char *value);
const char *cursor_id(const command_t *command, unsigned arg);
void reply_line(conn_t *c, char type, const char *text);
void reply_bulk(conn_t *c, const char *text, size_t len);
int wrong_list(const conn_t *c);
/* Sets the command; its bytes, 0: it is not complete. */
size_t redis_parse(char *data, size_t len, command_t *command);

/* redis_multi.c */
/* A command comes, whatever its answer will be. */
void multi_comes(conn_t *c, const char *name);
/* It was answered with something else. */
void multi_refused(conn_t *c, const char *name);
void multi_begin(conn_t *c);
void multi_queue(conn_t *c, const char *raw, size_t len);
/* Of a transaction whose MULTI was refused. */
void multi_bare(conn_t *c, const command_t *command);
void multi_exec(conn_t *c);
/* The list's last event is this one. */
int list_ends_with(const exec_t *x, const char *item, size_t len);

/* redis_script.c */
void script_run(exec_t *x, const command_t *command);

/* redis_faults.c */
/*
 * An error of what does not keep the pusher from asking at once: it may be
 * the first one of that time, or of the one before.
 */
extern const char error_beside[], error_before[];
int redis_error_due(place_e place);
/* Answers with an error, in other words around it. */
void redis_refuse(conn_t *c, const char *before, const char *error,
                  const char *behind);
/* 1: it has answered, and the command is not carried out. */
int redis_refuses(conn_t *c, const char *name);

#endif
