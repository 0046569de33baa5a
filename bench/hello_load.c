/* Asks for "/" over and over, on COUNT connections that are kept, one request at a time
 * on each, until N requests are answered with 200. Prints the seconds it took.
 *
 *     hello_load PORT COUNT N
 *
 * In C, so that the server is what is measured, even where both share a processor's time.
 * Standard answers of a hello world fit one read; this is not a client for anything else.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char request[] =
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: hello_load\r\nAccept: */*\r\n\r\n";
static const char end[] = "Hello World";

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void ask(int fd)
{
    if (write(fd, request, sizeof request - 1) != sizeof request - 1)
        fail("write");
}

static int connected(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to))
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* Whether the whole answer is there: its end may come in a segment of its own. */
static int answered(int fd, int *good)
{
    char buffer[4096];
    ssize_t got = read(fd, buffer, sizeof buffer);
    if (got <= 0)
        fail("read");
    if (got >= 12 && !memcmp(buffer, "HTTP/1.1 200", 12))
        ++*good;
    return got >= (ssize_t)sizeof end - 1 && !memcmp(buffer + got - sizeof end + 1, end, sizeof end - 1);
}

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    int clients = atoi(arguments[2]), wanted = atoi(arguments[3]), asked = 0, done = 0, good = 0;
    int poll = epoll_create1(0);
    struct timespec from, to;
    struct epoll_event ready[64];
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < clients && asked < wanted; ++i, ++asked) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = connected(atoi(arguments[1]))};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, event.data.fd, &event))
            fail("epoll_ctl");
        ask(event.data.fd);
    }
    while (done < wanted) {
        int found = epoll_wait(poll, ready, 64, 10000);
        if (found <= 0)
            fail("epoll_wait");
        for (int i = 0; i < found; ++i)
            if (answered(ready[i].data.fd, &good)) {
                ++done;
                if (asked < wanted) {
                    ++asked;
                    ask(ready[i].data.fd);
                }
            }
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (good != wanted) {
        fprintf(stderr, "%d of %d answers were 200\n", good, wanted);
        return 1;
    }
    printf("%f\n", (to.tv_sec - from.tv_sec) + (to.tv_nsec - from.tv_nsec) / 1e9);
    return 0;
}
