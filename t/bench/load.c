/*
 * Sends events at a steady rate, or as fast as they are answered, over plain
 * HTTP; on request takes them off the list at the same time, and tells how long
 * they took, by one clock.
 *
 *   load [-c CONNECTIONS] [-r RATE] [-k KEY] PORT COUNT [REDIS_PORT]
 *
 * RATE is events per second, 0 (default) as fast as they are answered.  Prints
 * one line of JSON, times in ms:
 *   answer   from sent to answered
 *   list     from answered to taken off the list by BLPOP; events that were
 *            there before their answer had been read count as 0
 *   whole    from sent to taken off the list
 *   late     events that were sent more than 1 ms after their time
 */

#include <arpa/inet.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 256
#define SECOND 1000000000LL    /* ns */
#define AHEAD 16               /* commands of the consumer */
#define GIVE_UP 10             /* s without an event, or an answer */

typedef struct {
    size_t event;              /* that an answer is awaited for */
    int busy;
    size_t length;
    char buffer[4096];         /* of the answer */
} connection_t;

static const char *key = "voc:events";
static int port, redis_port, connections = 50;
static long rate;
static size_t count;

static int64_t *sent, *answered, *taken;    /* ns, by event; 0: not yet */
static size_t good, bad, late, arrived;
static connection_t connection[CONNECTIONS_MAX];
static struct pollfd fds[CONNECTIONS_MAX];

static void
die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "");
    exit(1);
}

static int64_t
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static int
open_connection(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
        .sin_port = htons((uint16_t) port) };
    int fd, one = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0
        || connect(fd, (struct sockaddr *) &address, sizeof(address)) != 0
        || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0)
    {
        die("connect");
    }
    return fd;
}

static void
send_event(int i, size_t event)
{
    char request[512];
    int n;

    n = snprintf(request, sizeof(request),
                 "POST /voc?event=inboundCallEnd&date=2026-11-23+14:05:09"
                 "&callid=c%zu&crm_id=usefulid&inboundNumber=611800111222"
                 "&callerid=61288880000&extension=280085&duration=88"
                 "&answeredDuration=77 HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 event);
    connection[i].event = event;
    connection[i].busy = 1;
    connection[i].length = 0;
    sent[event] = now();
    if (send(fds[i].fd, request, (size_t) n, 0) != n) {
        die("send");
    }
}

/* Length of the answer, once its head is there; else 0. */
static size_t
answer_length(const connection_t *c)
{
    const char *end, *field;

    end = strstr(c->buffer, "\r\n\r\n");
    field = strstr(c->buffer, "Content-Length: ");
    if (end == NULL) {
        return 0;
    }
    if (field == NULL || field > end) {
        die("an answer without a length");
    }
    return (size_t) (end + 4 - c->buffer) + strtoul(field + 16, NULL, 10);
}

/* Returns whether the connection is free again. */
static int
read_answer(int i)
{
    connection_t *c = &connection[i];
    size_t length;
    ssize_t n;

    n = recv(fds[i].fd, c->buffer + c->length,
             sizeof(c->buffer) - 1 - c->length, 0);
    if (n <= 0) {
        die("an answer is missing");
    }
    c->length += (size_t) n;
    c->buffer[c->length] = '\0';
    length = answer_length(c);
    if (length == 0 || c->length < length) {
        return 0;
    }

    answered[c->event] = now();
    if (strncmp(c->buffer, "HTTP/1.1 200", 12) == 0) {
        good++;
    } else {
        bad++;
    }
    c->busy = 0;
    return 1;
}

/* Waits for an answer, at most until time. */
static void
wait_until(int64_t time)
{
    struct timespec timeout;
    int64_t left = time - now();
    int i;

    if (left < 0) {
        left = 0;
    }
    timeout.tv_sec = left / SECOND;
    timeout.tv_nsec = left % SECOND;
    if (ppoll(fds, (nfds_t) connections, &timeout, NULL) < 0) {
        die("ppoll");
    }
    for (i = 0; i < connections; i++) {
        if (fds[i].revents) {
            (void) read_answer(i);
        }
    }
}

static void
send_all(void)
{
    int64_t start = now(), due = start, progress = start;
    size_t next = 0, done = 0;
    int i = 0, tried;

    while (done < count) {
        for (tried = 0; tried < connections && next < count; tried++) {
            if (rate) {
                due = start + (int64_t) next * SECOND / rate;
                if (due > now()) {
                    break;
                }
            }
            if (!connection[i].busy) {
                late += rate && now() - due > SECOND / 1000;
                send_event(i, next++);
            }
            i = (i + 1) % connections;
        }
        wait_until(rate && next < count && tried < connections
                   ? due : now() + SECOND);
        if (good + bad > done) {
            done = good + bad;
            progress = now();
        } else if (now() - progress > GIVE_UP * SECOND) {
            die("no answer");
        }
    }
}

/* Notes when an event was taken off the list; false at the end of them. */
static int
take(const redisReply *reply, int64_t time)
{
    const char *callid;
    size_t event;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
        return 0;
    }
    callid = strstr(reply->element[1]->str, "\"callid\":\"c");
    event = callid ? strtoul(callid + 11, NULL, 10) : count;
    if (event >= count || taken[event]) {
        die("an event that was not sent, or twice");
    }
    taken[event] = time;
    return ++arrived < count;
}

/*
 * The consumer.  Some commands are always on their way, so that one event does
 * not wait for the round trip of the one before.
 */
static void *
take_all(void *context)
{
    redisContext *redis = context;
    redisReply *reply;
    int i, more;

    for (i = 0; i < AHEAD; i++) {
        redisAppendCommand(redis, "BLPOP %s %d", key, GIVE_UP);
    }
    do {
        if (redisGetReply(redis, (void **) &reply) != REDIS_OK) {
            break;
        }
        more = take(reply, now());
        freeReplyObject(reply);
        redisAppendCommand(redis, "BLPOP %s %d", key, GIVE_UP);
    } while (more);
    return NULL;
}

static int
compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;

    return (x > y) - (x < y);
}

/* Of to - from, of all events that have both. */
static void
print_times(const char *name, const int64_t *from, const int64_t *to)
{
    static const double share[] = { 0.5, 0.99, 0.999, 1 };
    static const char *title[] = { "p50", "p99", "p999", "max" };
    int64_t *time;
    size_t i, n = 0;

    time = malloc(count * sizeof(*time));
    if (time == NULL) {
        die("malloc");
    }
    for (i = 0; i < count; i++) {
        if (from[i] && to[i]) {
            time[n++] = to[i] > from[i] ? to[i] - from[i] : 0;
        }
    }
    qsort(time, n, sizeof(*time), compare);
    printf(",\"%s\":{", name);
    for (i = 0; n && i < 4; i++) {
        printf("%s\"%s\":%.4f", i ? "," : "", title[i],
               (double) time[(size_t) (share[i] * (double) (n - 1))] / 1e6);
    }
    printf("}");
    free(time);
}

static void
options(int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "c:r:k:")) != -1) {
        switch (option) {
        case 'c': connections = atoi(optarg); break;
        case 'r': rate = atol(optarg); break;
        case 'k': key = optarg; break;
        default: exit(2);
        }
    }
    if (argc - optind < 2 || connections < 1 || connections > CONNECTIONS_MAX) {
        fprintf(stderr, "usage: load [-c CONNECTIONS] [-r RATE] [-k KEY]"
                " PORT COUNT [REDIS_PORT]\n");
        exit(2);
    }
    port = atoi(argv[optind]);
    count = strtoul(argv[optind + 1], NULL, 10);
    redis_port = argc - optind > 2 ? atoi(argv[optind + 2]) : 0;
}

int
main(int argc, char **argv)
{
    redisContext *redis = NULL;
    pthread_t consumer;
    int64_t start;
    int i;

    options(argc, argv);
    sent = calloc(count, sizeof(*sent));
    answered = calloc(count, sizeof(*answered));
    taken = calloc(count, sizeof(*taken));
    if (sent == NULL || answered == NULL || taken == NULL) {
        die("calloc");
    }
    /* Timers to the ns, not to 50 us. */
    prctl(PR_SET_TIMERSLACK, 1);
    for (i = 0; i < connections; i++) {
        fds[i].fd = open_connection();
        fds[i].events = POLLIN;
    }
    if (redis_port) {
        redis = redisConnect("127.0.0.1", redis_port);
        if (redis == NULL || redis->err
            || pthread_create(&consumer, NULL, take_all, redis) != 0)
        {
            die("redis");
        }
    }

    start = now();
    send_all();
    printf("{\"sent\":%zu,\"good\":%zu,\"bad\":%zu,\"late\":%zu,\"seconds\":%.3f",
           count, good, bad, late, (double) (now() - start) / 1e9);
    if (redis_port) {
        pthread_join(consumer, NULL);
        redisFree(redis);
        printf(",\"arrived\":%zu", arrived);
        print_times("list", answered, taken);
        print_times("whole", sent, taken);
    }
    print_times("answer", sent, answered);
    printf("}\n");
    return 0;
}
