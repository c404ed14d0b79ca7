#include "admin/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void render(struct buf *out, const char *name, const char *type, const char *help, double value)
{
    buf_fmt(out, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, type, name, value);
}

static bool read_small_file(const char *path, char *text, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return false;
    n = read(fd, text, room - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return true;
}

static double seconds(struct timespec t)
{
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void render_cpu(struct buf *out)
{
    struct timespec used;

    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0)
        render(out, "process_cpu_seconds_total", "counter", "User and system CPU time spent in seconds",
               seconds(used));
}

static void render_memory(struct buf *out)
{
    char text[256], *end;
    double pages, resident, page_bytes = (double)sysconf(_SC_PAGESIZE);

    if (!read_small_file("/proc/self/statm", text, sizeof(text)))
        return;
    pages = strtod(text, &end);
    resident = strtod(end, NULL);
    render(out, "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes", pages * page_bytes);
    render(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes",
           resident * page_bytes);
}

static void render_descriptors(struct buf *out)
{
    DIR *folder = opendir("/proc/self/fd");
    struct rlimit limit;
    int count = -3; /* ".", ".." and the folder's own */

    if (folder != NULL) {
        while (readdir(folder) != NULL)
            count++;
        closedir(folder);
        render(out, "process_open_fds", "gauge", "Number of open file descriptors", count);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        render(out, "process_max_fds", "gauge", "Maximum number of open file descriptors",
               (double)limit.rlim_cur);
}

/* The 22nd field is the start in ticks after boot; the second, a name in parentheses, may hold blanks. */
static void render_start(struct buf *out)
{
    struct timespec now, since_boot;
    char text[1024], *p;

    if (!read_small_file("/proc/self/stat", text, sizeof(text)) || (p = strrchr(text, ')')) == NULL)
        return;
    for (int field = 2; field < 22 && p != NULL; field++)
        p = strchr(p + 1, ' ');
    if (p == NULL || clock_gettime(CLOCK_REALTIME, &now) != 0 ||
        clock_gettime(CLOCK_BOOTTIME, &since_boot) != 0)
        return;
    render(out, "process_start_time_seconds", "gauge",
           "Start time of the process since unix epoch in seconds",
           seconds(now) - seconds(since_boot) + strtod(p, NULL) / (double)sysconf(_SC_CLK_TCK));
}

void process_render(struct buf *out)
{
    render_cpu(out);
    render_memory(out);
    render_descriptors(out);
    render_start(out);
}
