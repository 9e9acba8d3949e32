/* A server that keeps its connections, as plain as it can be: what unhang's kept wires are compared with.
 *   kept PATH [-t THREADS] [-h]
 * Each line is answered with "pong:" and the line; -h speaks HTTP/1.1 instead, as much of it as the load needs: a
 * request's head, its Content-Length, and a reply with the body after "pong:". One epoll for each thread, which keeps
 * what it has accepted; all whole requests of a read are answered by one write. No deadline, no limit, no log. */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ROOM (64 * 1024)

struct conn { int fd; size_t held; char rest[4096]; };
static int listener, http;
static _Thread_local char in[ROOM], out[2 * ROOM];

/* Where the request at `at` ends, and its body: nothing while it is not whole. */
static char *request(char *at, char *end, char **body, size_t *length) {
    if (!http) {
        char *newline = memchr(at, '\n', (size_t)(end - at));
        *body = at, *length = newline ? (size_t)(newline - at) + 1 : 0;
        return newline ? newline + 1 : NULL;
    }
    char *head = memmem(at, (size_t)(end - at), "\r\n\r\n", 4);
    if (!head) return NULL;
    *length = 0;
    for (char *line = at; line < head; line = memchr(line, '\n', (size_t)(end - line)) + 1)
        if (!strncasecmp(line, "content-length:", 15)) *length = strtoul(line + 15, NULL, 10);
    *body = head + 4;
    return (size_t)(end - *body) < *length ? NULL : *body + *length;
}

static int serve(struct conn *c) {
    memcpy(in, c->rest, c->held);
    ssize_t n = recv(c->fd, in + c->held, sizeof in - c->held, 0);
    if (n < 0 && errno == EAGAIN) return 1;
    if (n <= 0) return 0;
    char *at = in, *end = in + c->held + n, *to = out, *body, *next;
    size_t length;
    while ((next = request(at, end, &body, &length))) {
        if (http) to += sprintf(to, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", length + 5);
        memcpy(to, "pong:", 5);
        memcpy(to + 5, body, length);
        to += 5 + length, at = next;
    }
    c->held = (size_t)(end - at);
    if (c->held > sizeof c->rest) return 0;
    memcpy(c->rest, at, c->held);
    for (char *from = out; from < to;) {
        ssize_t sent = send(c->fd, from, (size_t)(to - from), MSG_NOSIGNAL);
        if (sent < 0) return 0;
        from += sent;
    }
    return 1;
}

static void *loop(void *unused) {
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE }, ready[64];
    if (epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev)) err(1, "epoll_ctl");
    for (;;) for (int i = 0, n = epoll_wait(ep, ready, 64, -1); i < n; i++) {
        struct conn *c = ready[i].data.ptr;
        if (c) {
            if (!serve(c)) close(c->fd), free(c);
            continue;
        }
        int fd = accept4(listener, 0, 0, SOCK_NONBLOCK);
        if (fd < 0 || !(c = malloc(sizeof *c))) continue;
        c->fd = fd, c->held = 0;
        ev = (struct epoll_event){ .events = EPOLLIN, .data.ptr = c };
        if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev)) close(fd), free(c);
    }
    return unused;
}

int main(int argc, char **argv) {
    int threads = 1, option;
    while ((option = getopt(argc, argv, "t:h")) > 0)
        if (option == 't') threads = atoi(optarg);
        else http = 1;
    if (optind >= argc) errx(2, "expected PATH");
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    strncpy(un.sun_path, argv[optind], sizeof un.sun_path - 1);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (void *)&un, sizeof un)) err(1, "bind");
    if (listen(listener, 4096)) err(1, "listen");
    for (pthread_t t; --threads > 0;) pthread_create(&t, NULL, loop, NULL);
    loop(NULL);
}
