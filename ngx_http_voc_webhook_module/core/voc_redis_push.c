/* The transaction that puts a batch on the list. */

#include "voc_redis_push.h"

#include <stdio.h>

/* "*1\r\n$5\r\nMULTI\r\n*<n>\r\n$5\r\nRPUSH\r\n$<n>\r\n<list>\r\n" */
#define VOC_REDIS_PUSH_HEAD                                                  \
    (sizeof("*1\r\n$5\r\nMULTI\r\n*\r\n$5\r\nRPUSH\r\n$\r\n\r\n") +          \
     2 * VOC_REDIS_NUMBER)

const char voc_redis_commit_script[] =
    "if redis.call('LINDEX', KEYS[1], -1) ~= ARGV[4] then\n"
    "    return redis.error_reply('ERR the list does not end with the "
    "batch')\n"
    "end\n"
    "local cursor = redis.pcall('GET', KEYS[2]) or ''\n"
    "if cursor == ARGV[1] then\n"
    "    cursor = redis.pcall('SET', KEYS[2], ARGV[2])\n"
    "    if not cursor.err then\n"
    "        return ARGV[2]\n"
    "    end\n"
    "end\n"
    "redis.call('LTRIM', KEYS[1], 0, -1 - ARGV[3])\n"
    "return cursor\n";

int
voc_redis_push_reserve(voc_redis_push_t *push, voc_str_t list, size_t len)
{
    size_t head = 0;
    voc_redis_buffer_t *buffer = &push->buffer;

    if (push->count == 0) {
        head = VOC_REDIS_PUSH_HEAD + list.len;
        buffer->start = 0;
        buffer->end = 0;
    }

    if (voc_redis_reserve(buffer, head + VOC_REDIS_BULK_MAX + len) != 0) {
        return -1;
    }

    if (push->count == 0) {
        buffer->start = head;
        buffer->end = head;
        push->digits = 3;
    }

    return 0;
}

char *
voc_redis_push_next(voc_redis_push_t *push, size_t *room)
{
    voc_redis_buffer_t *buffer = &push->buffer;

    *room = buffer->size - buffer->end - VOC_REDIS_BULK_MAX;

    return buffer->data + buffer->end + 1 + push->digits + 2;
}

void
voc_redis_push_add(voc_redis_push_t *push, size_t len)
{
    char number[VOC_REDIS_NUMBER];
    size_t digits = voc_redis_decimal(number, len);
    voc_redis_buffer_t *buffer = &push->buffer;
    char *out = buffer->data + buffer->end;

    if (digits != push->digits) {
        memmove(out + 1 + digits + 2, out + 1 + push->digits + 2, len);
        push->digits = digits;
    }

    *out++ = '$';
    memcpy(out, number, digits);
    out += digits;
    *out++ = '\r';
    *out++ = '\n';

    push->last = (size_t)(out - buffer->data);
    push->last_len = len;

    out += len;
    *out++ = '\r';
    *out++ = '\n';

    buffer->end = (size_t)(out - buffer->data);
    push->count++;
}

/* MULTI, and RPUSH up to its first event, which it ends before. */
static void
voc_redis_push_head(voc_redis_push_t *push, voc_str_t list)
{
    char head[VOC_REDIS_PUSH_HEAD];
    size_t len;
    voc_redis_buffer_t *buffer = &push->buffer;

    len = (size_t)snprintf(head, sizeof(head),
                           "*1\r\n$5\r\nMULTI\r\n"
                           "*%u\r\n$5\r\nRPUSH\r\n$%zu\r\n",
                           2 + push->count, list.len);

    buffer->start -= len + list.len + 2;
    memcpy(buffer->data + buffer->start, head, len);
    memcpy(buffer->data + buffer->start + len, list.data, list.len);
    memcpy(buffer->data + buffer->start + len + list.len, "\r\n", 2);
}

int
voc_redis_push_end(voc_redis_push_t *push, voc_str_t list, voc_str_t cursor,
                   voc_str_t expected, voc_str_t next)
{
    char count[VOC_REDIS_NUMBER];
    voc_redis_buffer_t *buffer = &push->buffer;
    voc_str_t exec = voc_str("EXEC");
    voc_str_t commit[] = {voc_str("EVAL"),
                          {voc_redis_commit_script, 0},
                          voc_str("2"),
                          list,
                          cursor,
                          expected,
                          next,
                          {count, 0},
                          {NULL, push->last_len}};

    commit[1].len = strlen(voc_redis_commit_script);
    commit[7].len = voc_redis_decimal(count, push->count);
    commit[8].data = buffer->data + push->last;

    voc_redis_push_head(push, list);

    if (voc_redis_append(buffer, 9, commit) != 0 ||
        voc_redis_append(buffer, 1, &exec) != 0) {
        return -1;
    }

    return 0;
}
