/* Preloaded into a server: it holds RESIDENT bytes of memory from its start, as a large service does. */
#include <stdlib.h>
#include <string.h>

__attribute__((constructor)) static void hold(void) {
    const char *bytes = getenv("RESIDENT");
    if (!bytes) return;
    size_t size = strtoul(bytes, NULL, 10);
    char *held = malloc(size);
    /* Each page is written to, or it would not be there. */
    for (size_t at = 0; held && at < size; at += 4096) held[at] = 1;
}
