/* Loads a server with real clients of one kind, and says what it saw.
 *
 *     load KIND PORT PATH CLIENTS IN_FLIGHT BYTES
 *
 * KIND is http, ws-echo, ws-fanout, sio-echo, sio-fanout, sio-poll, sio-connect, ws-connect or
 * http-connect. It connects CLIENTS clients, says "ready" and waits for a line with a number of
 * seconds. So long it loads the server; then it waits for what is under way, and prints one line:
 *
 *     MESSAGES SECONDS P50_US P99_US
 *
 * and ends when its standard input does: until then the clients stay, for memory to be looked at.
 *
 * A message is counted when it has come back whole and right. Each has its own text, so that a
 * server which mixes up, doubles or loses messages fails here and is not measured. Pings of
 * Engine.IO and of WebSocket are answered. In a fan-out the first client speaks and all others
 * are counted: one message is done when each of them has it.
 *
 * It is in C, on one thread and epoll, so that the server is the bottleneck and not the client.
 * Written for servers that behave: no fragments, no trailers, no compression.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_IN_FLIGHT = 64, MAX_EVENTS = 256, MAX_SAMPLES = 1 << 22 };

/* A client's life. Those of Socket.IO pass through all of it, others skip what they don't have. */
enum state { UPGRADING, OPENING, JOINING, READY };

/* One TCP connection, and what has come over it and is not used yet. */
struct wire {
    int fd;
    char *in;
    size_t have, room;
};

struct client {
    struct wire wire, polls;  /* polls: a polling client's second connection, for its GETs */
    enum state state;
    uint64_t life;            /* how often it has connected */
    uint64_t sent, received;
    uint64_t sent_at[MAX_IN_FLIGHT];
    char sid[128];        /* of Engine.IO, where requests must name it */
    int posted, polled;   /* of the round trip under way: is the POST answered, the GET? */
};

static const char *kind, *path;
static int port, clients, in_flight, bytes, epoll, running, ready;
static int socketio, fanout, polling, web, connecting;
static struct client *all;
static uint64_t messages, outstanding, fanout_seen;
static uint32_t *samples, sample_count;
static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, errno ? " (%s)\n" : "\n", strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void write_all(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t sent = write(fd, data, size);
        if (sent <= 0)
            fail("write");
        data += sent;
        size -= (size_t)sent;
    }
}

static int connected(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to))
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void watch(int fd, struct client *client)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)(client - all) << 32 | (uint32_t)fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
}

/* ---- what goes out ---- */

/* The text of message `number` of a client: both numbers, then letters up to the wanted size. */
static size_t text_of(char *to, struct client *client, uint64_t number)
{
    size_t size = (size_t)sprintf(to, "%08x%08x", (unsigned)(client - all), (unsigned)number);
    while (size < (size_t)bytes) {
        to[size] = (char)('a' + size % 26);
        ++size;
    }
    return size;
}

/* The same as it travels: an event of Socket.IO, or nothing but itself. */
static size_t message_of(char *to, struct client *client, uint64_t number)
{
    if (!socketio)
        return text_of(to, client, number);
    size_t size = (size_t)sprintf(to, "42[\"message\",\"");
    size += text_of(to + size, client, number);
    to[size++] = '"';
    to[size++] = ']';
    return size;
}

static void send_frame(int fd, unsigned opcode, const char *payload, size_t size)
{
    static char frame[(1 << 21) + 16];
    size_t head = 2;
    frame[0] = (char)(0x80 | opcode);
    if (size < 126)
        frame[1] = (char)(0x80 | size);
    else if (size < 65536) {
        frame[1] = (char)(0x80 | 126);
        frame[2] = (char)(size >> 8);
        frame[3] = (char)size;
        head = 4;
    } else {
        frame[1] = (char)(0x80 | 127);
        for (int i = 0; i < 8; ++i)
            frame[2 + i] = (char)((uint64_t)size >> (56 - 8 * i));
        head = 10;
    }
    memcpy(frame + head, mask, 4);
    head += 4;
    for (size_t i = 0; i < size; ++i)
        frame[head + i] = (char)((unsigned char)payload[i] ^ mask[i & 3]);
    write_all(fd, frame, head + size);
}

static void send_request(int fd, const char *method, const char *target, const char *more, const char *body)
{
    char head[1024];
    int size = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\n%s", method, target, port, more);
    if (body)
        size += snprintf(head + size, sizeof head - (size_t)size, "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %zu\r\n", strlen(body));
    size += snprintf(head + size, sizeof head - (size_t)size, "\r\n%s", body ? body : "");
    write_all(fd, head, (size_t)size);
}

static void send_upgrade(int fd)
{
    char target[256];
    snprintf(target, sizeof target, socketio ? "%s?EIO=4&transport=websocket" : "%s", path);
    send_request(fd, "GET", target,
                 "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", NULL);
}

static void send_polling(struct client *client, int fd, const char *method, const char *body)
{
    char target[512];
    snprintf(target, sizeof target, "%s?EIO=4&transport=polling&sid=%s", path, client->sid);
    send_request(fd, method, target, "", body);
}

static void send_next(struct client *client)
{
    static char message[(1 << 21) + 64];
    size_t size = message_of(message, client, client->sent);
    client->sent_at[client->sent++ % MAX_IN_FLIGHT] = now_ns();
    ++outstanding;
    if (polling) {
        message[size] = 0;
        client->posted = client->polled = 0;
        send_polling(client, client->wire.fd, "POST", message);
        send_polling(client, client->polls.fd, "GET", NULL);
    } else if (web)
        send_request(client->wire.fd, "GET", path, "", NULL);
    else
        send_frame(client->wire.fd, 1, message, size);
}

/* ---- what comes back ---- */

static void sample(uint64_t since)
{
    ++messages;
    if (sample_count < MAX_SAMPLES)
        samples[sample_count++] = (uint32_t)((now_ns() - since) / 1000);
}

static void check(struct client *from, uint64_t number, const char *got, size_t size)
{
    static char wanted[(1 << 21) + 64];
    size_t length = message_of(wanted, from, number);
    if (length != size || memcmp(wanted, got, size)) {
        errno = 0;
        fail("message %lu of client %ld came back as %.60s", (unsigned long)number, (long)(from - all), got);
    }
}

static void next_or_end(struct client *client)
{
    --outstanding;
    if (running)
        send_next(client);
}

static void take_message(struct client *client, const char *text, size_t size)
{
    struct client *from = fanout ? all : client;
    uint64_t number = client->received++;
    check(from, number, text, size);
    sample(from->sent_at[number % MAX_IN_FLIGHT]);
    if (!fanout)
        next_or_end(client);
    else if (++fanout_seen == (uint64_t)clients - 1) {
        /* Clients are served in order, so the last one to hear a message ends it, mostly; with
         * several in flight a count of deliveries is all that is needed. */
        fanout_seen = 0;
        next_or_end(all);
    }
}

static void start_client(struct client *client);

static void is_ready(struct client *client)
{
    client->state = READY;
    if (!connecting) {
        ++ready;
        return;
    }
    sample(client->sent_at[0]);
    --outstanding;
    close(client->wire.fd);
    client->wire.fd = -1;
    if (running)
        start_client(client);
}

/* A text message of Engine.IO, over either transport. */
static void take_packet(struct client *client, const char *text, size_t size)
{
    if (!socketio)
        take_message(client, text, size);
    else if (text[0] == '2')
        send_frame(client->wire.fd, 1, "3", 1);
    else if (client->state == OPENING && text[0] == '0') {
        client->state = JOINING;
        send_frame(client->wire.fd, 1, "40", 2);
    } else if (client->state == JOINING && size > 2 && text[1] == '0')
        is_ready(client);
    else
        take_message(client, text, size);
}

/* How many bytes of the buffer one frame takes; 0 if it is not whole yet. */
static size_t take_frame(struct client *client, char *data, size_t have)
{
    const unsigned char *head = (unsigned char *)data;
    if (have < 2)
        return 0;
    size_t size = head[1] & 127, start = 2;
    if (size == 126) {
        if (have < 4)
            return 0;
        size = (size_t)head[2] << 8 | head[3];
        start = 4;
    } else if (size == 127) {
        if (have < 10)
            return 0;
        size = 0;
        for (int i = 2; i < 10; ++i)
            size = size << 8 | head[i];
        start = 10;
    }
    if (have < start + size)
        return 0;
    unsigned opcode = head[0] & 15;
    if (opcode == 1)
        take_packet(client, data + start, size);
    else if (opcode == 9)
        send_frame(client->wire.fd, 10, data + start, size);
    else {
        errno = 0;
        fail("frame with opcode %u", opcode);
    }
    return start + size;
}

/* The length of a chunked body, or 0 if it is not all there; `joined` gets its content, if wanted. */
static size_t chunked(char *data, size_t have, char *joined, size_t *size)
{
    size_t at = 0;
    *size = 0;
    for (;;) {
        char *line = memmem(data + at, have - at, "\r\n", 2);
        if (!line)
            return 0;
        size_t length = strtoul(data + at, NULL, 16);
        at = (size_t)(line - data) + 2;
        if (have < at + length + 2)
            return 0;
        if (joined)
            memmove(joined + *size, data + at, length);
        *size += length;
        at += length + 2;
        if (!length)
            return at;
    }
}

/* The length of a whole HTTP answer at the start of the buffer, and where its body begins. */
static size_t answer(char *data, size_t have, char **body, size_t *size)
{
    char *end = memmem(data, have, "\r\n\r\n", 4);
    if (!end)
        return 0;
    *body = end + 4;
    *size = 0;
    *end = 0;
    char *length = strcasestr(data, "\r\ncontent-length:");
    int is_chunked = strcasestr(data, "\r\ntransfer-encoding: chunked") != NULL;
    if (length)
        *size = (size_t)atol(length + 17);
    *end = '\r';
    if (is_chunked) {
        size_t rest = have - (size_t)(*body - data), encoded = chunked(*body, rest, NULL, size);
        if (!encoded)
            return 0;
        chunked(*body, rest, *body, size);
        return (size_t)(*body - data) + encoded;
    }
    size_t whole = (size_t)(*body - data) + *size;
    return whole <= have ? whole : 0;
}

static void expect_status(const char *data, const char *status)
{
    if (strncmp(data + 9, status, 3)) {
        errno = 0;
        fail("answered with %.60s", data);
    }
}

/* A polling client goes by requests: GET (handshake), POST 40, GET (its answer), then pairs. */
static void take_polling(struct client *client, int fd, const char *body, size_t size)
{
    if (client->state == UPGRADING) {
        const char *sid = memmem(body, size, "\"sid\":\"", 7);
        sscanf(sid ? sid + 7 : "", "%127[^\"]", client->sid);
        client->state = OPENING;
        send_polling(client, fd, "POST", "40");
    } else if (client->state == OPENING) {
        client->state = JOINING;
        send_polling(client, client->polls.fd, "GET", NULL);
    } else if (client->state == JOINING) {
        is_ready(client);
    } else if (fd == client->wire.fd)
        client->posted = 1;
    else if (body[0] == '2') {
        send_polling(client, client->polls.fd, "GET", NULL);  /* pings would need a POST: runs are short */
        return;
    } else {
        check(client, client->received++, body, size);
        client->polled = 1;
    }
    if (client->posted && client->polled) {
        client->posted = client->polled = 0;
        sample(client->sent_at[(client->received - 1) % MAX_IN_FLIGHT]);
        next_or_end(client);
    }
}

static size_t take_answer(struct client *client, int fd, char *data, size_t have)
{
    char *body;
    size_t size, whole = answer(data, have, &body, &size);
    if (!whole)
        return 0;
    if (polling) {
        expect_status(data, "200");
        take_polling(client, fd, body, size);
    } else if (web) {
        expect_status(data, "200");
        if (size != 11 || memcmp(body, "Hello World", 11)) {
            errno = 0;
            fail("answered with %.60s", body);
        }
        if (connecting)
            is_ready(client);
        else {
            sample(client->sent_at[client->received++ % MAX_IN_FLIGHT]);
            next_or_end(client);
        }
    } else {
        expect_status(data, "101");
        client->state = OPENING;
        if (!socketio)
            is_ready(client);
    }
    return whole;
}

static void start_client(struct client *client)
{
    client->state = UPGRADING;
    ++client->life;
    client->wire.have = 0;
    client->wire.fd = connected();
    watch(client->wire.fd, client);
    if (connecting) {
        client->sent_at[0] = now_ns();
        ++outstanding;
    }
    if (polling) {
        char target[256];
        client->polls.fd = connected();
        watch(client->polls.fd, client);
        snprintf(target, sizeof target, "%s?EIO=4&transport=polling", path);
        send_request(client->wire.fd, "GET", target, "", NULL);
    } else if (!web)
        send_upgrade(client->wire.fd);
    else if (connecting)
        send_request(client->wire.fd, "GET", path, "", NULL);
    else
        is_ready(client);
}

static size_t take(struct client *client, struct wire *wire, char *data, size_t have)
{
    if (polling || web || client->state == UPGRADING)
        return take_answer(client, wire->fd, data, have);
    return take_frame(client, data, have);
}

static void readable(struct client *client, int fd)
{
    struct wire *wire = fd == client->wire.fd ? &client->wire : &client->polls;
    if (fd != wire->fd)
        return;  /* an event of a connection that was closed in this very turn */
    if (wire->room - wire->have < 16384)
        wire->in = realloc(wire->in, wire->room = 2 * wire->room + 32768);
    ssize_t got = read(fd, wire->in + wire->have, wire->room - wire->have - 1);
    if (got <= 0)
        fail("client %ld lost its connection", (long)(client - all));
    wire->have += (size_t)got;
    wire->in[wire->have] = 0;
    uint64_t life = client->life;
    size_t used = 0, took = 1;
    while (took && used < wire->have) {
        took = take(client, wire, wire->in + used, wire->have - used);
        if (wire->fd != fd || client->life != life)
            return;  /* it has closed, and maybe begun anew */
        used += took;
    }
    wire->have -= used;
    memmove(wire->in, wire->in + used, wire->have);
    if (!wire->have && !running) {  /* an idle client must not weigh on the machine */
        free(wire->in);
        wire->in = NULL;
        wire->room = 0;
    }
}

static void turn(int patience_ms)
{
    struct epoll_event events[MAX_EVENTS];
    int found = epoll_wait(epoll, events, MAX_EVENTS, patience_ms);
    if (found < 0)
        fail("epoll_wait");
    if (!found && patience_ms >= 1000) {
        errno = 0;
        fail("nothing came for %d ms: %lu messages are under way", patience_ms, (unsigned long)outstanding);
    }
    for (int i = 0; i < found; ++i)
        readable(all + (events[i].data.u64 >> 32), (int)(uint32_t)events[i].data.u64);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void run(double seconds)
{
    uint64_t from = now_ns(), until = from + (uint64_t)(seconds * 1e9);
    messages = sample_count = 0;
    running = 1;
    for (int i = 0; i < (fanout ? 1 : clients); ++i)
        for (int j = 0; j < in_flight; ++j)
            if (connecting)
                start_client(all + i);
            else
                send_next(all + i);
    while (now_ns() < until)
        turn(5000);
    running = 0;
    while (outstanding)
        turn(5000);
    double took = (double)(now_ns() - from) / 1e9;
    qsort(samples, sample_count, sizeof *samples, by_size);
    printf("%lu %f %u %u\n", (unsigned long)messages, took, sample_count ? samples[sample_count / 2] : 0,
           sample_count ? samples[(uint64_t)sample_count * 99 / 100] : 0);
    fflush(stdout);
}

int main(int count, char **arguments)
{
    if (count != 7)
        return 2;
    kind = arguments[1];
    port = atoi(arguments[2]);
    path = arguments[3];
    clients = atoi(arguments[4]);
    in_flight = atoi(arguments[5]);
    bytes = atoi(arguments[6]);
    socketio = !strncmp(kind, "sio", 3);
    web = !strncmp(kind, "http", 4);
    fanout = strstr(kind, "fanout") != NULL;
    polling = strstr(kind, "poll") != NULL;
    connecting = strstr(kind, "connect") != NULL;
    if (in_flight > MAX_IN_FLIGHT || bytes > 1 << 21)
        fail("too many in flight, or too large");
    samples = malloc(sizeof *samples * MAX_SAMPLES);
    all = calloc((size_t)clients, sizeof *all);
    epoll = epoll_create1(0);
    for (int i = 0; i < clients && !connecting; ++i) {
        start_client(all + i);
        /* Not all at once: a server's queue for new connections may be short. */
        while (ready + 32 <= i)
            turn(5000);
    }
    while (ready < clients && !connecting)
        turn(5000);
    printf("ready\n");
    fflush(stdout);
    char line[64];
    while (fgets(line, sizeof line, stdin))
        run(atof(line));
    return 0;
}
