#include "proxy/watch.h"

#include <stddef.h>
#include <sys/stat.h>

uint64_t watch_mark(const char *path)
{
    struct stat st;

    if (path == NULL || *path == '\0' || stat(path, &st) != 0)
        return 0;
    return (uint64_t)st.st_mtim.tv_sec * 1000003 + (uint64_t)st.st_mtim.tv_nsec * 7 +
           (uint64_t)st.st_size * 31 + (uint64_t)st.st_ino;
}

bool watch_is_due(struct watch *watch, uint64_t mark)
{
    bool rests = mark == watch->seen;

    watch->seen = mark;
    return rests && mark != watch->read;
}
