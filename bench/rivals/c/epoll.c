/* As little as a server can do: what the others are compared with. No deadline, no limit, no log.
 * Tuned: it reads before it registers, and does not accept until EAGAIN at every wake-up, because
 * an accept that finds nobody costs more than one that does.
 *   epoll PATH|tcp:127.0.0.1:PORT [-t THREADS] [-r REPLY_BYTES] [-l REPLY_BYTES] [-g] [-y] [-s]
 * -l replies in pieces of 64 KiB, the same again and again, as a loop that streams does.
 * -g registers everyone first; -y gives a client that has not written yet the processor, once; -s shuts a
 * connection and empties it before the close, as unhang does, so that a client which still writes is not reset. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct conn { int fd; size_t sent, size; };
static int listener, register_first, yield, shut_first;
static size_t fixed_size, piece;
static char *fixed;
static _Thread_local char buffer[64 * 1024] = "pong:";

static int wait_for(int ep, const struct conn *at, struct conn *known, uint32_t events) {
    int op = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (!known && !(known = malloc(sizeof *known))) return 0;
    *known = *at;
    struct epoll_event ev = { .events = events, .data.ptr = known };
    return !epoll_ctl(ep, op, at->fd, &ev);
}

/* As far as it goes without waiting; known is null until the connection is registered. */
static void serve(int ep, struct conn c, struct conn *known) {
    if (!c.size) {
        ssize_t n = recv(c.fd, buffer + 5, sizeof buffer - 5, 0);
        if (n < 0 && yield && !known && !sched_yield()) n = recv(c.fd, buffer + 5, sizeof buffer - 5, 0);
        if (n < 0 && errno == EAGAIN && wait_for(ep, &c, known, EPOLLIN)) return;
        if (n > 0) c.size = fixed ? fixed_size : (size_t)n + 5;
    }
    while (c.sent < c.size) {
        size_t left = c.size - c.sent, count = piece && left > piece ? piece : left;
        ssize_t n = send(c.fd, (fixed ? fixed : buffer) + (piece ? 0 : c.sent), count, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN && fixed && wait_for(ep, &c, known, EPOLLOUT)) return;
        if (n < 0) break;
        c.sent += (size_t)n;
    }
    if (shut_first && !shutdown(c.fd, SHUT_RDWR))
        while (recv(c.fd, buffer + 5, sizeof buffer - 5, MSG_DONTWAIT) > 0);
    close(c.fd);
    free(known);
}

static void *loop(void *unused) {
    int ep = epoll_create1(EPOLL_CLOEXEC), batch = 1, full = 0;
    struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE }, ready[64];
    if (epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev)) err(1, "epoll_ctl");
    for (;;) for (int i = 0, n = epoll_wait(ep, ready, 64, -1); i < n; i++) {
        struct conn *known = ready[i].data.ptr, new = { 0 };
        int taken = 0;
        if (known) { serve(ep, *known, known); continue; }
        for (; taken < batch && (new.fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0; taken++)
            if (!register_first || !wait_for(ep, &new, NULL, EPOLLIN)) serve(ep, new, NULL);
        /* Three full batches in a row: more wait than are taken. */
        if (taken < batch) batch = taken ? taken : 1, full = 0;
        else if (++full == 3 && batch < 32) batch *= 2, full = 0;
    }
    return unused;
}

int main(int argc, char **argv) {
    int threads = 1, option, one = 1;
    while ((option = getopt(argc, argv, "t:r:l:gys")) > 0) {
        if (option == 't') threads = atoi(optarg);
        else if (option == 'r') fixed_size = strtoul(optarg, NULL, 10);
        else if (option == 'l') fixed_size = strtoul(optarg, NULL, 10), piece = 64 * 1024;
        else *(option == 'y' ? &yield : option == 's' ? &shut_first : &register_first) = 1;
    }
    if (optind >= argc) errx(2, "expected PATH or tcp:127.0.0.1:PORT");
    size_t room = piece ? piece : fixed_size;
    if (room) memset(fixed = malloc(room), 'x', room);
    int tcp = !strncmp(argv[optind], "tcp:", 4);
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    if (tcp) in.sin_port = htons((uint16_t)atoi(strrchr(argv[optind], ':') + 1));
    else strncpy(un.sun_path, argv[optind], sizeof un.sun_path - 1);
    listener = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, tcp ? (void *)&in : (void *)&un, tcp ? sizeof in : sizeof un)) err(1, "bind");
    if (listen(listener, 4096)) err(1, "listen");
    for (pthread_t t; --threads > 0;) pthread_create(&t, NULL, loop, NULL);
    loop(NULL);
}
