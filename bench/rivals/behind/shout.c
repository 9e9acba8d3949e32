/* The program of a process per request: standard input in capitals. Linked statically, as it starts fastest so. */
#include <ctype.h>
#include <unistd.h>

int main(void) {
    static char bytes[65536];
    ssize_t all = 0, n;
    while (all < (ssize_t)sizeof bytes && (n = read(0, bytes + all, sizeof bytes - (size_t)all)) > 0) all += n;
    for (ssize_t at = 0; at < all; at++) bytes[at] = (char)toupper((unsigned char)bytes[at]);
    return write(1, bytes, (size_t)all) != all;
}
