/* A process per request, as little as a server can do for it: what `unhang serve -- PROGRAM` is compared with. posix_spawn, three pipes,
 * standard input and output at once, the exit code; no deadline, no limit, no log, and no look at what holds a pipe.
 *   spawn PATH PROGRAM */
#define _GNU_SOURCE
#include <err.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

extern char **environ;
static char *program;
static int listener;

/* Whether all of it went as it should. */
static int run(const char *request, size_t size, char *reply, size_t room, size_t *replied) {
    int in[2], out[2], bad[2], status;
    pid_t pid;
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(bad, O_CLOEXEC)) err(1, "pipe2");
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_adddup2(&files, in[0], 0);
    posix_spawn_file_actions_adddup2(&files, out[1], 1);
    posix_spawn_file_actions_adddup2(&files, bad[1], 2);
    char *words[] = { program, NULL };
    if (posix_spawn(&pid, program, &files, &attributes, words, environ)) errx(1, "posix_spawn");
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    close(in[0]); close(out[1]); close(bad[1]);
    if (write(in[1], request, size) < 0) { /* It need not read. */ }
    close(in[1]);
    struct pollfd both[2] = { { .fd = out[0], .events = POLLIN }, { .fd = bad[0], .events = POLLIN } };
    *replied = 0;
    for (int open = 2; open && poll(both, 2, -1) > 0;)
        for (int at = 0; at < 2; at++) if (both[at].revents) {
            char rest[4096];
            ssize_t n = at ? read(bad[0], rest, sizeof rest) : read(out[0], reply + *replied, room - *replied);
            if (n > 0) { if (!at) *replied += (size_t)n; continue; }
            both[at].fd = -1;
            open--;
        }
    close(out[0]); close(bad[0]);
    return waitpid(pid, &status, 0) == pid && !status;
}

static void *serve(void *unused) {
    static _Thread_local char request[65536], reply[65536];
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) continue;
        ssize_t n = recv(client, request, sizeof request, 0);
        size_t replied;
        if (n > 0 && run(request, (size_t)n, reply, sizeof reply, &replied)) send(client, reply, replied, MSG_NOSIGNAL);
        close(client);
    }
    return unused;
}

int main(int count, char **words) {
    if (count != 3) errx(2, "usage: spawn PROGRAM PATH");
    program = words[1];
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    strncpy(at.sun_path, words[2], sizeof at.sun_path - 1);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) err(1, "%s", words[2]);
    pthread_t thread;
    for (int at = 0; at < 15; at++) if (pthread_create(&thread, NULL, serve, NULL)) err(1, "pthread_create");
    serve(NULL);
}
